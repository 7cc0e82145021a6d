//! The tracker's changes, applied in the order of their revisions.
//!
//! One that is not the next is held; if what is missing does not come soon, the torrent joins again. A tracker that knows only the
//! specification numbers nothing, and its changes apply as they come.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{TrackerEnvelope, TrackerEvent};
use protocol::{ClientId, Feature, FileMetadata, Hash, Revision};

use super::join::Membership;
use super::{Notice, Torrent};
use crate::command::TorrentCommand;
use crate::limits::TorrentLimits;
use crate::rules::Rule;
use crate::time::Moment;
use crate::view::{Adoption, Change, FileInfo, View};

/// Changes that came before the one they follow.
#[derive(Debug, Default)]
pub struct Log {
    held: BTreeMap<Revision, (TrackerEnvelope, TrackerEvent)>,
    /// Since when something is missing.
    gap_since: Option<Moment>,
}

impl Log {
    pub fn clear(&mut self) {
        self.held.clear();
        self.gap_since = None;
    }

    pub fn gap_deadline(&self, limits: &TorrentLimits) -> Option<Moment> {
        self.gap_since.filter(|_| Rule::GapsAreNoticed.is_kept()).map(|since| since + limits.gap_timeout)
    }
}

impl Torrent {
    pub(super) fn handle_change(&mut self, envelope: &TrackerEnvelope, event: TrackerEvent, now: Moment) {
        if !self.membership.follows_changes() {
            return;
        }
        // The answer will say from where on the tracker's changes count; the own revision may be another tracker's.
        let is_asking = matches!(self.membership, Membership::Asking { .. });
        if !self.tracker.has(Feature::Log) {
            if !is_asking {
                self.apply_event(envelope, event, self.view.revision(), now);
            }
            return;
        }
        match envelope.revision {
            // An answer to a repeated question: it changes nothing that is not known.
            None => self.settle_answer(&event),
            Some(revision) if !is_asking && !Rule::ChangesInOrder.is_kept() => {
                self.apply_event(envelope, event, revision.max(self.view.revision()), now);
            }
            Some(revision) if !is_asking && revision <= self.view.revision() => {}
            Some(revision) => {
                self.log.held.insert(revision, (*envelope, event));
                if self.log.held.len() > self.config.limits.held_changes {
                    return self.leave(now, "too many changes are missing");
                }
                if !is_asking {
                    self.apply_held(now);
                }
            }
        }
    }

    /// Applies what follows on the view, for as long as nothing is missing.
    pub(super) fn apply_held(&mut self, now: Moment) {
        let next = self.view.revision().next();
        self.log.held = self.log.held.split_off(&next);
        while let Some((envelope, event)) = self.log.held.remove(&self.view.revision().next()) {
            let revision = self.view.revision().next();
            self.apply_event(&envelope, event, revision, now);
            if !self.membership.follows_changes() {
                return;
            }
        }
        let is_missing = !self.log.held.is_empty();
        self.log.gap_since = is_missing.then(|| self.log.gap_since.unwrap_or(now));
    }

    pub(super) fn poll_log(&mut self, now: Moment) {
        if self.log.gap_deadline(&self.config.limits).is_some_and(|at| at <= now) {
            let missing = self.view.revision().next();
            self.notices.push_back(Notice::OutOfStep(format!("change {missing} did not come")));
            self.join_now(now, "a change is missing");
        }
    }

