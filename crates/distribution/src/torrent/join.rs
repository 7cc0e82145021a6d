//! Client Join, the torrent's side: ask, take over the tracker's view, confirm, and be registered.
//!
//! Every wait ends: without an answer, after a denial, or when the confirmation was lost (alternatives 1 to 4), the torrent asks again with
//! growing delays, and at the next hello.

use protocol::event::{
    ClientJoinDenied, ClientJoinFailed, ClientJoinRequested, ClientJoinSucceeded, TrackerEnvelope,
};
use protocol::hash::HASH_ALGORITHM;
use protocol::{EventId, Features, FileMetadata, FragmentMetadata, Revision};

use super::{Notice, Torrent};
use crate::command::TorrentCommand;
use crate::rules::Rule;
use crate::time::Moment;
use crate::view::{JoinAnswer, changes_of_answer};

/// How the torrent stands with the service.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// There is no bus.
    #[default]
    Offline,
    /// Not registered; asks at this time.
    Outside { ask_at: Moment, failures: u32 },
    /// *ClientJoinRequested* was said.
    Asking { request: EventId, deadline: Moment, failures: u32 },
    /// *ClientJoinSucceeded* was said.
    Confirming { request: EventId, confirmation: EventId, deadline: Moment, failures: u32 },
    /// Registered, by that request.
    Registered { request: EventId, next_heartbeat: Option<Moment> },
}

impl Membership {
    pub const fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }

    pub const fn is_connected(&self) -> bool {
        !matches!(self, Self::Offline)
    }

    /// Whether the tracker's changes concern this torrent's view.
    pub const fn follows_changes(&self) -> bool {
        matches!(self, Self::Asking { .. } | Self::Confirming { .. } | Self::Registered { .. })
    }

    pub const fn deadline(&self) -> Option<Moment> {
        match *self {
            Self::Offline => None,
            Self::Outside { ask_at, .. } => Some(ask_at),
            Self::Asking { deadline, .. } | Self::Confirming { deadline, .. } => Some(deadline),
            Self::Registered { next_heartbeat, .. } => next_heartbeat,
        }
    }

    /// The request that led to the registration, while there is one.
    pub const fn registration(&self) -> Option<EventId> {
        if let Self::Registered { request, .. } = *self { Some(request) } else { None }
    }

    const fn failures(self) -> u32 {
        match self {
            Self::Offline | Self::Registered { .. } => 0,
            Self::Outside { failures, .. }
            | Self::Asking { failures, .. }
            | Self::Confirming { failures, .. } => failures,
        }
    }
}

impl Torrent {
    /// After the subscriptions a retained hello is on its way, if there is one. Without it the torrent asks all the same: a tracker that
    /// knows only the specification retains nothing.
    pub(super) fn handle_connected(&mut self, now: Moment) {
        self.tracker.forget_connection();
        self.membership = Membership::Outside { ask_at: now + self.config.limits.hello_grace, failures: 0 };
    }

    pub(super) fn handle_connection_lost(&mut self) {
        self.tracker.forget_connection();
        self.log.clear();
        self.holdings.forget_reservations();
        self.membership = Membership::Offline;
    }

    /// Asks at once, whatever was under way.
    pub(super) fn join_now(&mut self, now: Moment, why: &'static str) {
        if self.membership.is_connected() {
            self.leave(now, why);
            self.membership = Membership::Outside { ask_at: now, failures: 0 };
        }
    }

    /// Asks at once if it would only have waited.
    pub(super) fn join_if_idle(&mut self, now: Moment) {
        if let Membership::Outside { failures, .. } = self.membership {
            self.membership = Membership::Outside { ask_at: now, failures };
        }
    }

    /// Is no longer registered, and asks again in a while.
    pub(super) fn leave(&mut self, now: Moment, why: &'static str) {
        if self.membership.is_registered() {
            self.notices.push_back(Notice::Unregistered(why));
        }
        self.log.clear();
        self.holdings.forget_reservations();
        if self.membership.is_connected() {
            self.ask_later(now);
        }
    }

    /// There is no tracker, so there is nobody to ask: its hello will say when there is. In case that gets lost, the torrent asks after a
    /// long while.
    pub(super) fn wait_for_hello(&mut self, now: Moment) {
        if self.membership.is_connected() {
            let ask_at = now + self.draw.jittered(self.config.limits.retry_delay.1);
            self.membership = Membership::Outside { ask_at, failures: 0 };
        }
    }

    fn ask_later(&mut self, now: Moment) {
        let failures = self.membership.failures();
        let ask_at = now + self.draw.backoff(self.config.limits.retry_delay, failures);
        self.membership = Membership::Outside { ask_at, failures: failures + 1 };
    }

