//! Crashes and errors at every single call to the disk, under a script of puts, deletions, damage that is set aside, and checkpoints.
//!
//! The disk here keeps what was synced and, of everything else, a random part: writes that never happened, that happened
//! out of order, that were torn, and blocks that were never written. Whatever is left, a store that opens on it must list only
//! what it can read, hold what it said it held, and not hold what it said it had deleted or set aside.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod errors;
mod holes;
mod kills;
mod real;
mod sabotage;
mod simulated;
mod unreadable;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;
use storage::FragmentsOptions;
use storage::fragments::{DeleteError, Fragments, PutError};
use uuid::Uuid;

use simulated::{Fault, Lie, Random, Simulated};

const OPTIONS: FragmentsOptions = FragmentsOptions { segment_bytes: 2000, reserve_bytes: 0 };

/// What the store has promised.
#[derive(Debug, Default, Clone)]
struct Promises {
    stored: BTreeMap<Hash, Bytes>,
    deleted: BTreeSet<Hash>,
    /// Fragments of a call that failed: both are right.
    open: BTreeSet<Hash>,
    /// Fragments whose bytes went bad and that are not set aside yet: listed or not, they are not handed out.
    rotten: BTreeSet<Hash>,
}

fn nth(number: u8) -> (Hash, Bytes) {
    // Long enough for whole blocks of some to be punched.
    let bytes: Bytes = vec![number; 100 + usize::from(number) * 97].into();
    (Hash::of(&bytes), bytes)
}

