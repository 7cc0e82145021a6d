//! Integrity at rest: what is damaged is found, set aside for good, and can be put again.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::Hash;
use storage::Store;
use storage::fragments::ReadError;

use crate::backend::{Backend, assert_holds, fragment, overwrite, put_all, read_all};

/// Where the bytes of a fragment are: the file, and the offset in it.
pub fn place_of<B: Backend>(backend: &B, bytes: &Bytes) -> (String, usize) {
    let found = read_all(&*backend.segments()).into_iter().find_map(|(name, content)| {
        let at = content.windows(bytes.len()).position(|window| window == bytes)?;
        Some((name, at))
    });
    found.unwrap()
}

/// Flips a bit of each of these fragments.
pub fn rot<B: Backend>(backend: &B, fragments: &[(Hash, Bytes)]) {
    for (_, bytes) in fragments {
        let (name, at) = place_of(backend, bytes);
        overwrite(&*backend.segments(), &name, at as u64, &[bytes[0] ^ 1]);
    }
}

fn is_missing(store: &Store, hash: &Hash) -> bool {
    matches!(store.fragments().read(hash), Err(ReadError::Missing(_)))
}

/// Walks through the whole store in steps of `budget_bytes`; how many fragments it met, and which of them are damaged.
fn walk(store: &Store, budget_bytes: u64) -> (u64, Vec<Hash>) {
    let (mut met, mut damaged, mut after) = (0, Vec::new(), None);
    loop {
        let step = store.fragments().verify_next(after.as_ref(), budget_bytes).unwrap();
        assert!(step.unread.is_empty(), "{step:?}");
        met += step.fragments;
        damaged.extend(step.damaged);
        let Some(next) = step.next else { return (met, damaged) };
        after = Some(next);
    }
}

pub fn a_quarantined_fragment_is_gone_until_it_is_put_again<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..6).map(|seed| fragment(seed, 700)).collect();
    let (hash, rest) = (fragments[1].0, [&fragments[..1], &fragments[2..]].concat());
    let store = backend.open();
    put_all(&store, &fragments);
    rot(&backend, &fragments[1..2]);
    let aside = store.fragments().quarantine(&[hash, hash]).unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].hash, aside[0].length_bytes), (hash, 700));
    // The operator finds the bytes where it says.
    let content = read_all(&*backend.segments()).into_iter().find(|(name, _)| *name == aside[0].segment);
    let at = usize::try_from(aside[0].offset_bytes).unwrap();
    assert_eq!(content.unwrap().1[at + 1..at + 700], fragments[1].1[1..]);

    assert!(is_missing(&store, &hash));
    assert_holds(&store, &rest);
    assert!(store.fragments().quarantine(&[hash]).unwrap().is_empty(), "once is enough");
    assert_holds(&backend.copy().open(), &rest);
    drop(store);
    let store = backend.open();
    assert_holds(&store, &rest);
    drop(store);
    backend.lose_database();
    let store = backend.open();
    assert!(is_missing(&store, &hash));
    assert_holds(&store, &rest);

    put_all(&store, &fragments[1..2]);
    assert_holds(&store, &fragments);
    assert_holds(&backend.copy().open(), &fragments);
    drop(store);
    backend.lose_database();
    assert_holds(&backend.open(), &fragments);
}

pub fn only_what_is_damaged_is_quarantined<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..4).map(|seed| fragment(seed, 300)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let hashes: Vec<_> = fragments.iter().map(|(hash, _)| *hash).chain([fragment(9, 1).0]).collect();
    assert!(store.fragments().quarantine(&hashes).unwrap().is_empty());
    // It was damaged when it was read, and put anew before it was set aside.
    rot(&backend, &fragments[..1]);
    assert!(matches!(store.fragments().read(&hashes[0]), Err(ReadError::Damaged(_))));
    put_all(&store, &fragments[..1]);
    assert!(store.fragments().quarantine(&hashes).unwrap().is_empty());
    assert_holds(&store, &fragments);
}

