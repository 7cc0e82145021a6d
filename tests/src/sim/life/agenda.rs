//! What will happen, and when.

use std::collections::BTreeMap;

use distribution::Moment;
use protocol::ClientId;

/// Something that comes right again, or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Something goes wrong, or a user does something.
    Next,
    /// The process is started.
    Start(ClientId),
    /// The process connects.
    Connect(ClientId),
    /// The process goes on.
    Resume(ClientId),
    /// The broker gives up the connection.
    GiveUp(ClientId),
    /// The process finds that its connection is gone.
    Notice(ClientId),
    /// What was held up gets through.
    LetThrough(ClientId),
    /// The disk takes writes again.
    MakeRoom(ClientId),
    /// The disk gives back what it has again.
    MakeReadable(ClientId),
    /// The tracker that should not be is ended for good.
    EndRogue,
}

/// Acts in the order of their time, and of their making.
#[derive(Debug, Default)]
pub struct Agenda {
    acts: BTreeMap<(Moment, u64), Act>,
    made: u64,
}

impl Agenda {
    /// Something will happen.
    pub fn push(&mut self, at: Moment, act: Act) {
        self.made += 1;
        self.acts.insert((at, self.made), act);
    }

    /// What happens next, up to `end`.
    pub fn pop(&mut self, end: Moment) -> Option<(Moment, Act)> {
        let entry = self.acts.first_entry().filter(|entry| entry.key().0 <= end)?;
        let ((at, _), act) = entry.remove_entry();
        Some((at, act))
    }

    /// Whether nothing will happen.
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    /// Nothing happens any more.
    pub fn clear(&mut self) {
        self.acts.clear();
    }
}
