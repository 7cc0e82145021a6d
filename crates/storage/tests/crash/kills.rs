//! The process is killed, another goes on, and only then the power fails: what the first had not synced is still not synced.

use crate::simulated::{Random, Simulated};
use crate::{nth, open};

#[test]
fn a_deletion_survives_a_kill_and_then_a_power_cut() {
    for seed in 1..100 {
        let machine = Simulated::default();
        let store = open(&machine);
        let put = |store: &storage::Fragments, number| {
            assert!(store.put_batch(vec![nth(number)]).iter().all(Result::is_ok));
        };
        // The first segment keeps one that lives, the second is to hold the tombstone.
        [1, 20, 5].into_iter().for_each(|number| put(&store, number));
        store.delete_batch(&[nth(20).0]).unwrap();
        let machine = machine.after_kill();
        let store = open(&machine);
        // The second segment dies, and the tombstone with it.
        store.delete_batch(&[nth(5).0]).unwrap();
        [21, 2].into_iter().for_each(|number| put(&store, number));
        store.delete_batch(&[nth(21).0]).unwrap();
        let machine = machine.after_crash(&mut Random(seed), false);
        let store = open(&machine);
        assert!(!store.contains(&nth(20).0), "seed {seed}: a deleted fragment is back");
        assert!([1, 2].iter().all(|number| store.read(&nth(*number).0).is_ok()), "seed {seed}");
    }
}
