//! Staying registered: heartbeats, and asking again about what is staged.

use protocol::event::{ClientHeartbeat, FragmentDistributionObtained};

use super::Torrent;
use super::join::Membership;
use crate::rules::Rule;
use crate::time::Moment;

/// Most staged fragments asked about with one heartbeat.
const ASKED_AGAIN: usize = 100;

impl Torrent {
    pub(super) fn poll_lease(&mut self, now: Moment) {
        let Membership::Registered { request, next_heartbeat } = self.membership else { return };
        let Some(interval) = self.tracker.heartbeat() else {
            self.membership = Membership::Registered { request, next_heartbeat: None };
            return;
        };
        if next_heartbeat.is_some_and(|at| at > now) {
            return;
        }
        self.membership = Membership::Registered { request, next_heartbeat: Some(now + interval) };
        let heartbeat = ClientHeartbeat {
            revision: self.view.revision(),
            digest: self.view.digest(),
            inventory_digest: self.holdings.digest(),
            stored: self.holdings.count(),
            free_bytes: self.holdings.free_bytes(self.config.capacity_bytes),
        };
        self.say(heartbeat, None);
        // A fragment stays staged until somebody answers for it (S12), and until then it stays here (S3).
        let unanswered = self.holdings.staged_before(now, interval, ASKED_AGAIN);
        if !Rule::StagedStays.is_kept() {
            return self.delete(unanswered.iter());
        }
        for hash in unanswered.into_iter().filter(|_| Rule::StagedAsks.is_kept()) {
            self.say(FragmentDistributionObtained { hash }, None);
        }
    }
}