    fn apply_event(
        &mut self,
        envelope: &TrackerEnvelope,
        event: TrackerEvent,
        revision: Revision,
        now: Moment,
    ) {
        let (mut changes, consequence) = changes_of(&self.view, event);
        let mut misfit = None;
        changes.retain(|change| self.view.apply(change).map_err(|error| misfit = Some(error)).is_ok());
        let is_out_of_step = misfit.is_some() && self.tracker.has(Feature::Log);
        if !is_out_of_step {
            self.view.set_revision(revision);
        }
        let revision = self.view.revision();
        self.commands.push_back(TorrentCommand::Persist { changes, revision });
        if let Some(error) = misfit {
            self.notices.push_back(Notice::OutOfStep(error.to_string()));
        }
        if is_out_of_step {
            return self.leave(now, "a change does not fit the view");
        }
        match consequence {
            Consequence::Registered(client) if client == self.config.client => {
                self.registered(envelope, now);
            }
            Consequence::Registered(client) => self.tracker.peer_changed(&client),
            Consequence::Unregistered(client) if client == self.config.client => {
                self.join_now(now, "the tracker unregistered this torrent");
            }
            Consequence::Unregistered(client) => self.tracker.peer_changed(&client),
            Consequence::Removed(fragments) => self.delete_unused(fragments),
            Consequence::Ended(fragment) => self.settle(fragment, now),
            Consequence::Nothing => {}
        }
    }
}

impl Torrent {
    /// A tracker with a log says itself what becomes of the peer. One that knows only the specification says nothing: its torrents draw
    /// the conclusion themselves (Client Goodbye, step 3).
    pub(super) fn handle_peer_goodbye(&mut self, client: ClientId, now: Moment) {
        // Of strangers nothing is remembered.
        if self.view.client(&client).is_none() {
            return;
        }
        let follows =
            self.membership.follows_changes() && !matches!(self.membership, Membership::Asking { .. });
        if self.tracker.has(Feature::Log) || !follows {
            return self.tracker.peer_said_goodbye(client, now);
        }
        let change = Change::ClientUnregistered { client };
        if self.view.apply(&change).is_ok() {
            let revision = self.view.revision();
            self.commands.push_back(TorrentCommand::Persist { changes: vec![change], revision });
        }
    }
}

/// What a change means for the torrent itself.
enum Consequence {
    Nothing,
    Registered(ClientId),
    Unregistered(ClientId),
    /// A file with these fragments.
    Removed(BTreeSet<Hash>),
    Ended(Hash),
}

/// What an event changes in the view as it was before, and what that means.
fn changes_of(view: &View, event: TrackerEvent) -> (Vec<Change>, Consequence) {
    match event {
        TrackerEvent::ClientRegistered(event) => {
            let (client, adoption) = Adoption::from_event(event);
            (adoption.changes(&client), Consequence::Registered(client))
        }
        TrackerEvent::ClientUnregistered(event) => {
            let client = event.client_identifier;
            (vec![Change::ClientUnregistered { client: client.clone() }], Consequence::Unregistered(client))
        }
        TrackerEvent::FileInfoPublished(event) => {
            let (size_bytes, fragment_sequence, name) =
                (event.size_bytes, event.fragment_sequence, event.name);
            let file = FileInfo::from(FileMetadata { size_bytes, fragment_sequence, name });
            (vec![Change::FilePublished { hash: event.hash, file }], Consequence::Nothing)
        }
        TrackerEvent::FileRemoved(event) => {
            let fragments = view.file(&event.hash).map(FileInfo::distinct_fragments).unwrap_or_default();
            (vec![Change::FileRemoved { hash: event.hash }], Consequence::Removed(fragments))
        }
        TrackerEvent::FragmentDistributionEnded(event) => {
            let (hash, size_bytes, receivers) = (event.hash, event.size_bytes, event.receivers);
            let change = Change::FragmentDistributed { hash, size_bytes, receivers };
            (vec![change], Consequence::Ended(hash))
        }
        TrackerEvent::TrackerHello(_)
        | TrackerEvent::TrackerGoodbye(_)
        | TrackerEvent::ClientJoinAccepted(_)
        | TrackerEvent::ClientJoinDenied(_)
        | TrackerEvent::FragmentDistributionStarted(_)
        | TrackerEvent::FragmentDistributionDelivered(_) => (Vec::new(), Consequence::Nothing),
    }
}
