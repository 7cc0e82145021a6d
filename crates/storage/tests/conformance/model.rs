//! Fragments against a model: a map.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::Hash;
use storage::Store;

use crate::backend::{Backend, InMemory, OnDisk, assert_holds, fragment};

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u64>),
    Delete(Vec<u64>),
    Checkpoint,
    Reopen,
    /// Go on with a copy that was taken while the store was open.
    Crash,
    LoseDatabase,
}

/// Twelve fragments, from empty to longer than a segment.
fn nth(seed: u64) -> (Hash, Bytes) {
    fragment(seed, (seed * seed * 45) as usize)
}

fn any_step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(0..12_u64, 1..5);
    prop_oneof![
        6 => some().prop_map(Step::Put),
        4 => some().prop_map(Step::Delete),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseDatabase),
    ]
}

fn run<B: Backend>(steps: &[Step]) {
    let mut backend = B::new();
    let mut store: Option<Store> = Some(backend.open());
    let mut model = BTreeMap::new();
    for step in steps {
        let open = store.take().unwrap();
        match step {
            Step::Put(seeds) => {
                let fragments: Vec<_> = seeds.iter().map(|seed| nth(*seed)).collect();
                model.extend(fragments.iter().cloned());
                open.fragments().put_batch(fragments).into_iter().for_each(Result::unwrap);
                store = Some(open);
            }
            Step::Delete(seeds) => {
                let hashes: Vec<_> = seeds.iter().map(|seed| nth(*seed).0).collect();
                let before = model.len();
                model.retain(|hash, _| !hashes.contains(hash));
                assert_eq!(open.fragments().delete_batch(&hashes).unwrap(), before - model.len());
                store = Some(open);
            }
            Step::Checkpoint => {
                open.fragments().checkpoint().unwrap();
                store = Some(open);
            }
            Step::Reopen => drop(open),
            Step::Crash => {
                let copy = backend.copy();
                drop(open);
                backend = copy;
            }
            Step::LoseDatabase => {
                drop(open);
                backend.lose_database();
            }
        }
        let open = store.take().unwrap_or_else(|| backend.open());
        let expected: Vec<_> = model.clone().into_iter().collect();
        assert_holds(&open, &expected);
        store = Some(open);
    }
}

proptest! {
    #[test]
    fn fragments_in_memory_are_a_map(steps in prop::collection::vec(any_step(), 1..60)) {
        run::<InMemory>(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn fragments_on_disk_are_a_map(steps in prop::collection::vec(any_step(), 1..30)) {
        run::<OnDisk>(&steps);
    }
}
