//! Drains: a torrent is emptied before it leaves for good.
//!
//! From the order on its copies count no more, and it gets no fragments: what it holds is repaired, with itself as a source. Once nothing
//! needs it any more it may go, and no fragment has fewer copies for it. It keeps what it holds until then.

use protocol::{ClientId, Hash};

use super::Tracker;
use crate::command::{RequestId, RequestRefused, TrackerCommand};
use crate::view::Change;

impl Tracker {
    /// Only of a torrent that is registered, or was when it was first ordered: nobody knows what another one holds, and it would be
    /// taken for empty.
    pub(super) fn handle_drain(&mut self, request: RequestId, client: ClientId, is_draining: bool) {
        let is_known = self.view.is_draining(&client) || self.members.registered(&client).is_some();
        let refused = match (self.presence.decides(), is_known) {
            (false, _) => Some(RequestRefused::NotInCharge),
            (true, false) => Some(RequestRefused::NotFound),
            (true, true) => None,
        };
        if let Some(reason) = refused {
            return self.commands.push_back(TrackerCommand::Refused { request, reason });
        }
        if self.view.is_draining(&client) != is_draining {
            let change = Change::DrainSet { client: client.clone(), is_draining };
            self.apply_all(std::slice::from_ref(&change));
            let revision = self.view.revision();
            self.commands.push_back(TrackerCommand::Persist { changes: vec![change], revision });
            if is_draining {
                self.enqueue_lacking();
                self.view.inventory(&client).into_iter().for_each(|fragment| self.consider_repair(fragment));
            } else {
                self.torrent_available();
                self.target_changed();
            }
        }
        self.commands.push_back(TrackerCommand::Accepted { request });
    }

    /// How many fragments would lack a copy if this torrent went now; none if nobody has ordered to empty it.
    ///
    /// What one holds that is not registered, because it or the tracker has just started, nobody knows: all that lacks a copy may be there.
    #[must_use]
    pub fn drain_remaining(&self, client: &ClientId) -> Option<usize> {
        if !self.view.is_draining(client) {
            return None;
        }
        let lacks_copies =
            |fragment: &Hash| self.view.is_in_a_file(fragment) && self.missing_copies(fragment) > 0;
        Some(if self.members.registered(client).is_some() {
            self.view.inventory(client).into_iter().filter(lacks_copies).count()
        } else {
            self.view.fragments().filter(|(fragment, _)| lacks_copies(fragment)).count()
        })
    }
}
