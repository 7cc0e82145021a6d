//! What must hold for the fragments of every store.

use std::sync::mpsc;

use bytes::Bytes;
use protocol::Hash;
use storage::fragments::{FragmentWriter, MAX_FRAGMENT_BYTES, PutError, ReadError};
use storage::{FragmentsOptions, StoreOptions};

use crate::backend::{Backend, OPTIONS, assert_holds, fragment, overwrite, put_all, read_all};

/// Header of a record, in bytes.
const HEADER: usize = 64;

pub fn fragments_of_any_size_are_read_back<B: Backend>() {
    let backend = B::new();
    let store = backend.open_with(StoreOptions::default());
    let fragments: Vec<_> =
        [0, 1, 63, 4096, 65_536, MAX_FRAGMENT_BYTES as usize].map(|length| fragment(1, length)).to_vec();
    put_all(&store, &fragments);
    assert_holds(&store, &fragments);
    drop(store);
    assert_holds(&backend.open(), &fragments);
}

pub fn a_fragment_that_is_not_what_its_name_says_is_refused_alone<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let (good, other, long) =
        (fragment(1, 10), fragment(2, 10), fragment(3, MAX_FRAGMENT_BYTES as usize + 1));
    let results = store.fragments().put_batch(vec![(other.0, good.1.clone()), long, good.clone()]);
    assert!(matches!(&results[0], Err(PutError::HashMismatch { expected, .. }) if *expected == other.0));
    assert!(matches!(&results[1], Err(PutError::TooLarge { .. })));
    assert!(results[2].is_ok());
    assert_holds(&store, &[good]);
}

pub fn a_fragment_is_written_once_however_often_it_is_put<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let one = fragment(1, 100);
    put_all(&store, &[one.clone(), fragment(2, 50), one.clone()]);
    let before = read_all(&*backend.segments());
    put_all(&store, std::slice::from_ref(&one));
    assert_eq!(read_all(&*backend.segments()), before);
    assert_eq!(before[0].1.len(), 2 * HEADER + 150);
    assert_holds(&store, &[one, fragment(2, 50)]);
}

pub fn what_is_not_there_is_missing<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let (hash, _) = fragment(1, 10);
    assert!(matches!(store.fragments().read(&hash), Err(ReadError::Missing(missing)) if missing == hash));
    assert!(!store.fragments().contains(&hash));
    assert_eq!(store.fragments().delete_batch(&[hash]).unwrap(), 0);
    assert!(store.fragments().is_empty());
}

pub fn many_segments_are_one_store<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..40).map(|seed| fragment(seed, 900)).collect();
    let store = backend.open();
    put_all(&store, &fragments[..25]);
    fragments[25..].iter().for_each(|fragment| put_all(&store, std::slice::from_ref(fragment)));
    assert!(read_all(&*backend.segments()).len() >= 8);
    assert_holds(&store, &fragments);
    drop(store);
    let store = backend.open();
    assert_eq!(store.opened().rescanned_bytes, 0);
    assert_holds(&store, &fragments);
}

pub fn what_was_put_survives_a_crash<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let fragments: Vec<_> = (0..20).map(|seed| fragment(seed, 700)).collect();
    for (count, one) in fragments.iter().enumerate() {
        put_all(&store, std::slice::from_ref(one));
        if count % 6 == 0 {
            assert_holds(&backend.copy().open(), &fragments[..=count]);
        }
    }
}

pub fn a_lost_index_is_rebuilt_from_the_segments<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..20).map(|seed| fragment(seed, 700)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    store.fragments().delete_batch(&[fragments[3].0, fragments[19].0]).unwrap();
    drop(store);
    backend.lose_database();
    let store = backend.open();
    assert!(store.opened().index_rebuilt);
    let rest: Vec<_> = [&fragments[..3], &fragments[4..19]].concat();
    assert_holds(&store, &rest);
    drop(store);
    assert_holds(&backend.open(), &rest);
}

