//! What was told, newest last: at most one entry for each file and each server, and a bounded number of them.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use protocol::{ClientId, Hash};

use crate::names::{file_name, server_name};
use crate::proto::{self, WatchKind};

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    File(Hash),
    Server(ClientId),
}

/// What is true of it now.
#[derive(Debug, Clone)]
pub enum State {
    File(proto::File),
    FileRemoved,
    Server(proto::Server),
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    state: State,
    /// The entry with which it appeared, or came to be in this state.
    since: u64,
    noticed: SystemTime,
}

/// A message, and the number behind which to go on after it.
pub type Numbered = (u64, proto::WatchResponse);

/// The log. An entry that is told anew moves to the end, so what a watcher still has to hear is behind its place, once.
#[derive(Debug)]
pub struct Log {
    /// The number of the newest entry.
    last: u64,
    /// The highest number that was dropped for want of room: who has not heard it has missed something.
    dropped: u64,
    entries: BTreeMap<u64, Entry>,
    places: HashMap<Subject, u64>,
    room: usize,
}

impl Log {
    pub fn new(room: usize) -> Self {
        Self { last: 0, dropped: 0, entries: BTreeMap::new(), places: HashMap::new(), room }
    }

    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Tells something. `is_new` if it has just appeared, or come to be in this state.
    pub fn tell(&mut self, subject: Subject, state: State, is_new: bool) {
        self.last += 1;
        let before = self.places.insert(subject.clone(), self.last);
        let before = before.and_then(|place| self.entries.remove(&place));
        // Of what was dropped from the log it is not known any more since when it is so: for long.
        let since = if is_new { self.last } else { before.map_or(0, |before| before.since) };
        let entry = Entry { subject, state, since, noticed: SystemTime::now() };
        self.entries.insert(self.last, entry);
        while self.entries.len() > self.room {
            let Some((number, oldest)) = self.entries.pop_first() else { break };
            self.places.remove(&oldest.subject);
            self.dropped = number;
        }
    }

    /// At most `limit` messages of what was told behind `place`; none if something of it was dropped, or `place` is not of this log.
    pub fn behind(&self, place: u64, limit: usize) -> Option<Vec<Numbered>> {
        if place < self.dropped || place > self.last {
            return None;
        }
        let entries = self.entries.range(place + 1..).take(limit);
        Some(entries.map(|(number, entry)| (*number, entry.message(place))).collect())
    }
}

impl Entry {
    /// For somebody who has heard everything up to `place`.
    fn message(&self, place: u64) -> proto::WatchResponse {
        let is_new = self.since > place;
        let (kind, file, server) = match &self.state {
            State::File(file) if is_new => (WatchKind::FilePublished, Some(file), None),
            State::File(file) => (WatchKind::FileChanged, Some(file), None),
            State::FileRemoved => (WatchKind::FileRemoved, None, None),
            State::Server(server) => (server_kind(server, is_new), None, Some(server)),
        };
        let name = match &self.subject {
            Subject::File(file) => file_name(file),
            Subject::Server(server) => server_name(server),
        };
        proto::WatchResponse {
            kind: kind.into(),
            cursor: String::new(),
            name,
            file: file.cloned(),
            server: server.cloned(),
            notice_time: Some(self.noticed.into()),
        }
    }
}

fn server_kind(server: &proto::Server, is_new: bool) -> WatchKind {
    match server.state() {
        proto::ServerState::Registered if is_new => WatchKind::ServerRegistered,
        proto::ServerState::Suspect if is_new => WatchKind::ServerSuspect,
        proto::ServerState::Unregistered if is_new => WatchKind::ServerUnregistered,
        proto::ServerState::Registered
        | proto::ServerState::Suspect
        | proto::ServerState::Unregistered
        | proto::ServerState::Unspecified => WatchKind::ServerChanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u8) -> Subject {
        Subject::File(Hash::of(&[number]))
    }

    fn tell(log: &mut Log, number: u8, is_new: bool) {
        log.tell(file(number), State::File(proto::File::default()), is_new);
    }

    fn kinds(log: &Log, place: u64) -> Option<Vec<WatchKind>> {
        Some(log.behind(place, 100)?.iter().map(|(_, message)| message.kind()).collect())
    }

    #[test]
    fn changes_that_were_not_heard_yet_come_as_one() {
        let mut log = Log::new(10);
        tell(&mut log, 1, true);
        tell(&mut log, 1, false);
        tell(&mut log, 2, true);
        tell(&mut log, 1, false);
        assert_eq!(kinds(&log, 0), Some(vec![WatchKind::FilePublished, WatchKind::FilePublished]));
        assert_eq!(kinds(&log, 3), Some(vec![WatchKind::FileChanged]), "the second file was heard of");
        assert_eq!(kinds(&log, 4), Some(vec![]));
        log.tell(file(1), State::FileRemoved, true);
        assert_eq!(kinds(&log, 4), Some(vec![WatchKind::FileRemoved]));
    }

    #[test]
    fn who_misses_something_is_told_so() {
        let mut log = Log::new(3);
        (0..5).for_each(|number| tell(&mut log, number, true));
        assert_eq!(kinds(&log, 1), None);
        assert_eq!(kinds(&log, 2).map(|kinds| kinds.len()), Some(3));
        assert_eq!(kinds(&log, 6), None, "a place of another log");
        assert_eq!(log.behind(2, 2).map(|messages| messages.len()), Some(2));
        // Whatever changes over and over again takes no more room.
        (0..100).for_each(|_| tell(&mut log, 4, false));
        assert_eq!(log.entries.len(), 3);
        assert_eq!(kinds(&log, 2).map(|kinds| kinds.len()), Some(3));
    }
}