enum Step {
    Put(&'static [u8]),
    Delete(&'static [u8]),
    /// Bytes go bad on the disk, are found, and set aside.
    Rot(&'static [u8]),
    Checkpoint,
}

const SCRIPT: [Step; 20] = [
    Step::Put(&[1, 2, 3]),
    Step::Put(&[4]),
    Step::Delete(&[2]),
    Step::Put(&[5, 6, 2, 90]),
    Step::Checkpoint,
    Step::Rot(&[4, 90]),
    Step::Delete(&[1, 6]),
    Step::Put(&[7, 8, 9, 10, 11]),
    Step::Put(&[90]),
    Step::Delete(&[3, 4, 5, 90]),
    Step::Put(&[1]),
    Step::Delete(&[2, 7, 8]),
    Step::Put(&[2, 91]),
    Step::Delete(&[1]),
    Step::Checkpoint,
    Step::Put(&[12, 13, 1, 3]),
    Step::Rot(&[11, 2, 13]),
    Step::Put(&[13]),
    Step::Delete(&[9, 10, 91]),
    Step::Put(&[9]),
];

/// Runs the script and records what was promised.
fn run(machine: &Simulated, fragments: &Fragments, promises: &mut Promises) {
    for step in &SCRIPT {
        match step {
            Step::Put(numbers) => {
                let batch: Vec<_> = numbers.iter().map(|number| nth(*number)).collect();
                for ((hash, bytes), result) in batch.iter().zip(fragments.put_batch(batch.clone())) {
                    match result {
                        Ok(()) => {
                            promises.stored.insert(*hash, bytes.clone());
                            promises.deleted.remove(hash);
                            promises.open.remove(hash);
                            promises.rotten.remove(hash);
                        }
                        Err(PutError::NoSpace { .. } | PutError::Io { .. }) => {
                            assert!(!fragments.contains(hash), "a put that failed left something");
                        }
                        Err(_) if promises.stored.contains_key(hash) => {}
                        Err(_) => drop(promises.open.insert(*hash)),
                    }
                }
            }
            Step::Delete(numbers) => {
                let hashes: Vec<_> = numbers.iter().map(|number| nth(*number).0).collect();
                match fragments.delete_batch(&hashes) {
                    Ok(_) => {
                        promises.stored.retain(|hash, _| !hashes.contains(hash));
                        promises.deleted.extend(&hashes);
                        promises.open.retain(|hash| !hashes.contains(hash));
                    }
                    Err(DeleteError::NoSpace | DeleteError::Io(_)) => {}
                    Err(DeleteError::Failed(_)) => {
                        promises.stored.retain(|hash, _| !hashes.contains(hash));
                        promises.open.extend(&hashes);
                    }
                }
            }
            Step::Rot(numbers) => {
                let hashes: Vec<_> = numbers.iter().map(|number| nth(*number).0).collect();
                for hash in &hashes {
                    // Of what was not stored nothing is there to go bad.
                    if let Some(bytes) = promises.stored.remove(hash) {
                        machine.rot(&bytes);
                        assert!(fragments.verify(hash).is_err(), "damage was not found");
                        promises.rotten.insert(*hash);
                    }
                }
                set_aside(fragments, promises);
            }
            Step::Checkpoint => drop(fragments.checkpoint()),
        }
    }
}

/// What is rotten is set aside, and then it is as good as deleted.
fn set_aside(fragments: &Fragments, promises: &mut Promises) {
    let rotten: Vec<Hash> = promises.rotten.iter().copied().collect();
    if fragments.quarantine(&rotten).is_ok() {
        promises.deleted.extend(&rotten);
        promises.rotten.clear();
    }
}

fn open(machine: &Simulated) -> Fragments {
    let (disk, engine) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    Fragments::open(disk, engine, Uuid::from_u128(3), OPTIONS).unwrap().0
}

fn assert_kept(fragments: &Fragments, promises: &Promises, context: &str) {
    let listed: BTreeMap<Hash, u32> = fragments.inventory().map(Result::unwrap).collect();
    for hash in &promises.rotten {
        assert!(fragments.read(hash).is_err(), "{context}: {hash} was handed out with wrong bytes");
    }
    for hash in listed.keys().filter(|hash| !promises.rotten.contains(hash)) {
        assert!(fragments.read(hash).is_ok(), "{context}: {hash} is listed and cannot be read");
        assert!(
            !promises.deleted.contains(hash) || promises.open.contains(hash),
            "{context}: {hash} came back"
        );
    }
    for (hash, bytes) in &promises.stored {
        let is_there = fragments.read(hash).is_ok_and(|read| read == bytes);
        assert!(is_there, "{context}: {hash} of {} bytes is lost", bytes.len());
    }
    if !promises.rotten.is_empty() {
        // They count until they are set aside.
        return;
    }
    assert_eq!(fragments.len(), listed.len() as u64, "{context}");
    let bytes: u64 = listed.values().map(|size| u64::from(*size)).sum();
    assert_eq!(fragments.used_bytes(), bytes, "{context}");
}

/// The number of calls of a run in which nothing goes wrong.
fn calls_of_a_quiet_run() -> u64 {
    let machine = Simulated::default();
    let mut promises = Promises::default();
    let fragments = open(&machine);
    run(&machine, &fragments, &mut promises);
    assert_kept(&fragments, &promises, "a quiet run");
    assert!(promises.open.is_empty() && promises.rotten.is_empty());
    machine.with(|machine| machine.calls)
}

/// Faulty runs, then a crash, then two starts; at every call, with several outcomes of the crash.
fn try_every_call(fault: Fault, outcomes: u64, lie: Option<Lie>) {
    let calls = calls_of_a_quiet_run();
    assert!(calls > 80, "only {calls} calls");
    for at in 1..=calls {
        let machine = Simulated::default();
        machine.with(|machine| (machine.fault_at, machine.lie) = (Some((at, fault)), lie));
        let mut promises = Promises::default();
        let opened = Fragments::open(
            Arc::new(machine.clone()),
            Arc::new(machine.clone()),
            Uuid::from_u128(3),
            OPTIONS,
        );
        let mut running = None;
        if let Ok((fragments, _)) = opened {
            run(&machine, &fragments, &mut promises);
            if fault != Fault::Crash {
                assert_kept(&fragments, &promises, &format!("{fault:?} at call {at}, before the crash"));
            }
            running = Some(fragments);
        }
        let call = machine.with(|machine| machine.failed_call).unwrap_or("none");
        for outcome in 0..outcomes {
            let mut random = Random(at * 1000 + outcome + 1);
            let context = format!("{fault:?} at call {at} ({call}), outcome {outcome}");
            // Some of them only killed at first, started again, and then without power.
            let killed = (outcome % 4 == 0).then(|| (machine.after_kill(), promises.clone()));
            let (dying, promises) = match killed {
                Some((killed, mut promises)) => {
                    let fragments = open(&killed);
                    assert_kept(&fragments, &promises, &format!("{context}, killed"));
                    drop(fragments.put_batch(vec![nth(70)]));
                    set_aside(&fragments, &mut promises);
                    assert_kept(&fragments, &promises, &format!("{context}, killed and set aside"));
                    for (hash, _) in fragments.inventory().map(Result::unwrap) {
                        promises.stored.insert(hash, fragments.read(&hash).unwrap());
                    }
                    promises.open.retain(|hash| !promises.stored.contains_key(hash));
                    promises.deleted.retain(|hash| !promises.stored.contains_key(hash));
                    let lost = killed.after_crash(&mut random, outcome % 3 != 0);
                    drop(fragments);
                    (lost, promises)
                }
                None => (machine.after_crash(&mut random, outcome % 3 != 0), promises.clone()),
            };
            let (after, mut promises) = (dying, promises);
            let fragments = open(&after);
            assert_kept(&fragments, &promises, &context);
            set_aside(&fragments, &mut promises);
            assert_kept(&fragments, &promises, &format!("{context}, set aside"));
            // A second crash during or right after the recovery, and a life after it.
            let again = after.after_crash(&mut random, outcome % 2 == 0);
            let fragments_again = open(&again);
            assert_kept(&fragments_again, &promises, &format!("{context}, again"));
            let mut later = promises.clone();
            later.open.clear();
            later.deleted.clear();
            run(&again, &fragments_again, &mut later);
            assert_kept(&fragments_again, &later, &format!("{context}, later"));
            drop(fragments);
        }
        drop(running);
    }
}

#[test]
fn a_crash_at_any_call_loses_nothing_that_was_promised() {
    try_every_call(Fault::Crash, 16, None);
}

#[test]
fn an_error_at_any_call_loses_nothing_that_was_promised() {
    try_every_call(Fault::Io, 8, None);
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_that_was_promised() {
    try_every_call(Fault::NoSpace, 8, None);
}
