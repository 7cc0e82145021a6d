//! What a daemon keeps: the view and fragments. In some lives the real store, on a simulated disk, has to have the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use distribution::view::{Change, View};
use protocol::{Hash, Revision};

use super::fuse::Blown;
use super::rng::Rng;
use super::store::RealStore;

/// On a disk that takes no more, every so many flushes fail.
const FLUSHES: u64 = 8;

/// On such a disk, of so many deletions one goes through.
const DELETIONS: u64 = 2;

/// The view and the fragments of one daemon.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    /// The view as it was persisted.
    pub view: View,
    /// The fragments.
    pub fragments: BTreeMap<Hash, Bytes>,
    /// Those whose bytes have gone bad, which nobody has found yet.
    pub rotten: BTreeSet<Hash>,
    /// Whether its disk gives nothing back, for a while.
    pub is_unreadable: bool,
    /// The real store, which has to have the same; without one it is only remembered here.
    pub store: Option<RealStore>,
    /// Changes that are not durable yet, in steps.
    unflushed: Vec<(Vec<Change>, Revision)>,
    /// Fragments that the store could not write, as it said: when it is opened again, some may be there.
    doubtful: BTreeMap<Hash, Bytes>,
    flushes: u64,
    deletions: u64,
}

impl Volume {
    /// An empty one.
    #[must_use]
    pub fn on(store: Option<RealStore>) -> Self {
        Self { store, ..Self::default() }
    }

    /// Whether the bytes of a fragment are there and good.
    #[must_use]
    pub fn has_good(&self, fragment: &Hash) -> bool {
        self.fragments.contains_key(fragment) && !self.rotten.contains(fragment)
    }

    /// The fragments whose bytes may go bad. On a disk with a real store they are looked for by their content, so it must be unmistakable.
    pub fn that_may_rot(&self) -> impl Iterator<Item = Hash> {
        let is_unmistakable = |data: &Bytes| data.len() > 64 && data.iter().any(|byte| *byte != data[0]);
        let is_found = move |data: &Bytes| self.store.is_none() || is_unmistakable(data);
        self.fragments.iter().filter(move |(_, data)| is_found(data)).map(|(hash, _)| *hash)
    }

    /// The bytes of a fragment go bad.
    pub fn rot(&mut self, fragment: Hash) {
        if let (Some(store), Some(data)) = (&self.store, self.fragments.get(&fragment))
            && !self.rotten.contains(&fragment)
        {
            store.rot(&fragment, data);
        }
        self.rotten.insert(fragment);
    }

    /// Stores a fragment. Says whether it is stored: it is not where an earlier fault has spoilt the real store.
    pub fn put(&mut self, fragment: Hash, data: Bytes) -> bool {
        let is_stored = self.store.as_ref().is_none_or(|store| store.put(fragment, data.clone()));
        self.note(fragment, data, is_stored)
    }

    /// Stores a fragment on a disk that fails: the real store may have it all the same, or be spoilt. Says whether it is stored.
    pub fn put_on_failing_disk(&mut self, fragment: Hash, data: Bytes, rng: &mut Rng) -> bool {
        let store = self.store.as_ref();
        let is_stored = store.is_some_and(|store| store.put_on_failing_disk(fragment, data.clone(), rng));
        self.note(fragment, data, is_stored)
    }

    fn note(&mut self, fragment: Hash, data: Bytes, is_stored: bool) -> bool {
        let place = if is_stored {
            // Bytes that are here already and have gone bad are written anew.
            self.rotten.remove(&fragment);
            &mut self.fragments
        } else {
            &mut self.doubtful
        };
        place.insert(fragment, data);
        is_stored
    }

    /// Deletes fragments, on a disk that may be failing. Answers those that are gone, and those that are still here; on a good disk that is
    /// none: a process whose store is spoilt has ended before.
    pub fn delete(&mut self, fragments: &[Hash], is_failing: bool) -> (Vec<Hash>, Vec<Hash>) {
        self.deletions += 1;
        let is_to_fail = is_failing && !self.deletions.is_multiple_of(DELETIONS);
        let is_deleted = match &self.store {
            Some(store) if is_to_fail => store.delete_on_failing_disk(fragments),
            Some(store) => {
                store.delete(fragments);
                true
            }
            None => !is_to_fail,
        };
        if is_deleted {
            self.forget(fragments);
        }
        fragments.iter().copied().partition(|fragment| is_deleted || !self.fragments.contains_key(fragment))
    }

