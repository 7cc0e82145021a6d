//! One fragment on its way: who was asked, who asked for it, who got it, who has it.

use std::collections::BTreeSet;

use protocol::ClientId;

use super::Tries;
use crate::limits::TrackerLimits;
use crate::time::Moment;

/// How far the fragment has come.
#[derive(Debug)]
pub enum Phase {
    /// *Started* was said.
    Offered {
        /// Who asked for it.
        requested: BTreeSet<ClientId>,
        /// When the first of them did.
        since: Option<Moment>,
    },
    /// *Delivered* was said.
    Delivered {
        /// To whom.
        receivers: BTreeSet<ClientId>,
        /// Who has it.
        obtained: BTreeSet<ClientId>,
        /// Who could not store it.
        failed: BTreeSet<ClientId>,
        since: Moment,
    },
}

/// A fragment in flight.
#[derive(Debug)]
pub struct InFlight {
    pub size_bytes: u64,
    /// What was tried before.
    pub tries: Tries,
    pub started: Moment,
    /// Who should hold it, best first.
    pub ranked: Vec<ClientId>,
    /// How many holders it lacked when it was started.
    pub missing: usize,
    pub phase: Phase,
}

impl InFlight {
    pub fn deadline(&self, limits: &TrackerLimits) -> Moment {
        match &self.phase {
            Phase::Offered { since: None, .. } => self.started + limits.distribution_timeout,
            Phase::Offered { since: Some(since), .. } => *since + limits.request_window,
            Phase::Delivered { since, .. } => *since + limits.distribution_timeout,
        }
    }

    /// Whether everybody who is asked first has asked.
    pub fn preferred_have_asked(&self) -> bool {
        match &self.phase {
            Phase::Offered { requested, .. } => {
                self.ranked.iter().take(self.missing).all(|client| requested.contains(client))
            }
            Phase::Delivered { .. } => false,
        }
    }

    pub fn all_answered(&self) -> bool {
        match &self.phase {
            Phase::Offered { .. } => false,
            Phase::Delivered { receivers, obtained, failed, .. } => {
                receivers.iter().all(|client| obtained.contains(client) || failed.contains(client))
            }
        }
    }

    pub fn is_delivered(&self) -> bool {
        matches!(self.phase, Phase::Delivered { .. })
    }

    /// Who was asked to store it and did not.
    pub fn did_not_obtain(&self) -> Vec<ClientId> {
        match &self.phase {
            Phase::Offered { .. } => Vec::new(),
            Phase::Delivered { receivers, obtained, .. } => receivers.difference(obtained).cloned().collect(),
        }
    }

    pub fn is_receiver(&self, client: &ClientId) -> bool {
        match &self.phase {
            Phase::Offered { .. } => false,
            Phase::Delivered { receivers, .. } => receivers.contains(client),
        }
    }

    /// The torrent is gone, or starts anew with what it lists: nothing is expected of it, and nothing counts that it said.
    pub fn forget(&mut self, client: &ClientId) {
        match &mut self.phase {
            Phase::Offered { requested, since } => {
                requested.remove(client);
                if requested.is_empty() {
                    *since = None;
                }
            }
            Phase::Delivered { receivers, obtained, failed, .. } => {
                receivers.remove(client);
                obtained.remove(client);
                failed.remove(client);
            }
        }
    }
}
