//! Ours: broker, tracker, torrents and `mds`, as a user runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::mosquitto::Mosquitto;
use crate::process::Process;
use crate::sample::{Job, Key, Role, Sample, Subject, Usage};
use crate::{Scratch, data, machine};

/// How long the torrents may take to be registered.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// What is measured, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Where the three programs are.
    pub binaries: &'a Path,
    /// Where everything is kept.
    pub directory: &'a Path,
    /// What is put.
    pub source: &'a Path,
    pub fragment_size_bytes: u64,
    pub copies: usize,
    pub torrents: usize,
    /// Whether to say which threads of the daemons used the CPU.
    pub show_threads: bool,
}

/// Put until there are as many durable copies as wanted, then get from all torrents.
pub fn measure(setup: &Setup<'_>) -> Result<[Sample; 2]> {
    let scratch = Scratch::new(setup.directory.join("ours"))?;
    let mut cluster = Cluster::start(setup, &scratch.0)?;
    let file_bytes = fs::metadata(setup.source)?.len();
    let key = |job| Key { job, subject: Subject::Ours, fragment_size_bytes: setup.fragment_size_bytes };

    let empty_bytes = machine::memory_bytes(cluster.torrents[0].pid())?.1;
    let copies = setup.copies.to_string();
    let source = setup.source.to_str().context("the directory's name is not UTF-8")?;
    let (wall_s, said, usage) = cluster.run_mds(&["put", "--wait", &copies, source])?;
    let digest = said.split_whitespace().next().context("mds put says no digest")?.to_owned();
    let mut put = Sample::new(key(Job::Put), file_bytes, wall_s, &usage);
    machine::settle(setup.directory)?;

    let target = scratch.0.join("target");
    let target_text = target.to_str().context("the directory's name is not UTF-8")?;
    let (wall_s, _, usage) = cluster.run_mds(&["get", &digest, "-o", target_text])?;
    let get = Sample::new(key(Job::Get), file_bytes, wall_s, &usage);
    ensure!(data::digest(&target)? == digest, "what was got is not what was put");

    let held = file_bytes.div_ceil(setup.fragment_size_bytes) as f64 * setup.copies as f64;
    put.disk_bytes = Some((0..setup.torrents).map(|at| machine::disk_bytes(&cluster.torrent_dir(at))).sum());
    cluster.stop_torrent(0)?;
    put.view_disk_bytes = Some(machine::disk_bytes(&cluster.torrent_dir(0).join("db")) as f64 / held);
    cluster.start_torrent(0)?;
    cluster.await_torrents()?;
    let full_bytes = machine::memory_bytes(cluster.torrents[0].pid())?.1;
    put.view_memory_bytes = Some((full_bytes as f64 - empty_bytes as f64) / held);
    Ok([put, get])
}

/// CPU seconds of threads by their name.
type Threads = Vec<(String, f64)>;

struct Cluster<'a> {
    setup: &'a Setup<'a>,
    directory: &'a Path,
    /// Before the broker, so that they can say goodbye when all are dropped.
    torrents: Vec<Process>,
    tracker: Process,
    broker: Mosquitto,
    endpoint: String,
}

impl<'a> Cluster<'a> {
    fn start(setup: &'a Setup<'a>, directory: &'a Path) -> Result<Self> {
        let broker = Mosquitto::start(directory)?;
        let mut command = daemon(setup, "tracker", directory, broker.port);
        command.args(["--copies", &setup.copies.to_string()]);
        command.args(["--fragment-size", &setup.fragment_size_bytes.to_string()]);
        let log = directory.join("tracker.log");
        let mut tracker = Process::start(Role::Tracker, command, &log)?;
        let address = directory.join("tracker/endpoint");
        let endpoint = format!("grpc://{}", await_file(&address, &mut tracker, &log)?);
        let mut cluster = Self { setup, directory, torrents: Vec::new(), tracker, broker, endpoint };
        for at in 0..setup.torrents {
            cluster.start_torrent(at)?;
        }
        cluster.await_torrents()?;
        Ok(cluster)
    }

    fn torrent_dir(&self, at: usize) -> PathBuf {
        self.directory.join(format!("torrent-{at}"))
    }

