//! Fragments that the disk did not delete: it was too full even for that, or refused.
//!
//! They are tried again, all together, because it is the disk that is ill and not a fragment. By then some may be needed again, so whoever
//! takes them out looks first.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::Hash;

use crate::ids::Draw;
use crate::rules::Rule;
use crate::time::Moment;

/// What could not be deleted, and when that is tried again.
#[derive(Debug, Default)]
pub struct Undeleted {
    fragments: BTreeSet<Hash>,
    due: Option<Moment>,
    /// How often it has failed in a row.
    failures: u32,
    /// A failure after this is the first of another row.
    row_ends: Option<Moment>,
}

impl Undeleted {
    /// Whether the fragment is to be deleted, as far as is known here.
    pub fn contains(&self, fragment: &Hash) -> bool {
        self.fragments.contains(fragment)
    }

    /// When the next try is due.
    pub const fn next_due(&self) -> Option<Moment> {
        self.due
    }

    /// These could not be deleted. `delays` are the first wait and the longest.
    pub fn add(
        &mut self,
        fragments: impl IntoIterator<Item = Hash>,
        now: Moment,
        delays: (Duration, Duration),
        draw: &mut Draw,
    ) {
        let before = self.fragments.len();
        if Rule::UndeletedIsTriedAgain.is_kept() {
            self.fragments.extend(fragments);
        }
        if self.fragments.len() == before || self.due.is_some() {
            return;
        }
        if self.row_ends.is_some_and(|at| at <= now) {
            self.failures = 0;
        }
        let wait = draw.backoff(delays, self.failures);
        self.failures += 1;
        (self.due, self.row_ends) = (Some(now + wait), Some(now + wait + delays.1));
    }

    /// They are gone, in another way.
    pub fn forget(&mut self, fragment: &Hash) {
        self.fragments.remove(fragment);
        if self.fragments.is_empty() {
            self.due = None;
        }
    }

    /// All of them, if the next try is due.
    pub fn take_due(&mut self, now: Moment) -> BTreeSet<Hash> {
        if self.due.is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        self.due = None;
        std::mem::take(&mut self.fragments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_and_a_quiet_time_ends_the_row() {
        let (mut undeleted, mut draw) = (Undeleted::default(), Draw::new([7; 16]));
        let mut now = at(0);
        let mut fail = |now: Moment| {
            undeleted.add([Hash::of(b"a"), Hash::of(b"b")], now, DELAYS, &mut draw);
            let due = undeleted.next_due().unwrap();
            assert!(undeleted.take_due(now).is_empty(), "it waits");
            assert_eq!(undeleted.take_due(due).len(), 2);
            assert_eq!(undeleted.next_due(), None);
            due
        };
        for longest in [1, 2, 4, 8, 8] {
            let due = fail(now);
            let wait = due.since(now);
            assert!(wait <= Duration::from_secs(longest) && wait * 4 >= Duration::from_secs(longest) * 3);
            now = due;
        }
        let later = now + DELAYS.1;
        assert!(fail(later).since(later) <= DELAYS.0);
    }

    #[test]
    fn what_is_gone_is_waited_for_no_more() {
        let (mut undeleted, mut draw) = (Undeleted::default(), Draw::new([7; 16]));
        undeleted.add([Hash::of(b"a")], at(0), DELAYS, &mut draw);
        assert!(undeleted.contains(&Hash::of(b"a")));
        undeleted.forget(&Hash::of(b"a"));
        assert_eq!(undeleted.next_due(), None);
        assert!(undeleted.take_due(at(100)).is_empty());
    }
}
