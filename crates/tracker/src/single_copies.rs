//! How long the tracker's disk holds the only safe copy of what it has accepted: for monitors, nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use distribution::Copies;
use distribution::view::{Change, View};
use protocol::Hash;

/// The accepted fragments that have not enough holders yet.
#[derive(Debug, Default)]
pub struct SingleCopies {
    since: BTreeMap<Hash, Instant>,
    /// The same, oldest first.
    order: BTreeSet<(Instant, Hash)>,
}

impl SingleCopies {
    /// These fragments are accepted, or were before the tracker's start: then their time begins with it.
    pub fn accept(
        &mut self,
        fragments: impl IntoIterator<Item = Hash>,
        view: &View,
        copies: Copies,
        now: Instant,
    ) {
        for fragment in fragments {
            if view.is_in_a_file(&fragment) && lacks_holders(view, copies, &fragment) {
                let since = *self.since.entry(fragment).or_insert(now);
                self.order.insert((since, fragment));
            }
        }
    }

    /// The view, which is `view` by now, was changed so. Gives how long it took for those that have enough holders now.
    pub fn note(&mut self, changes: &[Change], view: &View, copies: Copies, now: Instant) -> Vec<Duration> {
        let mut took = Vec::new();
        for change in changes {
            match change {
                Change::FilePublished { file, .. } => {
                    self.accept(file.distinct_fragments(), view, copies, now)
                }
                Change::FragmentDistributed { hash, .. } => {
                    took.extend(self.look_at(hash, view, copies, now))
                }
                Change::FileRemoved { .. }
                | Change::ClientRegistered { .. }
                | Change::ClientUnregistered { .. } => {
                    let all: Vec<Hash> = self.since.keys().copied().collect();
                    took.extend(all.iter().filter_map(|fragment| self.look_at(fragment, view, copies, now)));
                }
                Change::FragmentSizeSet { .. }
                | Change::FragmentAdded { .. }
                | Change::FragmentRemoved { .. }
                | Change::HolderRemoved { .. }
                | Change::TombstonesForgotten
                | Change::TombstonesAdded { .. }
                | Change::DrainSet { .. } => {}
            }
        }
        took
    }

    fn look_at(&mut self, fragment: &Hash, view: &View, copies: Copies, now: Instant) -> Option<Duration> {
        let since = *self.since.get(fragment)?;
        let is_needed = view.is_in_a_file(fragment);
        if is_needed && lacks_holders(view, copies, fragment) {
            return None;
        }
        self.since.remove(fragment);
        self.order.remove(&(since, *fragment));
        is_needed.then(|| now.duration_since(since))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.since.len()
    }

    /// Since when the oldest of them waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.order.first().map(|(since, _)| *since)
    }
}

fn lacks_holders(view: &View, copies: Copies, fragment: &Hash) -> bool {
    view.holder_count(fragment) < copies.target(view.clients().len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use distribution::view::{FileInfo, Registration};
    use protocol::ClientId;

    use super::*;

    fn registered(id: &str) -> Change {
        let (client, registration) = (id.parse().unwrap(), Registration::default());
        Change::ClientRegistered { client, registration, stored: BTreeSet::new() }
    }

    struct Network {
        view: View,
        single: SingleCopies,
        now: Instant,
    }

    impl Network {
        /// A second later.
        fn change(&mut self, change: Change) -> Vec<Duration> {
            self.now += Duration::from_secs(1);
            self.view.apply(&change).unwrap();
            self.single.note(&[change], &self.view, Copies::default(), self.now)
        }
    }

    #[test]
    fn the_window_ends_with_the_last_copy_wanted_and_not_before() {
        let (view, single) = (View::default(), SingleCopies::default());
        let mut network = Network { view, single, now: Instant::now() };
        network.change(Change::FragmentSizeSet { fragment_size_bytes: 1024 });
        network.change(registered("a"));
        network.change(registered("b"));
        let (one, two) = (Hash::of(b"one"), Hash::of(b"two"));
        let info = |fragment| FileInfo { size_bytes: 3, fragments: [fragment].into(), name: None };
        network.change(Change::FilePublished { hash: one, file: info(one) });
        let accepted = network.now;
        network.change(Change::FilePublished { hash: two, file: info(two) });
        let distributed = |hash, id: &str| {
            let receivers = BTreeSet::from([id.parse::<ClientId>().unwrap()]);
            Change::FragmentDistributed { hash, size_bytes: 3, receivers }
        };
        assert_eq!(network.change(distributed(one, "a")), []);
        assert_eq!((network.single.len(), network.single.oldest()), (2, Some(accepted)));
        assert_eq!(network.change(distributed(one, "b")), [Duration::from_secs(3)]);
        // A file that is deleted is not waited for, and nobody is told how long it took.
        assert_eq!(network.change(Change::FileRemoved { hash: two }), []);
        assert_eq!((network.single.len(), network.single.oldest()), (0, None));
    }
}