    pub(super) fn poll_join(&mut self, now: Moment) {
        match self.membership {
            Membership::Outside { ask_at, failures } if ask_at <= now => self.ask(failures, now),
            Membership::Asking { deadline, .. } | Membership::Confirming { deadline, .. }
                if deadline <= now =>
            {
                self.notices.push_back(Notice::NoAnswer);
                self.leave(now, "the join was not confirmed");
            }
            Membership::Offline
            | Membership::Outside { .. }
            | Membership::Asking { .. }
            | Membership::Confirming { .. }
            | Membership::Registered { .. } => {}
        }
    }

    fn ask(&mut self, failures: u32, now: Moment) {
        let stored = self.holdings.list();
        let is_bound = !self.view.files().is_empty() || !stored.is_empty();
        let (registered_by, registered_epoch) = self.tracker.registered_by();
        let request = ClientJoinRequested {
            hash_algorithm: HASH_ALGORITHM.to_owned(),
            fragment_size_bytes: self.view.fragment_size_bytes().filter(|_| is_bound),
            known_file_infos: self
                .view
                .files()
                .iter()
                .map(|(hash, file)| (*hash, FileMetadata::from(file)))
                .collect(),
            stored_fragments: stored
                .into_iter()
                .map(|(hash, size_bytes)| (hash, FragmentMetadata { size_bytes }))
                .collect(),
            endpoints: self.config.endpoints.clone(),
            features: Features::all(),
            capacity_bytes: Some(self.config.capacity_bytes),
            zone: self.config.zone.clone(),
            seen_epoch: self.tracker.highest().map(|(epoch, _)| epoch),
            seen_instance: self.tracker.highest().map(|(_, instance)| instance),
            registered_by,
            registered_epoch,
        };
        let request = self.say(request, None);
        let deadline = now + self.config.limits.join_timeout;
        self.membership = Membership::Asking { request, deadline, failures };
    }

    /// Steps 6 to 8: the view becomes the tracker's, durably, and then the tracker is told.
    pub(super) fn handle_accepted(&mut self, envelope: &TrackerEnvelope, answer: JoinAnswer, now: Moment) {
        let Membership::Asking { request, failures, .. } = self.membership else { return };
        let answers_us = Self::answers(envelope, request);
        if answer.client_identifier != self.config.client || !answers_us {
            return;
        }
        self.handle_answering_tracker(envelope);
        let changes = changes_of_answer(&self.view, &answer, &self.holdings.sizes());
        let mut view = self.view.clone();
        if let Some(error) = changes.iter().find_map(|change| view.apply(change).err()) {
            let reason = error.to_string();
            self.notices.push_back(Notice::OutOfStep(reason.clone()));
            self.say(ClientJoinFailed { reason: Some(reason) }, Some(envelope.event_id));
            return self.leave(now, "the tracker's view does not fit");
        }
        let revision = envelope.revision.unwrap_or(Revision(0));
        view.set_revision(revision);
        self.view = view;
        self.commands.push_back(TorrentCommand::Persist { changes, revision });
        self.delete(answer.remove_fragment_infos.iter());
        let confirmation = self.say(ClientJoinSucceeded {}, Some(envelope.event_id));
        let deadline = now + self.config.limits.join_timeout;
        self.membership = Membership::Confirming { request, confirmation, deadline, failures };
        self.apply_held(now);
    }

    /// Whether this is the answer to what we said (S11). A tracker that knows only the specification does not say what it answers.
    fn answers(envelope: &TrackerEnvelope, said: EventId) -> bool {
        envelope.in_reply_to.map_or(envelope.epoch.is_none(), |id| id == said)
            || !Rule::AnswersMatch.is_kept()
    }

    /// Alternative 3.
    pub(super) fn handle_denied(
        &mut self,
        envelope: &TrackerEnvelope,
        denied: ClientJoinDenied,
        now: Moment,
    ) {
        let (Membership::Asking { request, .. } | Membership::Confirming { request, .. }) = self.membership
        else {
            return;
        };
        let answers_us = Self::answers(envelope, request);
        if denied.client_identifier != self.config.client || !answers_us {
            return;
        }
        let reason = denied.reason.unwrap_or_else(|| "the tracker gave no reason".into());
        self.notices.push_back(Notice::Denied(format!("{:?}: {reason}", denied.reason_code)));
        self.leave(now, "the tracker denied the join");
    }

    /// The change that names this torrent was applied. It may stem from an earlier confirmation, which listed other fragments.
    pub(super) fn registered(&mut self, envelope: &TrackerEnvelope, now: Moment) {
        if let Membership::Confirming { request, confirmation, .. } = self.membership
            && envelope.in_reply_to.is_none_or(|id| id == confirmation)
        {
            let next_heartbeat = self.tracker.heartbeat().map(|_| now);
            self.membership = Membership::Registered { request, next_heartbeat };
            self.remember_registration(envelope);
            self.tracker.joined();
            self.holdings.confirm_listed();
            self.notices.push_back(Notice::Registered);
            if self.holdings.is_overstated() {
                self.tell_of_damage(now);
            }
        }
    }
}
