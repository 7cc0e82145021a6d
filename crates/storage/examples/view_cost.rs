//! What it costs to keep the Distribution View: each change on its own, flushed in batches, and a start.
//!
//! `cargo run --release -p storage --example view_cost -- [DIRECTORY] [FRAGMENTS] [CHANGES A FLUSH]`
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use distribution::view::{Change, FileInfo, Registration};
use protocol::{ClientId, Hash, Revision};
use rustix::time::{ClockId, clock_gettime};
use storage::{Store, StoreOptions};

const FRAGMENT_SIZE_BYTES: u64 = 64 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = PathBuf::from(arguments.first().map_or(".", String::as_str)).join("view-cost");
    let count: usize = arguments.get(1).map_or(16_384, |text| text.parse().unwrap());
    let changes_a_flush: usize = arguments.get(2).map_or(32, |text| text.parse().unwrap());
    println!("{count} fragments on 3 torrents, a flush after each {changes_a_flush} changes");
    drop(fs::remove_dir_all(&directory));
    let mut store = Some(Store::open(&directory, StoreOptions::default()).unwrap());
    let fragments: Vec<Hash> = (0..count).map(|number| Hash::of(&number.to_le_bytes())).collect();
    let torrents: BTreeSet<ClientId> = (0..3).map(torrent).collect();

    let open = store.as_ref().unwrap();
    let mut first = vec![Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES }];
    first.extend((0..3).map(|number| registered(number, BTreeSet::new())));
    open.view().apply(&first, Revision(1)).unwrap();
    measure("file published", count, || {
        let file = FileInfo {
            size_bytes: FRAGMENT_SIZE_BYTES * count as u64,
            fragments: fragments.clone().into(),
            name: None,
        };
        open.view().apply(&[Change::FilePublished { hash: Hash::of(b"file"), file }], Revision(2)).unwrap();
        open.flush().unwrap();
    });
    measure("fragment distributed", count, || {
        for (number, hash) in fragments.iter().enumerate() {
            let receivers = torrents.clone();
            let change =
                Change::FragmentDistributed { hash: *hash, size_bytes: FRAGMENT_SIZE_BYTES, receivers };
            open.view().apply(&[change], Revision(3 + number as u64)).unwrap();
            if number % changes_a_flush == 0 {
                open.flush().unwrap();
            }
        }
        open.flush().unwrap();
    });
    for time in ["torrent joins with all", "torrent joins again"] {
        measure(time, count, || {
            let all = registered(1, fragments.iter().copied().collect());
            open.view().apply(&[all], Revision(count as u64 + 4)).unwrap();
            open.flush().unwrap();
        });
    }
    measure("close", count, || drop(store.take()));
    measure("open", count, || store = Some(Store::open(&directory, StoreOptions::default()).unwrap()));
    measure("load", count, || {
        assert_eq!(store.as_ref().unwrap().view().load().unwrap().fragment_count(), count);
    });
    let bytes: u64 = fs::read_dir(directory.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    println!("{:<24} {:>9} bytes a fragment", "database", bytes / count as u64);
    println!("{:<24} {:>9}", "peak memory", memory("VmHWM:"));
    fs::remove_dir_all(&directory).unwrap();
}

fn torrent(number: usize) -> ClientId {
    format!("torrent-{number}").parse().unwrap()
}

fn registered(number: usize, stored: BTreeSet<Hash>) -> Change {
    let endpoints = [format!("grpc://host-{number}:7402").parse().unwrap()].into();
    let registration = Registration { endpoints, capacity_bytes: None, zone: None };
    Change::ClientRegistered { client: torrent(number), registration, stored }
}

fn measure(what: &str, count: usize, act: impl FnOnce()) {
    let (cpu, clock) = (cpu_time(), Instant::now());
    act();
    let each = (cpu_time() - cpu).as_secs_f64() * 1e6 / count as f64;
    let seconds = clock.elapsed().as_secs_f64();
    println!(
        "{what:<24} {each:>9.1} us CPU a fragment, {seconds:.2} s in all, {} resident",
        memory("VmRSS:")
    );
}

fn memory(line: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|text| text.strip_prefix(line)).unwrap().trim().to_owned()
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}
