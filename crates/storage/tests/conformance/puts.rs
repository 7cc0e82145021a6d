//! A put of what is here already keeps the bytes in hand unless those on disk are good.

use std::sync::mpsc;

use bytes::Bytes;
use protocol::Hash;
use storage::fragments::FragmentWriter;

use crate::backend::{Backend, assert_holds, fragment, overwrite, put_all, read_all};
use crate::verify::{place_of, rot};

const HEADER: usize = 64;

fn stored<B: Backend>(backend: &B) -> usize {
    read_all(&*backend.segments()).iter().map(|(_, content)| content.len()).sum()
}

pub fn a_put_of_what_has_rotted_unnoticed_is_written<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..6).map(|seed| fragment(seed, 700)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    rot(&backend, &fragments[2..4]);
    // Also twice in the same batch.
    put_all(&store, &[&fragments[..], &fragments[..]].concat());
    assert_holds(&store, &fragments);
    assert_holds(&backend.copy().open(), &fragments);
    let length = stored(&backend);
    put_all(&store, &fragments);
    assert_eq!(stored(&backend), length, "what is good is not written again");
    drop(store);
    assert_holds(&backend.open(), &fragments);
    backend.lose_database();
    assert_holds(&backend.open(), &fragments);
}

pub fn what_its_caller_has_hashed_is_written_over_rot_too<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<(Hash, Bytes)> = (0..4).map(|seed| fragment(seed, 700)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    rot(&backend, &fragments);
    let writer = FragmentWriter::start(store.fragments().clone()).unwrap();
    let (done, results) = mpsc::channel();
    for (hash, bytes) in &fragments {
        let done = done.clone();
        writer.put_hashed(*hash, bytes.clone(), Box::new(move |result| done.send(result).unwrap()));
    }
    drop((writer, done));
    assert_eq!(results.iter().map(Result::unwrap).count(), 4);
    assert_holds(&store, &fragments);
    assert_holds(&backend.copy().open(), &fragments);
}

pub fn a_put_of_what_would_be_lost_with_the_index_is_written<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..4).map(|seed| fragment(seed, 700)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let (name, at) = place_of(&backend, &fragments[1].1);
    overwrite(&*backend.segments(), &name, (at - HEADER) as u64, b"rot");
    put_all(&store, &fragments);
    assert_holds(&store, &fragments);
    drop(store);
    backend.lose_database();
    assert_holds(&backend.open(), &fragments);
}

pub fn a_copy_that_was_replaced_does_not_come_back<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..4).map(|seed| fragment(seed, 700)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let (name, at) = place_of(&backend, &fragments[1].1);
    let first = fragments[1].1[0];
    overwrite(&*backend.segments(), &name, at as u64, &[first ^ 1]);
    put_all(&store, &fragments[1..2]);
    // It was the cable.
    overwrite(&*backend.segments(), &name, at as u64, &[first]);
    store.fragments().delete_batch(&[fragments[1].0]).unwrap();
    // Nor where the mark did not reach the disk.
    overwrite(&*backend.segments(), &name, (at - HEADER + 6) as u64, &[0xA5]);
    let rest = [&fragments[..1], &fragments[2..]].concat();
    assert_holds(&store, &rest);
    drop(store);
    backend.lose_database();
    assert_holds(&backend.open(), &rest);
}
