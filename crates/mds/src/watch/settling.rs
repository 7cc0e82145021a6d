//! Which files have settled: their size and time have stood still for long enough.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// What changes when somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Size in bytes.
    pub size_bytes: u64,
    /// When it was last written, in nanoseconds after 1970.
    pub modified_ns: u64,
}

impl Stamp {
    /// What the system says of the file now; none if it is gone, or is no file.
    pub fn of_path(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_file).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let modified_ns = modified.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or_default();
        Self { size_bytes: metadata.len(), modified_ns }
    }
}

/// Files that were written to a short while ago.
#[derive(Debug)]
pub struct Settling {
    /// How long a file must stand still.
    calm: Duration,
    /// By path: how it was found, and since when it has been like that.
    waiting: BTreeMap<PathBuf, (Stamp, Instant)>,
}

impl Settling {
    /// Nobody has written to anything yet.
    pub const fn new(calm: Duration) -> Self {
        Self { calm, waiting: BTreeMap::new() }
    }

    /// The file is like this now.
    pub fn notice(&mut self, path: &Path, stamp: Stamp, now: Instant) {
        match self.waiting.get_mut(path) {
            Some((known, _)) if *known == stamp => {}
            Some(other) => *other = (stamp, now),
            None => {
                self.waiting.insert(path.to_owned(), (stamp, now));
            }
        }
    }

    /// Looks at all that wait; gives those that have settled, and forgets them and those that are gone.
    pub fn look(&mut self, now: Instant, look_at: impl Fn(&Path) -> Option<Stamp>) -> Vec<(PathBuf, Stamp)> {
        let mut settled = Vec::new();
        self.waiting.retain(|path, (stamp, since)| {
            let Some(found) = look_at(path) else { return false };
            if found != *stamp {
                (*stamp, *since) = (found, now);
                return true;
            }
            let has_settled = now.saturating_duration_since(*since) >= self.calm;
            if has_settled {
                settled.push((path.clone(), found));
            }
            !has_settled
        });
        settled
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_secs(2);

    fn stamp(size_bytes: u64) -> Stamp {
        Stamp { size_bytes, modified_ns: 1 }
    }

    #[test]
    fn a_file_settles_when_it_has_stood_still() {
        let (mut settling, begin) = (Settling::new(CALM), Instant::now());
        let file = Path::new("a");
        settling.notice(file, stamp(1), begin);
        settling.notice(file, stamp(1), begin + CALM / 2);
        assert_eq!(settling.look(begin + CALM / 2, |_| Some(stamp(1))), []);
        assert_eq!(settling.look(begin + CALM, |_| Some(stamp(1))), [(file.to_owned(), stamp(1))]);
        assert!(settling.is_empty());
    }

    #[test]
    fn each_write_begins_the_wait_anew() {
        let (mut settling, begin) = (Settling::new(CALM), Instant::now());
        let file = Path::new("a");
        settling.notice(file, stamp(1), begin);
        settling.notice(file, stamp(2), begin + CALM);
        // Nobody told of this one; looking shows it.
        assert_eq!(settling.look(begin + CALM * 2, |_| Some(stamp(3))), []);
        assert_eq!(settling.look(begin + CALM * 3, |_| Some(stamp(3))), [(file.to_owned(), stamp(3))]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let (mut settling, begin) = (Settling::new(CALM), Instant::now());
        settling.notice(Path::new("a"), stamp(1), begin);
        assert_eq!(settling.look(begin + CALM, |_| None), []);
        assert!(settling.is_empty());
    }
}