/// Cuts the only segment to each length at which the last of three records is incomplete.
pub fn a_torn_tail_is_truncated<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..3).map(|seed| fragment(seed, 40)).collect();
    let store = backend.open();
    put_all(&store, &fragments[..2]);
    store.fragments().checkpoint().unwrap();
    let crashed = backend.copy();
    put_all(&store, &fragments[2..]);
    let (name, content) = read_all(&*backend.segments()).remove(0);
    let whole = 3 * (HEADER + 40);
    assert_eq!(content.len(), whole);
    for length in whole - HEADER - 40..whole {
        let torn = crashed.copy();
        overwrite(&*torn.segments(), &name, 0, &content[..length]);
        let store = torn.open();
        assert_eq!(store.opened().truncated_bytes, (length - (whole - HEADER - 40)) as u64);
        assert_eq!(read_all(&*torn.segments())[0].1.len(), whole - HEADER - 40);
        assert_holds(&store, &fragments[..2]);
        put_all(&store, &fragments[2..]);
        assert_holds(&store, &fragments);
    }
}

pub fn a_flipped_bit_is_noticed_and_a_new_copy_taken<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..3).map(|seed| fragment(seed, 500)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let segments = backend.segments();
    let (name, content) = read_all(&*segments).remove(0);
    let at = HEADER + 250;
    overwrite(&*segments, &name, at as u64, &[content[at] ^ 1]);
    let hash = fragments[0].0;
    assert!(matches!(store.fragments().read(&hash), Err(ReadError::Damaged(damaged)) if damaged == hash));
    let crashed = backend.copy().open();
    assert!(!crashed.fragments().contains(&hash), "nor after a restart that reads it again");
    assert_eq!(crashed.opened().damaged_records, 1);
    assert!(!store.fragments().contains(&hash), "a damaged copy is not reported as stored");
    assert_eq!(store.fragments().inventory().count(), 2);
    put_all(&store, &fragments[..1]);
    assert_holds(&store, &fragments);
    drop(store);
    assert_holds(&backend.open(), &fragments);
}

/// The reader that only compares checksums finds the same damage, and reads what has been put anew.
pub fn a_flipped_bit_does_not_match_the_checksum_either<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..2).map(|seed| fragment(seed, 500)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    for (hash, bytes) in &fragments {
        assert_eq!(store.fragments().read_checksummed(hash).unwrap(), bytes);
    }
    let segments = backend.segments();
    let (name, content) = read_all(&*segments).remove(0);
    for at in [HEADER, HEADER + 499] {
        overwrite(&*segments, &name, at as u64, &[content[at] ^ 0x80]);
        let read = store.fragments().read_checksummed(&fragments[0].0);
        assert!(matches!(read, Err(ReadError::Damaged(damaged)) if damaged == fragments[0].0));
        overwrite(&*segments, &name, at as u64, &[content[at]]);
    }
    assert_eq!(store.fragments().read_checksummed(&fragments[1].0).unwrap(), fragments[1].1);
    let missing = fragment(9, 1).0;
    assert!(matches!(store.fragments().read_checksummed(&missing), Err(ReadError::Missing(_))));
}

/// Records as they were written before they had a checksum of their payload.
pub fn records_of_the_first_layout_are_read<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..2).map(|seed| fragment(seed, 500)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let segments = backend.segments();
    let (name, content) = read_all(&*segments).remove(0);
    for at in [0, HEADER + 500] {
        let mut header = content[at..at + HEADER].to_vec();
        header[4] = 1;
        header[52..56].fill(0);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(store.id().as_bytes());
        checksum.update(&header[..6]);
        checksum.update(&header[7..60]);
        header[60..].copy_from_slice(&checksum.finalize().to_le_bytes());
        overwrite(&*segments, &name, at as u64, &header);
    }
    for (hash, bytes) in &fragments {
        assert_eq!(store.fragments().read_checksummed(hash).unwrap(), bytes);
    }
    let reopened = backend.copy().open();
    assert_eq!(reopened.opened().damaged_records, 0);
    assert_holds(&reopened, &fragments);
}

