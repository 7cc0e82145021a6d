//! Fragments that are left alone until their time has come: to be tried again, with what was tried before.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Hash;

use crate::time::Moment;

/// Fragments by name and by the time at which they are due.
#[derive(Debug)]
pub struct Waiting<T> {
    fragments: BTreeMap<Hash, (Moment, T)>,
    alarms: BTreeSet<(Moment, Hash)>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { fragments: BTreeMap::new(), alarms: BTreeSet::new() }
    }
}

impl<T> Waiting<T> {
    pub fn len(&self) -> usize {
        self.fragments.len()
    }

    pub fn contains(&self, fragment: &Hash) -> bool {
        self.fragments.contains_key(fragment)
    }

    /// When the first is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// `tried` comes back with the fragment.
    pub fn insert(&mut self, fragment: Hash, until: Moment, tried: T) {
        self.remove(&fragment);
        self.alarms.insert((until, fragment));
        self.fragments.insert(fragment, (until, tried));
    }

    pub fn remove(&mut self, fragment: &Hash) {
        if let Some((until, _)) = self.fragments.remove(fragment) {
            self.alarms.remove(&(until, *fragment));
        }
    }

    /// The first that is due.
    pub fn take_due(&mut self, now: Moment) -> Option<(Hash, T)> {
        let (_, fragment) = *self.alarms.first().filter(|(at, _)| *at <= now)?;
        self.alarms.pop_first();
        self.fragments.remove(&fragment).map(|(_, tried)| (fragment, tried))
    }

    /// All of them, due or not.
    pub fn take_all(&mut self) -> impl Iterator<Item = (Hash, T)> + use<T> {
        self.alarms.clear();
        std::mem::take(&mut self.fragments).into_iter().map(|(fragment, (_, tried))| (fragment, tried))
    }
}
