//! The real store of fragments on a simulated disk, behind a torrent of some lives: what the torrent said that it has must be there after a
//! power cut, whatever the disk made of the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;
use storage::FragmentsOptions;
use storage::fragments::Fragments;
use uuid::Uuid;

use super::rng::Rng;

#[path = "../../../crates/storage/tests/crash/simulated.rs"]
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "it is made for the tests of the store, which use all of it"
)]
mod simulated;

use simulated::{Fault, Random, Simulated};

/// Small, so that there are many.
const OPTIONS: FragmentsOptions = FragmentsOptions { segment_bytes: 8 << 10, reserve_bytes: 0 };

/// A store and the machine that it runs on.
#[derive(Debug, Clone)]
pub struct RealStore {
    machine: Simulated,
    fragments: Fragments,
    id: Uuid,
}

impl RealStore {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let (machine, id) = (Simulated::default(), Uuid::from_bytes(rng.bytes()));
        let fragments = open(&machine, id);
        Self { machine, fragments, id }
    }

    /// Stores a fragment, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn put(&self, hash: Hash, data: Bytes) {
        let stored = self.fragments.put_batch(vec![(hash, data)]);
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    }

    /// Stores a fragment on a disk that is full.
    ///
    /// # Panics
    /// If the store says that it has it.
    pub fn put_without_room(&self, hash: Hash, data: Bytes) {
        self.fail_after(1, Fault::NoSpace);
        let was_here = self.fragments.contains(&hash);
        let stored = self.fragments.put_batch(vec![(hash, data)]);
        self.machine.with(|machine| machine.fault_at = None);
        assert!(was_here || stored.iter().all(Result::is_err), "{hash:?} is stored on a full disk");
        assert_eq!(was_here, self.fragments.contains(&hash), "a put that failed left something");
    }

    fn fail_after(&self, calls: u64, fault: Fault) {
        self.machine.with(|machine| machine.fault_at = Some((machine.calls + calls, fault)));
    }

    /// Deletes fragments, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn delete(&self, fragments: &[Hash]) {
        self.fragments.delete_batch(fragments).expect("the disk works");
    }

    /// Bits of a fragment flip.
    ///
    /// # Panics
    /// If the store does not find that when it reads.
    pub fn rot(&self, hash: &Hash, data: &[u8]) {
        self.machine.rot(data);
        assert!(self.fragments.read(hash).is_err(), "{hash:?} is handed out as if it were good");
    }

    /// Fragments that were found to be bad are set aside.
    ///
    /// # Panics
    /// If they are still here.
    pub fn set_aside(&self, fragments: &[Hash]) {
        self.fragments.quarantine(fragments).expect("the disk works");
        assert!(!fragments.iter().any(|hash| self.fragments.contains(hash)), "set aside, and still here");
    }

    /// The power fails, somewhere in the middle of these writes if there are any. Of what was not synced, anything is left.
    pub fn fall(&mut self, under_way: impl IntoIterator<Item = (Hash, Bytes)>, rng: &mut Rng) {
        self.fail_after(1 + rng.below(8) as u64, Fault::Crash);
        drop(self.fragments.put_batch(under_way.into_iter().collect()));
        let keeps_index = rng.chance(3, 4);
        self.machine = self.machine.after_crash(&mut Random(rng.next() | 1), keeps_index);
        self.fragments = open(&self.machine, self.id);
    }

    /// The process ends and starts again, and the machine goes on.
    pub fn restart(&mut self) {
        self.machine = self.machine.after_kill();
        self.fragments = open(&self.machine, self.id);
    }

    /// Everything that it lists and can read.
    ///
    /// # Panics
    /// If it cannot be listed.
    #[must_use]
    pub fn content(&self) -> BTreeMap<Hash, Bytes> {
        let listed = self.fragments.inventory().map(|entry| entry.expect("the index works").0);
        let listed: Vec<Hash> = listed.collect();
        listed.into_iter().filter_map(|hash| Some((hash, self.fragments.read(&hash).ok()?))).collect()
    }
}

fn open(machine: &Simulated, id: Uuid) -> Fragments {
    let (disk, engine) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    Fragments::open(disk, engine, id, OPTIONS).expect("a store opens on whatever a crash left").0
}