    /// Fragments that were found to be bad are set aside.
    pub fn set_aside(&mut self, fragments: &[Hash]) {
        if let Some(store) = &self.store {
            store.set_aside(fragments);
        }
        self.forget(fragments);
    }

    fn forget(&mut self, fragments: &[Hash]) {
        for fragment in fragments {
            self.fragments.remove(fragment);
            self.rotten.remove(fragment);
            self.doubtful.remove(fragment);
        }
    }

    /// Writes changes that are durable with the next flush.
    pub fn write(&mut self, changes: Vec<Change>, revision: Revision) {
        if let Some(store) = &self.store {
            store.write(&changes, revision);
        }
        self.unflushed.push((changes, revision));
    }

    /// The view's revision after everything written.
    #[must_use]
    pub fn written_revision(&self) -> Revision {
        self.unflushed.last().map_or(self.view.revision(), |(_, revision)| *revision)
    }

    /// Whether something waits for a flush.
    #[must_use]
    pub const fn is_unflushed(&self) -> bool {
        !self.unflushed.is_empty()
    }

    /// Makes everything written durable, on a disk that may be failing.
    ///
    /// # Errors
    /// If the real store cannot: then the process ends.
    pub fn flush(&mut self, is_failing: bool) -> Result<(), Blown> {
        self.flushes += 1;
        if let Some(store) = &self.store {
            store.flush(is_failing && self.flushes.is_multiple_of(FLUSHES))?;
        }
        for (changes, revision) in std::mem::take(&mut self.unflushed) {
            apply(&mut self.view, &changes, revision);
        }
        Ok(())
    }

    /// The process ends, and nothing has reached the disk that was not known to have.
    pub fn crash(&mut self) {
        self.unflushed.clear();
    }

    /// The process starts again on what it left.
    ///
    /// # Panics
    /// If the real store does not have what was kept.
    pub fn restart(&mut self) {
        let Some(store) = &mut self.store else { return };
        store.restart();
        assert_same(&store.view(), &self.view);
        self.take_over(BTreeMap::new());
    }

    /// The power fails: of the changes that were not known to be on the disk, the first may be, and of the fragments that were being
    /// written, any.
    ///
    /// # Panics
    /// If the real store has less, or something else.
    pub fn fall(&mut self, mut under_way: BTreeMap<Hash, Bytes>, rng: &mut Rng) {
        let mut steps = std::mem::take(&mut self.unflushed);
        if let Some(store) = &mut self.store {
            store.fall(under_way.clone(), rng);
            let found = store.view();
            let mut steps = steps.into_iter();
            while self.view != found || self.view.revision() != found.revision() {
                let (changes, revision) = steps.next().expect("the store has a view that there never was");
                apply(&mut self.view, &changes, revision);
            }
            self.take_over(under_way);
        } else {
            steps.truncate(rng.below(steps.len() + 1));
            steps.iter().for_each(|(changes, revision)| apply(&mut self.view, changes, *revision));
            under_way.retain(|_, _| rng.chance(1, 3));
            self.fragments.extend(under_way);
        }
    }

    /// The real store was opened again: it must have all that it was known to have, and may have some of what it was being told.
    fn take_over(&mut self, mut perhaps: BTreeMap<Hash, Bytes>) {
        perhaps.append(&mut self.doubtful);
        let Some(store) = &self.store else { return };
        let found = store.content();
        for fragment in self.fragments.keys() {
            let is_there = found.contains_key(fragment);
            assert_ne!(is_there, self.rotten.contains(fragment), "{fragment:?} was stored, or was bad");
        }
        for (fragment, data) in &found {
            let known = self.fragments.get(fragment).or_else(|| perhaps.get(fragment));
            assert_eq!(known, Some(data), "{fragment:?} was deleted, or never stored");
        }
        // What went bad may be listed or not. It is found at the first reading of all, here or there.
        self.fragments.extend(found);
    }
}

fn apply(view: &mut View, changes: &[Change], revision: Revision) {
    for change in changes {
        let applied = view.apply(change);
        assert!(applied.is_ok(), "{change:?} cannot be replayed: {applied:?}");
    }
    view.set_revision(revision);
}

fn assert_same(found: &View, kept: &View) {
    assert_eq!(found.revision(), kept.revision(), "the store has another revision of the view");
    assert!(found == kept, "the store has another view: {found:#?}, {kept:#?}");
}
