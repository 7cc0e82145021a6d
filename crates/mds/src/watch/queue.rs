//! What has settled and is to be put, in this order. A file that does not go well now waits behind the others, and does not hold them up.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::Hash;
use tokio::time::Instant;

use super::settling::Stamp;
use crate::put::pause;

/// Longest pause before a tracker that is away is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause before a file is tried again that the tracker did not take.
const LONGEST_PAUSE_OF_A_FILE: Duration = Duration::from_secs(300);

/// A file that has settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Where it is.
    pub path: PathBuf,
    /// How it was then.
    pub stamp: Stamp,
    /// Its digest, once it was computed: it is not read again for each attempt.
    pub digest: Option<Hash>,
    /// How often it was not taken, and when it is tried again.
    attempts: u32,
    not_before: Option<Instant>,
}

/// The files that are to be put.
#[derive(Debug)]
pub struct Queue {
    files: VecDeque<Settled>,
    /// All that wait, and what is being put.
    paths: BTreeSet<PathBuf>,
    /// How often in a row the tracker was not there, and when it is asked again.
    attempts: u32,
    not_before: Instant,
}

impl Queue {
    /// Nothing has settled yet.
    pub const fn new(now: Instant) -> Self {
        Self { files: VecDeque::new(), paths: BTreeSet::new(), attempts: 0, not_before: now }
    }

    /// The file has settled. What waits already stays as it is.
    pub fn push(&mut self, path: PathBuf, stamp: Stamp) {
        if self.paths.insert(path.clone()) {
            self.files.push_back(Settled { path, stamp, digest: None, attempts: 0, not_before: None });
        }
    }

    /// The next file that is to be tried now. It counts as waiting until [`done`](Self::done).
    pub fn next(&mut self, now: Instant) -> Option<Settled> {
        let is_due = |settled: &Settled| settled.not_before.is_none_or(|not_before| not_before <= now);
        let at = self.files.iter().position(is_due).filter(|_| self.not_before <= now)?;
        self.files.remove(at)
    }

    /// When the next file is to be tried; none if there is none.
    pub fn due(&self) -> Option<Instant> {
        let due = self.files.iter().map(|settled| settled.not_before.unwrap_or(self.not_before)).min();
        due.map(|due| due.max(self.not_before))
    }

    /// The tracker was not there: all wait. Gives for how long.
    pub fn wait_for_all(&mut self, settled: Settled, now: Instant) -> Duration {
        let pause = pause(self.attempts, LONGEST_PAUSE);
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = now + pause;
        self.files.push_back(settled);
        pause
    }

    /// The tracker was there and did not take this file: it waits, the others do not. Gives for how long.
    pub fn wait_alone(&mut self, mut settled: Settled, now: Instant) -> Duration {
        self.attempts = 0;
        let pause = pause(settled.attempts, LONGEST_PAUSE_OF_A_FILE);
        settled.attempts = settled.attempts.saturating_add(1);
        settled.not_before = Some(now + pause);
        self.files.push_back(settled);
        pause
    }

    /// The file was put, or is left out.
    pub fn done(&mut self, path: &Path) {
        self.attempts = 0;
        self.paths.remove(path);
    }

    /// Whether the file waits or is being put.
    pub fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// How many files wait or are being put.
    pub fn len(&self) -> usize {
        self.paths.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { size_bytes: 1, modified_ns: 1 };
    const LONG: Duration = Duration::from_secs(3600);

    fn queue(names: &[&str], now: Instant) -> Queue {
        let mut queue = Queue::new(now);
        names.iter().for_each(|name| queue.push(name.into(), STAMP));
        queue
    }

    #[test]
    fn a_file_that_is_not_taken_holds_up_no_other() {
        let now = Instant::now();
        let mut queue = queue(&["large", "small"], now);
        let large = queue.next(now).unwrap();
        let first = queue.wait_alone(large, now);
        let small = queue.next(now).unwrap();
        assert_eq!(small.path, Path::new("small"));
        queue.done(&small.path);
        assert_eq!((queue.next(now), queue.len(), queue.due()), (None, 1, Some(now + first)));
        let large = queue.next(now + first).unwrap();
        let second = queue.wait_alone(large, now + first);
        assert!(second > first && queue.contains(Path::new("large")));
        assert_eq!(queue.next(now + first), None);
    }

    #[test]
    fn while_the_tracker_is_away_all_wait_in_turn() {
        let now = Instant::now();
        let mut queue = queue(&["a", "b"], now);
        let a = queue.next(now).unwrap();
        let pause = queue.wait_for_all(a, now);
        assert_eq!((queue.next(now), queue.due()), (None, Some(now + pause)));
        let b = queue.next(now + pause).unwrap();
        assert_eq!(b.path, Path::new("b"));
        queue.done(&b.path);
        assert_eq!(queue.next(now + pause).unwrap().path, Path::new("a"));
    }

    #[test]
    fn what_settles_again_while_it_waits_is_put_once() {
        let now = Instant::now();
        let mut queue = queue(&["a", "a"], now);
        let a = queue.next(now).unwrap();
        queue.push("a".into(), STAMP);
        assert_eq!(queue.next(now + LONG), None);
        queue.done(&a.path);
        assert!(queue.is_empty());
    }
}
