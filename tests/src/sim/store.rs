//! The real store on a simulated disk, behind the daemons of some lives: what was said to be there must be there after a power cut,
//! whatever the disk made of the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use distribution::view::{Change, View};
use protocol::{Hash, Revision};
use storage::engine::{Engine as _, Space};
use storage::fragments::PutError;
use storage::{FragmentsOptions, Store, StoreOptions};
use uuid::Uuid;

use super::fuse::Blown;
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
const OPTIONS: StoreOptions =
    StoreOptions { fragments: FragmentsOptions { segment_bytes: 8 << 10, reserve_bytes: 0 } };

/// A store and the machine that it runs on.
#[derive(Debug, Clone)]
pub struct RealStore {
    machine: Simulated,
    store: Store,
    id: Uuid,
}

impl RealStore {
    /// An empty disk.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        let (machine, id) = (Simulated::default(), Uuid::from_bytes(rng.bytes()));
        let store = open(&machine, id);
        Self { machine, store, id }
    }

    /// Stores a fragment. Says whether it is stored: it is not where an earlier fault has spoilt the store.
    ///
    /// # Panics
    /// If it is not for any other reason.
    pub fn put(&self, hash: Hash, data: Bytes) -> bool {
        let stored = self.store.fragments().put_batch(vec![(hash, data)]).remove(0);
        assert!(matches!(stored, Ok(()) | Err(PutError::Failed(_))), "{stored:?}");
        stored.is_ok()
    }

    /// Stores a fragment on a disk that fails: a write, or a sync. Says whether it is stored.
    ///
    /// # Panics
    /// If the store says so and does not have it, or has it and does not say so.
    pub fn put_on_failing_disk(&self, hash: Hash, data: Bytes, rng: &mut Rng) -> bool {
        let fragments = self.store.fragments();
        let was_here = fragments.contains(&hash);
        let fault = if rng.chance(1, 2) { Fault::NoSpace } else { Fault::Io };
        self.fail_after(1 + rng.below(3) as u64, fault);
        let stored = fragments.put_batch(vec![(hash, data)]).remove(0);
        self.machine.with(|machine| machine.fault_at = None);
        if let Err(error) = &stored {
            let is_of_the_disk =
                matches!(error, PutError::NoSpace { .. } | PutError::Io { .. } | PutError::Failed(_));
            assert!(is_of_the_disk, "{error}");
        }
        assert_eq!(fragments.contains(&hash), was_here || stored.is_ok(), "{hash:?} after {stored:?}");
        stored.is_ok()
    }

    fn fail_after(&self, calls: u64, fault: Fault) {
        self.machine.with(|machine| machine.fault_at = Some((machine.calls + calls, fault)));
    }

    /// Deletes fragments, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn delete(&self, fragments: &[Hash]) {
        self.store.fragments().delete_batch(fragments).expect("the disk works");
    }

    /// Deletes fragments on a disk that is too full for that. Says whether they are deleted: where there was nothing to delete they are.
    ///
    /// # Panics
    /// If the store says so and they are still here, or the other way round.
    pub fn delete_on_failing_disk(&self, fragments: &[Hash]) -> bool {
        let was_here: Vec<bool> =
            fragments.iter().map(|hash| self.store.fragments().contains(hash)).collect();
        self.fail_after(1, Fault::NoSpace);
        let deleted = self.store.fragments().delete_batch(fragments);
        self.machine.with(|machine| machine.fault_at = None);
        for (hash, was_here) in fragments.iter().zip(was_here) {
            let is_here = self.store.fragments().contains(hash);
            assert_eq!(is_here, was_here && deleted.is_err(), "{hash:?} after {deleted:?}");
        }
        deleted.is_ok()
    }

    /// Bits of a fragment flip.
    ///
    /// # Panics
    /// If the store does not find that when it reads.
    pub fn rot(&self, hash: &Hash, data: &[u8]) {
        self.machine.rot(data);
        assert!(self.store.fragments().read(hash).is_err(), "{hash:?} is handed out as if it were good");
    }

    /// Fragments that were found to be bad are set aside. A store that writes no more cannot, and serves them as little.
    ///
    /// # Panics
    /// If they are still here.
    pub fn set_aside(&self, fragments: &[Hash]) {
        drop(self.store.fragments().quarantine(fragments));
        let is_here = |hash: &Hash| self.store.fragments().contains(hash);
        assert!(!fragments.iter().any(is_here), "set aside, and still here");
    }

    /// Writes changes of the view.
    pub fn write(&self, changes: &[Change], revision: Revision) {
        // A store that writes no more says so again at the next flush, and then the process ends.
        drop(self.store.view().apply(changes, revision));
    }

    /// Makes the view durable, or fails to.
    ///
    /// # Errors
    /// If the store writes no more.
    pub fn flush(&self, is_to_fail: bool) -> Result<(), Blown> {
        if is_to_fail {
            self.fail_after(1, Fault::Io);
        }
        let flushed = self.store.flush();
        self.machine.with(|machine| machine.fault_at = None);
        flushed.map_err(|_| Blown)
    }

    /// The power fails, somewhere in the middle of these writes if there are any. Of what was not synced, anything is left.
    pub fn fall(&mut self, under_way: impl IntoIterator<Item = (Hash, Bytes)>, rng: &mut Rng) {
        self.fail_after(1 + rng.below(8) as u64, Fault::Crash);
        drop(self.store.fragments().put_batch(under_way.into_iter().collect()));
        if rng.chance(1, 2) {
            drop(self.store.flush());
        }
        self.machine = self.machine.after_crash(&mut Random(rng.next() | 1), true);
        if rng.chance(1, 4) {
            // The index is only a shortcut to what stands in the segments.
            let cleared = self.machine.clear(Space::Index).and_then(|()| self.machine.flush());
            cleared.expect("the disk works");
        }
        self.store = open(&self.machine, self.id);
    }

    /// The process ends and starts again, and the machine goes on.
    pub fn restart(&mut self) {
        self.machine = self.machine.after_kill();
        self.store = open(&self.machine, self.id);
    }

    /// The view that it has.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn view(&self) -> View {
        self.store.view().load().expect("a view on whatever a crash left")
    }

    /// Everything that it lists and can read.
    ///
    /// # Panics
    /// If it cannot be listed.
    #[must_use]
    pub fn content(&self) -> BTreeMap<Hash, Bytes> {
        let fragments = self.store.fragments();
        let listed = fragments.inventory().map(|entry| entry.expect("the index works").0);
        let listed: Vec<Hash> = listed.collect();
        listed.into_iter().filter_map(|hash| Some((hash, fragments.read(&hash).ok()?))).collect()
    }
}

fn open(machine: &Simulated, id: Uuid) -> Store {
    let (disk, engine) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    Store::open_on(disk, engine, id, OPTIONS).expect("a store opens on whatever a crash left")
}
