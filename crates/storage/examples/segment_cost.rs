//! What it costs to store fragments, beside the least that it could cost and beside a file for each fragment.
//!
//! `cargo run --release -p storage --example segment_cost -- [DIRECTORY] [MIB] [ROUNDS]`
//!
//! CPU seconds per GB are the figure to compare: of this process, so what the kernel's own threads write back is left out for
//! all alike. Everything hashes each fragment once and syncs; the ways take turns, so that a busy machine hits them all.
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::Hash;
use rustix::time::{ClockId, clock_gettime};
use storage::{FragmentWriter, Store, StoreOptions};

/// Payload that shares one sync where the way itself does not decide that.
const BATCH_BYTES: usize = 8 << 20;
/// Fragments in flight where the writer decides what shares a sync.
const IN_FLIGHT: usize = 32;

type Way = fn(&Path, &[(Hash, Bytes)]);

const WAYS: [(&str, Way); 6] = [
    ("sha256 alone", hash_only),
    ("floor: one file, sync each 8 MiB", floor),
    ("store, put_batch of 8 MiB", put_batches),
    ("store, writer, 32 in flight", put_through_writer),
    ("files, syncs at each 8 MiB", files),
    ("store, read all", read_all),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = PathBuf::from(arguments.first().map_or(".", String::as_str)).join("segment-cost");
    let mib: usize = arguments.get(1).map_or(512, |text| text.parse().unwrap());
    let rounds: usize = arguments.get(2).map_or(3, |text| text.parse().unwrap());
    println!("{mib} MiB, {rounds} rounds, median; {}", directory.display());
    println!("{:<36} {:>9} {:>9} {:>9}", "", "fragment", "CPU s/GB", "MB/s");
    for fragment_bytes in [64 << 10, 256 << 10, 1 << 20] {
        let fragments = pseudo_random(mib << 20, fragment_bytes);
        let mut results = vec![Vec::new(); WAYS.len()];
        for _ in 0..rounds {
            for ((_, way), results) in WAYS.iter().zip(&mut results) {
                results.push(measure(*way, &directory, &fragments));
            }
        }
        for ((name, _), mut results) in WAYS.iter().zip(results) {
            results.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            let (cpu, _) = results[results.len() / 2];
            results.sort_by(|(_, one), (_, other)| one.total_cmp(other));
            let (_, speed) = results[results.len() / 2];
            println!("{name:<36} {:>5} KiB {cpu:>9.2} {speed:>9.0}", fragment_bytes >> 10);
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// CPU seconds per GB, and MB per second.
fn measure(way: Way, directory: &Path, fragments: &[(Hash, Bytes)]) -> (f64, f64) {
    let is_reading = std::ptr::fn_addr_eq(way, read_all as Way);
    if !is_reading {
        drop(fs::remove_dir_all(directory));
        fs::create_dir_all(directory).unwrap();
        // What the last way left to the kernel shall not be paid for by this one.
        rustix::fs::sync();
    } else {
        drop(fs::remove_dir_all(directory));
        put_batches(directory, fragments);
    }
    let gigabytes = fragments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() as f64 / 1e9;
    let (cpu, clock) = (cpu_time(), Instant::now());
    way(directory, fragments);
    let (cpu, seconds) = (cpu_time() - cpu, clock.elapsed().as_secs_f64());
    (cpu.as_secs_f64() / gigabytes, gigabytes * 1e3 / seconds)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn pseudo_random(bytes: usize, fragment_bytes: usize) -> Vec<(Hash, Bytes)> {
    let mut state = fragment_bytes as u64 | 1;
    let mut content = Vec::with_capacity(bytes);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    let content = Bytes::from(content);
    let starts = (0..bytes).step_by(fragment_bytes);
    starts
        .map(|start| content.slice(start..start + fragment_bytes))
        .map(|bytes| (Hash::of(&bytes), bytes))
        .collect()
}

fn batches(fragments: &[(Hash, Bytes)]) -> impl Iterator<Item = &[(Hash, Bytes)]> {
    fragments.chunks((BATCH_BYTES / fragments[0].1.len()).max(1))
}

fn hash_only(_: &Path, fragments: &[(Hash, Bytes)]) {
    assert!(fragments.iter().all(|(hash, bytes)| Hash::of(bytes) == *hash));
}

fn floor(directory: &Path, fragments: &[(Hash, Bytes)]) {
    let mut file = File::create(directory.join("log")).unwrap();
    for batch in batches(fragments) {
        for (hash, bytes) in batch {
            assert_eq!(Hash::of(bytes), *hash);
            file.write_all(bytes).unwrap();
        }
        file.sync_data().unwrap();
    }
}

fn put_batches(directory: &Path, fragments: &[(Hash, Bytes)]) {
    let store = Store::open(directory, StoreOptions::default()).unwrap();
    for batch in batches(fragments) {
        store.fragments().put_batch(batch.to_vec()).into_iter().for_each(|result| result.unwrap());
    }
}

fn put_through_writer(directory: &Path, fragments: &[(Hash, Bytes)]) {
    let store = Store::open(directory, StoreOptions::default()).unwrap();
    let writer = FragmentWriter::start(store.fragments().clone()).unwrap();
    let (done, is_done) = mpsc::channel();
    for (count, (hash, bytes)) in fragments.iter().enumerate() {
        if count >= IN_FLIGHT {
            is_done.recv().unwrap();
        }
        let done = done.clone();
        writer.put(
            *hash,
            bytes.clone(),
            Box::new(move |result| {
                result.unwrap();
                // At the end nobody waits for the last of them.
                let _ = done.send(());
            }),
        );
    }
    drop(writer);
}

/// A file for each fragment: written beside and renamed, its content synced, its directory synced once a batch.
fn files(directory: &Path, fragments: &[(Hash, Bytes)]) {
    let folders: Vec<PathBuf> = (0..=255_u8).map(|number| directory.join(format!("{number:02x}"))).collect();
    folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    for batch in batches(fragments) {
        let mut written = Vec::with_capacity(batch.len());
        for (hash, bytes) in batch {
            assert_eq!(Hash::of(bytes), *hash);
            let folder = &folders[usize::from(hash.as_bytes()[0])];
            let part = folder.join(format!("{hash}.part"));
            let mut file = File::create(&part).unwrap();
            file.write_all(bytes).unwrap();
            written.push((file, part, folder.join(hash.to_string()), folder));
        }
        for (file, part, name, _) in &written {
            file.sync_data().unwrap();
            fs::rename(part, name).unwrap();
        }
        let mut touched: Vec<_> = written.iter().map(|(.., folder)| *folder).collect();
        touched.sort();
        touched.dedup();
        touched.into_iter().for_each(|folder| File::open(folder).unwrap().sync_all().unwrap());
    }
}

fn read_all(directory: &Path, fragments: &[(Hash, Bytes)]) {
    let store = Store::open(directory, StoreOptions::default()).unwrap();
    for (hash, bytes) in fragments {
        assert_eq!(store.fragments().read(hash).unwrap().len(), bytes.len());
    }
}