pub fn damage_of_any_kind_is_found<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..20).map(|seed| fragment(seed, 900)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    // A bit, a hole, the end of a file, a whole file.
    rot(&backend, &fragments[..1]);
    let segments = backend.segments();
    let (name, at) = place_of(&backend, &fragments[1].1);
    overwrite(&*segments, &name, at as u64, &[0; 900]);
    let (name, at) = place_of(&backend, &fragments[19].1);
    segments.open(&name).unwrap().truncate(at as u64 + 10).unwrap();
    let mut expected: BTreeSet<Hash> = [0, 1, 19].map(|index: usize| fragments[index].0).into();
    let (met, damaged) = walk(&store, u64::MAX);
    assert_eq!((met, damaged.iter().copied().collect()), (20, expected.clone()));
    assert!(matches!(store.fragments().verify(&fragments[0].0), Err(ReadError::Damaged(_))));
    assert_eq!(store.fragments().verify(&fragments[2].0).unwrap(), 900);
    assert!(matches!(store.fragments().verify(&fragment(99, 1).0), Err(ReadError::Missing(_))));
    assert_eq!(store.fragments().quarantine(&damaged).unwrap().len(), 3);

    let (name, _) = place_of(&backend, &fragments[8].1);
    segments.open(&name).unwrap().truncate(0).unwrap();
    let (_, damaged) = walk(&store, 1);
    assert!(damaged.contains(&fragments[8].0));
    assert_eq!(store.fragments().quarantine(&damaged).unwrap().len(), damaged.len());
    expected.extend(damaged);
    assert_eq!(walk(&store, 1), (20 - expected.len() as u64, Vec::new()));
    let lost: Vec<_> = fragments.iter().filter(|(hash, _)| expected.contains(hash)).cloned().collect();
    put_all(&store, &lost);
    assert_holds(&store, &fragments);
    assert_holds(&backend.copy().open(), &fragments);
}

pub fn a_segment_in_which_everything_is_damaged_is_removed<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..30).map(|seed| fragment(seed, 900)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let before = read_all(&*backend.segments()).len();
    rot(&backend, &fragments[..15]);
    let (_, damaged) = walk(&store, u64::MAX);
    assert_eq!(store.fragments().quarantine(&damaged).unwrap().len(), 15);
    assert!(read_all(&*backend.segments()).len() < before);
    assert_holds(&store, &fragments[15..]);
    assert_holds(&backend.copy().open(), &fragments[15..]);
}

pub fn a_walk_in_steps_meets_every_fragment_once<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..100).map(|seed| fragment(seed, 50)).collect();
    let store = backend.open();
    assert_eq!(walk(&store, 1), (0, Vec::new()), "an empty store has an end");
    // Some of them in the database, some of them not yet.
    put_all(&store, &fragments[..60]);
    store.fragments().checkpoint().unwrap();
    put_all(&store, &fragments[60..]);
    store.fragments().delete_batch(&[fragments[7].0, fragments[70].0]).unwrap();
    rot(&backend, &[fragments[3].clone(), fragments[93].clone()]);
    for budget_bytes in [0, 1, 50, 51, 4000, 5000, u64::MAX] {
        let (met, damaged) = walk(&store, budget_bytes);
        assert_eq!((met, damaged.len()), (98, 2), "{budget_bytes}");
    }
    let step = store.fragments().verify_next(None, 100).unwrap();
    assert_eq!((step.fragments, step.bytes), (2, 100));
}

pub fn a_walk_goes_on_after_a_restart_and_whatever_has_changed<B: Backend>() {
    let backend = B::new();
    let mut fragments: Vec<_> = (0..60).map(|seed| fragment(seed, 50)).collect();
    fragments.sort_by_key(|(hash, _)| *hash);
    let store = backend.open();
    put_all(&store, &fragments);
    let first = store.fragments().verify_next(None, 20 * 50).unwrap();
    assert_eq!((first.fragments, first.next), (20, Some(fragments[19].0)));
    drop(store);
    let store = backend.open();
    // Also the fragment behind which it goes on.
    store.fragments().delete_batch(&[fragments[0].0, fragments[19].0, fragments[20].0]).unwrap();
    let late = (100..110).map(|seed| fragment(seed, 50)).filter(|(hash, _)| *hash > fragments[19].0);
    let late: Vec<_> = late.collect();
    put_all(&store, &late);
    let rest = store.fragments().verify_next(first.next.as_ref(), u64::MAX).unwrap();
    assert_eq!((rest.fragments, rest.next), (39 + late.len() as u64, None));
}