/// With the index lost too, everything else has to be found again behind the damage.
pub fn damage_in_the_middle_costs_only_what_it_hit<B: Backend>() {
    for at in [0, 5, HEADER - 1, HEADER, HEADER + 199] {
        let mut backend = B::new();
        let fragments: Vec<_> = (0..5).map(|seed| fragment(seed, 200)).collect();
        put_all(&backend.open(), &fragments);
        let segments = backend.segments();
        let (name, content) = read_all(&*segments).remove(0);
        let at = 2 * (HEADER + 200) + at;
        overwrite(&*segments, &name, at as u64, &[content[at] ^ 0x80]);
        backend.lose_database();
        let rest: Vec<_> = [&fragments[..2], &fragments[3..]].concat();
        assert_holds(&backend.open(), &rest);
    }
}

pub fn segments_full_of_rubbish_are_survived<B: Backend>() {
    let mut backend = B::new();
    let kept = fragment(1, 100);
    put_all(&backend.open(), std::slice::from_ref(&kept));
    let segments = backend.segments();
    overwrite(&*segments, &read_all(&*segments)[0].0, (HEADER + 100) as u64, &fragment(2, 9000).1);
    segments.create("0000000007.segment").unwrap();
    overwrite(&*segments, "0000000007.segment", 0, &[b'm'; 70_000]);
    segments.create("notes.txt").unwrap();
    backend.lose_database();
    let store = backend.open();
    let more: Vec<_> = (10..20).map(|seed| fragment(seed, 900)).collect();
    put_all(&store, &more);
    assert_holds(&store, &[&more[..], &[kept]].concat());
    assert!(segments.list().unwrap().contains(&"notes.txt".to_owned()), "what is not ours is left alone");
}

/// A file that looks like records of another store must not become records of this one when a segment is searched.
pub fn uploaded_records_are_not_taken_for_ours() {
    let foreign = crate::backend::InMemory::new();
    let inner = fragment(9, 300);
    put_all(&foreign.open(), std::slice::from_ref(&inner));
    let looks_like_records: Bytes = read_all(&*foreign.segments()).remove(0).1.into();

    let mut backend = crate::backend::OnDisk::new();
    let store = backend.open();
    put_all(&store, &[fragment(1, 10), (Hash::of(&looks_like_records), looks_like_records), fragment(2, 10)]);
    drop(store);
    let segments = backend.segments();
    let name = read_all(&*segments).remove(0).0;
    overwrite(&*segments, &name, (HEADER + 10) as u64, b"damaged header");
    backend.lose_database();
    assert_holds(&backend.open(), &[fragment(1, 10), fragment(2, 10)]);
}