    fn start_torrent(&mut self, at: usize) -> Result<()> {
        let name = format!("torrent-{at}");
        let mut command = daemon(self.setup, "torrent", self.directory, self.broker.port);
        command.args(["--id", &name]).arg("--data-dir").arg(self.directory.join(&name));
        let log = self.directory.join(format!("{name}.log"));
        self.torrents.insert(at, Process::start(Role::Torrent, command, &log)?);
        Ok(())
    }

    fn stop_torrent(&mut self, at: usize) -> Result<()> {
        let status = self.torrents.remove(at).stop()?;
        ensure!(status.success(), "a torrent ended with {status}");
        Ok(())
    }

    /// Until all torrents are registered.
    fn await_torrents(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let output = self.mds(&["--json", "peers"]).output()?;
            let peers: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let registered = peers.iter().filter(|peer| peer["state"] == "registered").count();
            if registered == self.setup.torrents {
                return Ok(());
            }
            if began.elapsed() > JOIN_TIMEOUT {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("only {registered} of {} torrents are registered: {said}", self.setup.torrents);
            }
            thread::sleep(LOOK);
        }
    }

    fn mds(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.setup.binaries.join("mds"));
        command.args(["--endpoint", &self.endpoint]).args(arguments);
        command
    }

    /// Runs `mds` to its end: seconds, what it said, what all processes used.
    fn run_mds(&mut self, arguments: &[&str]) -> Result<(f64, String, Vec<Usage>)> {
        self.daemons().try_for_each(Process::mark)?;
        let threads_before = self.threads()?;
        let began = Instant::now();
        let (said, client) = Process::start_piped(Role::Client, self.mds(arguments))?.finish()?;
        let wall_s = began.elapsed().as_secs_f64();
        let usage: Result<Vec<Usage>> = self.daemons().map(|daemon| daemon.usage()).collect();
        let mut usage = usage?;
        usage.push(client);
        for ((name, after), (_, before)) in self.threads()?.iter().zip(&threads_before) {
            let used = after.iter().map(|(thread, seconds)| {
                let before = before.iter().find(|(before, _)| before == thread);
                (thread, seconds - before.map_or(0.0, |(_, seconds)| *seconds))
            });
            let used: Vec<String> = used
                .filter(|(_, seconds)| *seconds > 0.005)
                .map(|(thread, seconds)| format!("{thread} {seconds:.2}"))
                .collect();
            eprintln!("    {} {name}: {} CPU s", arguments[0], used.join(", "));
        }
        Ok((wall_s, said, usage))
    }

    fn daemons(&mut self) -> impl Iterator<Item = &mut Process> {
        self.torrents.iter_mut().chain([&mut self.tracker, &mut self.broker.process])
    }

    /// CPU seconds by thread, of those daemons that are worth a look.
    fn threads(&self) -> Result<Vec<(&'static str, Threads)>> {
        if !self.setup.show_threads {
            return Ok(Vec::new());
        }
        let daemons = [("tracker", &self.tracker), ("a torrent", &self.torrents[0])];
        let threads = daemons.into_iter().map(|(name, daemon)| Ok((name, machine::threads(daemon.pid())?)));
        threads.collect()
    }
}

fn daemon(setup: &Setup<'_>, program: &str, directory: &Path, port: u16) -> Command {
    let mut command = Command::new(setup.binaries.join(program));
    command.args(["--broker", &format!("mqtt://127.0.0.1:{port}")]);
    command.args(["--listen", "127.0.0.1:0", "--http", "off"]);
    if program == "tracker" {
        command.arg("--data-dir").arg(directory.join("tracker"));
    }
    command
}

fn await_file(path: &Path, process: &mut Process, log: &Path) -> Result<String> {
    let began = Instant::now();
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return Ok(text.trim().to_owned()),
            Ok(_) | Err(_) => {}
        }
        if process.has_ended()? || began.elapsed() > JOIN_TIMEOUT {
            bail!("a daemon did not start: {}", fs::read_to_string(log).unwrap_or_default());
        }
        thread::sleep(LOOK);
    }
}
