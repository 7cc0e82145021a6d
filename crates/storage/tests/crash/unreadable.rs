//! Blocks that the disk does not give back cost what is in them, and nothing else.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;
use storage::FragmentsOptions;
use storage::fragments::{Fragments, OpenReport, ReadError};
use uuid::Uuid;

use crate::simulated::{Random, Simulated};

const SEGMENT: &str = "0000000000.segment";
const SECTOR: usize = 512;
const HEADER: usize = 64;

fn open(machine: &Simulated) -> (Fragments, OpenReport) {
    let options = FragmentsOptions { segment_bytes: 64 << 10, reserve_bytes: 0 };
    let (disk, engine) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    Fragments::open(disk, engine, Uuid::from_u128(3), options).unwrap()
}

fn nth(number: u8) -> (Hash, Bytes) {
    let bytes: Bytes = vec![number; 300 + usize::from(number % 5) * 211].into();
    (Hash::of(&bytes), bytes)
}

fn put(fragments: &Fragments, batch: &[(Hash, Bytes)]) {
    fragments.put_batch(batch.to_vec()).into_iter().for_each(|result| result.unwrap());
}

fn content(machine: &Simulated, file: &str) -> Vec<u8> {
    machine.with(|machine| machine.files[file].lock().unwrap().now.clone())
}

/// A store of some records in one segment, two of them deleted, behind the first checkpoint.
fn filled(machine: &Simulated) -> (Fragments, Vec<(Hash, Bytes)>) {
    let (fragments, _) = open(machine);
    let all: Vec<_> = (1..10).map(nth).collect();
    put(&fragments, &all[..6]);
    fragments.delete_batch(&[all[1].0, all[4].0]).unwrap();
    put(&fragments, &all[6..]);
    let kept = all.into_iter().enumerate().filter(|(index, _)| ![1, 4].contains(index));
    (fragments, kept.map(|(_, fragment)| fragment).collect())
}

/// What a disk loses that cannot read these bytes.
fn sectors(range: &Range<usize>) -> Range<usize> {
    range.start / SECTOR * SECTOR..range.end.next_multiple_of(SECTOR)
}

fn lies_in(content: &[u8], range: &Range<usize>, bytes: &Bytes) -> bool {
    let at = content.windows(bytes.len()).position(|window| window == bytes).unwrap();
    (at - HEADER).max(range.start) < (at + bytes.len()).min(range.end)
}

fn assert_all(fragments: &Fragments, kept: &[(Hash, Bytes)], context: &str) {
    let listed: BTreeSet<Hash> = fragments.inventory().map(|entry| entry.unwrap().0).collect();
    assert_eq!(listed, kept.iter().map(|(hash, _)| *hash).collect(), "{context}");
    for (hash, bytes) in kept {
        assert_eq!(fragments.read(hash).unwrap(), bytes, "{context}");
    }
}

fn open_with_bad(before: &Simulated, bad: &Range<usize>, kept: &[(Hash, Bytes)]) {
    let context = format!("{bad:?}");
    let machine = before.after_kill();
    machine.make_unreadable(SEGMENT, bad.clone());
    let (fragments, report) = open(&machine);
    let content_before = content(before, SEGMENT);
    let listed: BTreeSet<Hash> = fragments.inventory().map(|entry| entry.unwrap().0).collect();
    for (hash, bytes) in kept {
        let is_hit = lies_in(&content_before, &sectors(bad), bytes);
        assert!(is_hit || listed.contains(hash), "{context}: {} bytes outside are lost", bytes.len());
        match fragments.read(hash) {
            Ok(read) => assert_eq!(read, bytes, "{context}"),
            Err(_) => assert!(!listed.contains(hash), "{context}: what cannot be read is listed"),
        }
    }
    assert!(listed.iter().all(|hash| kept.iter().any(|(kept, _)| kept == hash)), "{context}: one came back");
    assert_eq!(fragments.len(), listed.len() as u64, "{context}");
    assert!(listed.len() == kept.len() || report.damaged_records > 0, "{context}: nothing is said of it");

    put(&fragments, kept);
    assert_all(&fragments, kept, &context);
    let lost = machine.after_crash(&mut Random(bad.start as u64 + 1), false);
    assert_all(&open(&lost).0, kept, &context);
    drop(fragments);
    assert_all(&open(&machine).0, kept, &context);
    // Nothing was written into what could not be read.
    let covered = bad.start.min(content_before.len())..bad.end.min(content_before.len());
    assert_eq!(content(&machine, SEGMENT)[covered.clone()], content_before[covered], "{context}");
    machine.make_readable();
    assert_all(&open(&machine.after_crash(&mut Random(1), false)).0, kept, &context);
}

#[test]
fn unreadable_bytes_anywhere_in_a_segment_cost_only_the_records_that_they_hit() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let length = content(&machine, SEGMENT).len();
    assert!(length > 8 * SECTOR);
    for at in 0..length {
        let bytes = [1, 64, 700][at % 3];
        open_with_bad(&machine, &(at..at + bytes), &kept);
    }
    drop(fragments);
}

#[test]
fn a_segment_with_an_unreadable_end_grows_no_more() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let killed = machine.after_kill();
    drop(fragments);
    let last = &kept.last().unwrap().1;
    killed.make_bytes_unreadable(last);
    let before = content(&killed, SEGMENT);
    let (fragments, _) = open(&killed);
    put(&fragments, &[nth(50)]);
    assert_eq!(content(&killed, SEGMENT), before);
    assert_eq!(fragments.read(&nth(50).0).unwrap(), nth(50).1);
    // In the middle it does not matter.
    let killed = machine.after_kill();
    killed.make_bytes_unreadable(&kept[2].1);
    put(&open(&killed).0, &[nth(50)]);
    assert_eq!(killed.with(|machine| machine.files.len()), 1);
}