pub fn deleted_fragments_are_gone_for_good<B: Backend>() {
    let mut backend = B::new();
    let fragments: Vec<_> = (0..30).map(|seed| fragment(seed, 900)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let hashes: Vec<_> = fragments[..20].iter().map(|(hash, _)| *hash).collect();
    assert_eq!(store.fragments().delete_batch(&hashes).unwrap(), 20);
    assert_eq!(store.fragments().delete_batch(&hashes).unwrap(), 0);
    assert_holds(&store, &fragments[20..]);
    assert_holds(&backend.copy().open(), &fragments[20..]);
    drop(store);
    assert_holds(&backend.open(), &fragments[20..]);
    backend.lose_database();
    assert_holds(&backend.open(), &fragments[20..]);
}

pub fn a_segment_in_which_nothing_lives_is_removed<B: Backend>() {
    let backend = B::new();
    let fragments: Vec<_> = (0..30).map(|seed| fragment(seed, 900)).collect();
    let store = backend.open();
    put_all(&store, &fragments);
    let before = read_all(&*backend.segments()).len();
    let hashes: Vec<_> = fragments.iter().map(|(hash, _)| *hash).collect();
    store.fragments().delete_batch(&hashes[..15]).unwrap();
    let between = read_all(&*backend.segments()).len();
    store.fragments().delete_batch(&hashes[15..]).unwrap();
    assert!(before >= 6 && between < before, "{between} of {before}");
    assert_eq!(read_all(&*backend.segments()).len(), 1, "the segment that grows stays");
    drop(store);
    let store = backend.open();
    assert!(store.fragments().is_empty());
    put_all(&store, &fragments);
    assert_holds(&store, &fragments);
}

pub fn a_deleted_fragment_can_be_put_again<B: Backend>() {
    let mut backend = B::new();
    let one = fragment(1, 300);
    for _ in 0..3 {
        let store = backend.open();
        put_all(&store, std::slice::from_ref(&one));
        store.fragments().delete_batch(&[one.0]).unwrap();
        put_all(&store, std::slice::from_ref(&one));
        assert_holds(&store, std::slice::from_ref(&one));
        assert_holds(&backend.copy().open(), std::slice::from_ref(&one));
        store.fragments().delete_batch(&[one.0]).unwrap();
    }
    backend.lose_database();
    assert_holds(&backend.open(), &[]);
}

pub fn the_reserve_is_left_free<B: Backend>() {
    let options = FragmentsOptions { reserve_bytes: u64::MAX, ..OPTIONS.fragments };
    let backend = B::new();
    let store = backend.open_with(StoreOptions { fragments: options });
    let one = fragment(1, 300);
    let results = store.fragments().put_batch(vec![one.clone()]);
    assert!(matches!(&results[0], Err(PutError::NoSpace { hash }) if *hash == one.0));
    assert_eq!(store.fragments().free_bytes(), 0);
    assert!(store.fragments().is_empty());
}

pub fn the_writer_stores_and_answers_each_put_once<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let fragments: Vec<_> = (0..200).map(|seed| fragment(seed, 1500)).collect();
    let writer = FragmentWriter::start(store.fragments().clone()).unwrap();
    let (answers, answered) = mpsc::channel();
    for (hash, bytes) in &fragments {
        let answers = answers.clone();
        let hash = *hash;
        writer.put(hash, bytes.clone(), Box::new(move |result| answers.send((hash, result)).unwrap()));
    }
    let wrong = answers.clone();
    writer.put(
        Hash::of(b"x"),
        Bytes::from_static(b"y"),
        Box::new(move |result| {
            wrong.send((Hash::of(b"x"), result)).unwrap();
        }),
    );
    drop((writer, answers));
    let mut seen: Vec<_> = answered.iter().collect();
    seen.sort_by_key(|(hash, _)| *hash);
    let refused = seen.iter().position(|(_, result)| result.is_err()).unwrap();
    assert!(matches!(&seen.remove(refused).1, Err(PutError::HashMismatch { .. })));
    let mut expected: Vec<_> = fragments.iter().map(|(hash, _)| *hash).collect();
    expected.sort();
    assert_eq!(seen.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), expected);
    assert!(seen.iter().all(|(_, result)| result.is_ok()));
    assert_holds(&store, &fragments);
}

pub fn the_writer_stores_what_its_caller_has_hashed<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let writer = FragmentWriter::start(store.fragments().clone()).unwrap();
    let (answers, answered) = mpsc::channel();
    for (hash, bytes) in [fragment(1, 300), fragment(2, MAX_FRAGMENT_BYTES as usize + 1)] {
        let answers = answers.clone();
        writer.put_hashed(hash, bytes, Box::new(move |result| answers.send((hash, result)).unwrap()));
    }
    drop((writer, answers));
    let mut results: Vec<_> = answered.iter().collect();
    results.sort_by_key(|(_, result)| result.is_err());
    assert!(results[0].1.is_ok() && matches!(results[1].1, Err(PutError::TooLarge { .. })), "{results:?}");
    assert_holds(&store, &[fragment(1, 300)]);
}

pub fn readers_never_see_wrong_bytes_while_others_delete_and_put<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let fragments: Vec<_> = (0..8).map(|seed| fragment(seed, 9000)).collect();
    let hashes: Vec<_> = fragments.iter().map(|(hash, _)| *hash).collect();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..40 {
                put_all(&store, &fragments);
                store.fragments().delete_batch(&hashes).unwrap();
            }
        });
        while !writing.is_finished() {
            for (hash, bytes) in &fragments {
                match store.fragments().read(hash) {
                    Ok(read) => assert_eq!(read, bytes),
                    Err(error) => assert!(matches!(error, ReadError::Missing(_)), "{error}"),
                }
            }
        }
    });
    assert_holds(&store, &[]);
}
