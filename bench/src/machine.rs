//! What the kernel counts: CPU time and memory of processes, bytes on disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// CPU seconds of a process, user and system; of one that has ended too, until it was waited for.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; behind it comes the state, which is field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most memory that a running process ever had resident, and what it has now, in bytes.
pub fn memory_bytes(pid: u32) -> io::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map_or(0, |kib| kib << 10)
    };
    Ok((field("VmHWM:"), field("VmRSS:")))
}

/// CPU seconds of each thread of a running process, by name; threads of one name together.
pub fn threads(pid: u32) -> io::Result<Vec<(String, f64)>> {
    let mut threads: Vec<(String, f64)> = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        // It may have ended meanwhile.
        let (Ok(name), Ok(schedule)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let nanoseconds = schedule.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        let seconds = nanoseconds.unwrap_or(0) as f64 / 1e9;
        match threads.iter_mut().find(|(known, _)| known == name.trim()) {
            Some((_, sum)) => *sum += seconds,
            None => threads.push((name.trim().to_owned(), seconds)),
        }
    }
    threads.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    Ok(threads)
}

/// Bytes that a directory takes on disk, with everything in it.
pub fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir()
        && let Ok(entries) = fs::read_dir(path)
    {
        bytes += entries.flatten().map(|entry| disk_bytes(&entry.path())).sum::<u64>();
    }
    bytes
}

/// Lets the disk finish what earlier measurements left to it.
pub fn settle(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// One line about the machine.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = load.split_whitespace().next().unwrap_or("?");
    format!("{cpus} CPUs ({model}), Linux {}, load before the run {load}", kernel.trim())
}
