//! Tracker Server Startup and Goodbye: the hello, its echo, and other trackers.

use protocol::event::{TrackerEnvelope, TrackerEvent, TrackerGoodbye, TrackerHello};
use protocol::hash::HASH_ALGORITHM;
use protocol::{Epoch, Features, InstanceId};

use super::Tracker;
use crate::command::{Audience, TrackerCommand};
use crate::limits::Rhythm;
use crate::rules::Rule;
use crate::time::Moment;
use crate::view::Change;

/// Whether, and as whom, the tracker is on the bus.
#[derive(Debug, Default)]
pub struct Presence {
    epoch: Epoch,
    /// None while there is no bus.
    instance: Option<InstanceId>,
    next_hello: Moment,
    /// When the tracker's own hello last came back through the broker.
    last_echo: Moment,
    /// That was too long ago.
    is_fenced: bool,
    stepped_down: bool,
}

impl Presence {
    pub const fn is_connected(&self) -> bool {
        self.instance.is_some() && !self.stepped_down
    }

    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub const fn instance(&self) -> Option<InstanceId> {
        self.instance
    }

    /// Whether the tracker may change the view now. One whose own hello stays away may have been replaced without knowing (T5).
    pub const fn decides(&self) -> bool {
        self.is_connected() && !self.is_fenced
    }

    /// Whether it is connected, and its own hello has stayed away for too long.
    pub const fn is_fenced(&self) -> bool {
        self.is_connected() && self.is_fenced
    }

    pub fn poll_fence(&mut self, now: Moment, rhythm: &Rhythm) {
        self.is_fenced |= Rule::OwnEcho.is_kept() && now.since(self.last_echo) >= rhythm.hello_echo;
    }

    pub fn next_hello(&self) -> Option<Moment> {
        self.is_connected().then_some(self.next_hello)
    }
}

/// Nobody starts a tracker more often than this: a torrent that claims to have seen one would use up the epochs.
const BELIEVABLE_LEAP: u64 = 1 << 32;

impl Tracker {
    /// Every connection has an epoch and an instance of its own, so every torrent joins again: nobody has to know what it missed.
    /// With `others_decided` another tracker was in charge since the last one.
    pub(super) fn handle_connected(
        &mut self,
        epoch: Epoch,
        instance: InstanceId,
        others_decided: bool,
        now: Moment,
    ) {
        let (is_fenced, stepped_down) = (false, false);
        let instance = Some(instance);
        self.presence =
            Presence { epoch, instance, next_hello: now, last_echo: now, is_fenced, stepped_down };
        if others_decided {
            self.forget_deletions();
        }
        self.start_anew(now);
    }

    /// What was deleted here may have been accepted again there, and the torrents bring it: a tombstone from before is no proof that their
    /// copies may go (S7). At worst something deleted comes back with a torrent that was away.
    pub(super) fn forget_deletions(&mut self) {
        if !Rule::TombstonesExpire.is_kept() {
            return;
        }
        let changes = vec![Change::TombstonesForgotten];
        self.apply_all(&changes);
        let revision = self.view.revision();
        self.commands.push_back(TrackerCommand::Persist { changes, revision });
    }

    /// A torrent ignores every tracker below the highest (epoch, instance) that it has seen. If that is above this one, this one has lost its
    /// memory or never heard of the other, and goes on above it, where every torrent joins again. Says whether it has come to that.
    pub(super) fn handle_seen_tracker(
        &mut self,
        epoch: Option<Epoch>,
        instance: Option<InstanceId>,
        now: Moment,
    ) -> bool {
        let Some(seen) = epoch
            .filter(|_| Rule::AboveEverySeen.is_kept())
            .filter(|epoch| (*epoch, instance) > (self.presence.epoch, self.presence.instance))
        else {
            return false;
        };
        if seen.0 - self.presence.epoch.0 <= BELIEVABLE_LEAP {
            let epoch = seen.next();
            self.commands.push_back(TrackerCommand::RememberEpoch { epoch });
            (self.presence.epoch, self.presence.next_hello) = (epoch, now);
            self.forget_deletions();
            self.start_anew(now);
        }
        true
    }

    /// Whether a torrent that this tracker registered last may bring what was accepted after it had been deleted here, however little else
    /// tells of that. What was deleted since, in a higher epoch, is no part of it.
    pub(super) fn may_have_deleted_before(
        &self,
        tracker: Option<InstanceId>,
        its_epoch: Option<Epoch>,
    ) -> bool {
        let is_another =
            tracker.zip(self.presence.instance).is_some_and(|(tracker, own)| !tracker.is_kin(own));
        let was_before = its_epoch.is_some_and(|epoch| epoch < self.deletions_since);
        is_another
            && !was_before
            && !self.view.orders().tombstones.is_empty()
            && Rule::OtherTrackersAreTold.is_kept()
    }