#[test]
fn a_disk_that_gives_nothing_back_for_a_while_loses_nothing() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    drop(fragments);
    let bare = machine.after_crash(&mut Random(1), false);
    bare.make_unreadable(SEGMENT, 0..1 << 20);
    let (fragments, report) = open(&bare);
    assert!(fragments.is_empty() && report.damaged_records > 0);
    fragments.checkpoint().unwrap();
    drop(fragments);
    // Nobody knows what is in the segment, so it stays; also when the next runs do not look.
    bare.make_readable();
    for number in 60..63 {
        put(&open(&bare).0, &[nth(number)]);
    }
    let bare = bare.after_crash(&mut Random(1), false);
    assert_all(&open(&bare).0, &[&kept[..], &[nth(60), nth(61), nth(62)]].concat(), "when it can be read");
}

#[test]
fn what_cannot_be_read_can_be_deleted() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    machine.make_unreadable(SEGMENT, 0..content(&machine, SEGMENT).len());
    let hashes: Vec<Hash> = kept[..3].iter().map(|(hash, _)| *hash).collect();
    assert_eq!(fragments.delete_batch(&hashes).unwrap(), 3);
    assert!(hashes.iter().all(|hash| !fragments.contains(hash)));
    put(&fragments, &[nth(50)]);
    assert_eq!(fragments.read(&nth(50).0).unwrap(), nth(50).1);
}

/// A pass through the whole store: what it finds damaged, and what it could not read.
fn pass(fragments: &Fragments) -> (Vec<Hash>, usize) {
    let verified = fragments.verify_next(None, u64::MAX).unwrap();
    assert!(verified.next.is_none());
    (verified.damaged, verified.unread.len())
}

fn is_unread<T>(result: Result<T, ReadError>) -> bool {
    matches!(result, Err(ReadError::Io { .. }))
}

#[test]
fn a_disk_that_cannot_be_read_for_one_pass_ends_no_fragment() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let hashes: Vec<Hash> = kept.iter().map(|(hash, _)| *hash).collect();
    for _ in 0..3 {
        machine.make_unreadable(SEGMENT, 0..1 << 20);
        assert!(hashes.iter().all(|hash| is_unread(fragments.read(hash))), "it is not served");
        assert_eq!(pass(&fragments), (Vec::new(), kept.len()));
        assert!(fragments.quarantine(&hashes).unwrap().is_empty());
        machine.make_readable();
        // What has been read well is forgotten, so that the next time is again the first.
        assert_eq!(pass(&fragments), (Vec::new(), 0));
        assert_all(&fragments, &kept, "it was the cable");
    }
    assert_all(&open(&machine.after_kill()).0, &kept, "after a restart");
}

#[test]
fn what_two_passes_cannot_read_is_set_aside() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let (hash, bytes) = &kept[2];
    machine.make_bytes_unreadable(bytes);
    assert_eq!(pass(&fragments), (Vec::new(), 1));
    assert!(fragments.contains(hash) && fragments.quarantine(&[*hash]).unwrap().is_empty());
    assert_eq!(pass(&fragments), (vec![*hash], 0));
    assert!(!fragments.contains(hash), "it is not listed");
    assert_eq!(fragments.quarantine(&[*hash]).unwrap().len(), 1);
    assert!(matches!(fragments.read(hash), Err(ReadError::Missing(_))));
    let rest = [&kept[..2], &kept[3..]].concat();
    assert_all(&fragments, &rest, "set aside");
    assert_all(&open(&machine.after_crash(&mut Random(1), true)).0, &rest, "set aside, after a crash");
    put(&fragments, &kept[2..3]);
    assert_all(&fragments, &kept, "put anew");
}

#[test]
fn who_asks_twice_need_not_wait_for_a_pass() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let (hash, bytes) = &kept[2];
    machine.make_bytes_unreadable(bytes);
    assert!(is_unread(fragments.verify(hash)) && is_unread(fragments.read(hash)));
    assert!(matches!(fragments.verify(hash), Err(ReadError::Damaged(_))));
    // Unless it can be read when it is about to be set aside.
    machine.make_readable();
    assert!(fragments.quarantine(&[*hash]).unwrap().is_empty());
    assert_all(&fragments, &kept, "it can be read");
}

#[test]
fn a_fragment_that_was_put_over_one_that_cannot_be_read_is_in_no_doubt() {
    let machine = Simulated::default();
    let (fragments, kept) = filled(&machine);
    let (hash, bytes) = &kept[2];
    machine.make_bytes_unreadable(bytes);
    assert!(is_unread(fragments.verify(hash)));
    put(&fragments, &kept[2..3]);
    assert_all(&fragments, &kept, "put anew");
    assert_all(&open(&machine.after_kill()).0, &kept, "put anew, after a restart");
    machine.make_bytes_unreadable(bytes);
    assert!(is_unread(fragments.verify(hash)), "that is the first time here");
    // The old copy can be read again, and does not come back.
    machine.make_readable();
    fragments.delete_batch(&[*hash]).unwrap();
    let rest = [&kept[..2], &kept[3..]].concat();
    assert_all(&open(&machine.after_crash(&mut Random(1), false)).0, &rest, "deleted");
}
