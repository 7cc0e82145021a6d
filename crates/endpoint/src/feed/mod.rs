//! The changes of what a daemon knows, for everybody who watches.
//!
//! The event loop says which parts of the view changed ([`Feed::note`]), which costs it next to nothing. What that means for files and
//! servers is worked out inside a question of a watcher (`Feed::refresh`), once for all watchers and not too often: what is true then
//! is compared with what was told before. So nothing can be missed, changes that follow each other quickly come as one, and memory is
//! bounded: a watcher is a place in one common log, and one that falls behind the log's end begins anew.

mod knowledge;
mod log;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use distribution::view::Change;
use protocol::Hash;
use tokio::sync::watch;

use crate::catalog::Catalog;
use knowledge::Knowledge;
use log::{Log, Numbered};

/// Most files and servers of which the last change is kept, for watchers that are behind or come back: some MiB.
const LOG_ROOM: usize = 8192;
/// How often it is looked whether something changed that nobody notes: a torrent that is suspect.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// The changes of what one daemon knows. Clones share them.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Names this run of the daemon in cursors.
    run: u64,
    signal: watch::Sender<Signal>,
    /// Only the event loop's thread takes this lock.
    knowledge: Mutex<Knowledge>,
    log: Mutex<Log>,
}

/// What watchers wait for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signal {
    /// How often changes were noted.
    noted: u64,
    /// The daemon ends.
    pub is_ended: bool,
}

/// A place in the log of one run of one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    run: u64,
    place: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.place)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, place) = text.split_once('-').ok_or(())?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if run.len() != 16 || !is_number(run) || !is_number(place) {
            return Err(());
        }
        let run = u64::from_str_radix(run, 16).map_err(|_| ())?;
        Ok(Self { run, place: place.parse().map_err(|_| ())? })
    }
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            run: fastrand::u64(..),
            signal: watch::Sender::default(),
            knowledge: Mutex::default(),
            log: Mutex::new(Log::new(LOG_ROOM)),
        }))
    }

    /// Says that the view has changed by these steps. For the event loop, after they are done.
    pub fn note(&self, changes: &[Change]) {
        lock(&self.0.knowledge).note(changes);
        self.0.signal.send_modify(|signal| signal.noted += 1);
    }

    /// Says that this daemon has got or lost copies of these fragments on its own disk, of which the view knows nothing. For the event loop.
    pub fn note_stored(&self, fragments: &[Hash]) {
        lock(&self.0.knowledge).note_stored(fragments);
        self.0.signal.send_modify(|signal| signal.noted += 1);
    }

    /// Ends all watching: the daemon shuts down.
    pub fn end(&self) {
        self.0.signal.send_modify(|signal| signal.is_ended = true);
    }

    pub(crate) fn signal(&self) -> watch::Receiver<Signal> {
        self.0.signal.subscribe()
    }

    /// Compares what is true with what was told, and tells the difference. If it is too early for that: how long to wait.
    pub(crate) fn refresh(&self, catalog: &dyn Catalog) -> Option<Duration> {
        lock(&self.0.knowledge).refresh(catalog, |subject, state, is_new| {
            lock(&self.0.log).tell(subject, state, is_new);
        })
    }

    /// The end of the log: what is asked of the catalog after this call is at least as new.
    pub(crate) fn end_of_log(&self) -> Cursor {
        Cursor { run: self.0.run, place: lock(&self.0.log).last() }
    }

    /// At most `limit` messages of what was told behind `cursor`, each with its own cursor; none if they cannot be told any more.
    pub(crate) fn behind(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Option<Vec<(Cursor, crate::proto::WatchResponse)>> {
        if cursor.run != self.0.run {
            return None;
        }
        let messages = lock(&self.0.log).behind(cursor.place, limit)?;
        let numbered = messages.into_iter().map(|(place, mut message): Numbered| {
            let cursor = Cursor { place, ..cursor };
            message.cursor = cursor.to_string();
            (cursor, message)
        });
        Some(numbered.collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is() {
        let cursor = Cursor { run: 7, place: 12 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "-",
            "7-12",
            "0000000000000007-",
            "0000000000000007-+1",
            "+000000000000007-1",
            "0000000000000007-a",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text}");
        }
    }
}