    /// Something is about to be deleted.
    pub(super) fn note_deletion(&mut self) {
        if self.view.orders().tombstones.is_empty() {
            let epoch = self.presence.epoch;
            self.deletions_since = epoch;
            self.commands.push_back(TrackerCommand::RememberDeletionsSince { epoch });
        }
    }

    fn start_anew(&mut self, now: Moment) {
        self.forget_members();
        let clients: Vec<_> = self.view.clients().keys().cloned().collect();
        let until = now + self.config.rhythm.lease;
        self.await_return_of_all(&clients, now);
        self.distributions.await_return_of(clients.iter().cloned(), now, until);
        let changes: Vec<_> =
            clients.into_iter().map(|client| Change::ClientUnregistered { client }).collect();
        if !changes.is_empty() {
            self.apply_all(&changes);
            let revision = self.view.revision().next();
            self.view.set_revision(revision);
            self.commands.push_back(TrackerCommand::Persist { changes, revision });
        }
    }

    pub(super) fn handle_connection_lost(&mut self) {
        self.presence.instance = None;
        self.forget_members();
    }

    fn forget_members(&mut self) {
        self.joins.clear();
        self.members.all_unregistered();
        self.distributions.abort_all();
        self.repairs.abort_all();
    }

    pub(super) fn poll_presence(&mut self, now: Moment) {
        if self.presence.is_connected() && now >= self.presence.next_hello {
            self.presence.next_hello = now + self.config.rhythm.hello;
            self.say_hello(Audience::All);
        }
    }

    pub(super) fn say_hello(&mut self, to: Audience) {
        let rhythm = self.config.rhythm;
        let millis = |wait: std::time::Duration| u64::try_from(wait.as_millis()).ok();
        let hello = TrackerHello {
            features: Features::all(),
            hash_algorithm: Some(HASH_ALGORITHM.to_owned()),
            fragment_size_bytes: Some(self.config.fragment_size_bytes),
            copies: Some(self.config.copies.number()),
            lease_ms: millis(rhythm.lease),
            heartbeat_ms: millis(rhythm.heartbeat),
            endpoints: Some(self.config.endpoints.clone()),
            probe: None,
        };
        let envelope = self.envelope(Some(self.view.revision()), None);
        self.commands.push_back(TrackerCommand::Say { to, envelope, event: hello.into() });
    }

    /// Hears itself, or another tracker. Of two, the one with the higher (epoch, instance) stays (T3); one that was overwritten on the
    /// retained topic says its hello again (T6), and so does one whose goodbye is said by somebody else.
    pub(super) fn handle_tracker(&mut self, envelope: &TrackerEnvelope, event: &TrackerEvent, now: Moment) {
        if !self.presence.is_connected() {
            return;
        }
        let is_own = envelope.instance == self.presence.instance;
        match event {
            TrackerEvent::TrackerHello(_) if is_own => return self.handle_echo(now),
            TrackerEvent::TrackerHello(_) => {}
            TrackerEvent::TrackerGoodbye(_) if is_own => {
                self.presence.next_hello = now;
                return;
            }
            TrackerEvent::TrackerGoodbye(_)
            | TrackerEvent::ClientJoinAccepted(_)
            | TrackerEvent::ClientJoinDenied(_)
            | TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileInfoPublished(_)
            | TrackerEvent::FileRemoved(_)
            | TrackerEvent::FragmentDistributionStarted(_)
            | TrackerEvent::FragmentDistributionDelivered(_)
            | TrackerEvent::FragmentDistributionEnded(_) => return,
        }
        let theirs = (envelope.epoch.unwrap_or_default(), envelope.instance);
        if theirs.0.is_believable() && theirs > (self.presence.epoch, self.presence.instance) {
            if !Rule::LowerStepsDown.is_kept() {
                return;
            }
            self.presence.stepped_down = true;
            self.commands.push_back(TrackerCommand::StepDown { by: theirs.1, epoch: theirs.0 });
        } else if Rule::HelloIsRepeated.is_kept() {
            self.presence.next_hello = now;
        }
    }

    /// The broker still carries what the tracker says.
    fn handle_echo(&mut self, now: Moment) {
        self.presence.last_echo = now;
        if std::mem::take(&mut self.presence.is_fenced) {
            self.members.all_heard(now);
        }
    }

    pub(super) fn handle_shut_down(&mut self) {
        if self.presence.is_connected() {
            self.say(Audience::All, TrackerGoodbye {});
        }
        self.presence.instance = None;
    }
}
