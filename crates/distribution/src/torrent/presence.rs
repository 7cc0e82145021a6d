//! Which tracker is in charge, and what it speaks.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::event::{TrackerEnvelope, TrackerEvent, TrackerHello};
use protocol::{ClientId, Epoch, Feature, Features, InstanceId};

use super::{RememberedTracker, Torrent};
use crate::command::TorrentCommand;
use crate::copies::Copies;
use crate::limits::Rhythm;
use crate::time::Moment;

/// What is known of the tracker in charge.
#[derive(Debug)]
pub struct KnownTracker {
    /// The highest (epoch, instance) seen, ever: what is below it is ignored (T2). A tracker that knows only the specification has none.
    highest: RememberedTracker,
    online: bool,
    features: Features,
    heartbeat: Duration,
    suspects: BTreeSet<ClientId>,
}

impl KnownTracker {
    pub fn remembered(highest: RememberedTracker) -> Self {
        let heartbeat = Rhythm::default().heartbeat;
        Self { highest, online: false, features: Features::NONE, heartbeat, suspects: BTreeSet::new() }
    }

    pub const fn is_online(&self) -> bool {
        self.online
    }

    pub const fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    pub fn copies(&self) -> Copies {
        self.highest.copies.map(Copies::from_number).unwrap_or_default()
    }

    /// None from a tracker without leases.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.has(Feature::Lease).then_some(self.heartbeat)
    }

    pub const fn suspects(&self) -> &BTreeSet<ClientId> {
        &self.suspects
    }

    pub fn peer_said_goodbye(&mut self, client: ClientId) {
        self.suspects.insert(client);
    }

    pub fn peer_changed(&mut self, client: &ClientId) {
        self.suspects.remove(client);
    }

    pub fn forget_connection(&mut self) {
        self.online = false;
        self.features = Features::NONE;
        self.suspects.clear();
    }

    fn key(&self) -> (Epoch, Option<InstanceId>) {
        (self.highest.epoch, self.highest.instance)
    }
}

/// Shortest time between heartbeats that a tracker can ask for: a hostile one must not make the torrent flood the bus.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);

impl Torrent {
    /// Whether the tracker that says this is the one in charge.
    ///
    /// Of trackers that number their starts, the highest one. One that knows only the specification is listened to while no other is
    /// online.
    pub(super) fn is_in_charge(&self, envelope: &TrackerEnvelope, event: &TrackerEvent) -> bool {
        let Some(epoch) = envelope.epoch else {
            return !(self.tracker.online && self.tracker.highest.instance.is_some());
        };
        let key = (epoch, envelope.instance);
        match event {
            TrackerEvent::TrackerHello(_)
            | TrackerEvent::ClientJoinAccepted(_)
            | TrackerEvent::ClientJoinDenied(_) => key >= self.tracker.key(),
            TrackerEvent::TrackerGoodbye(_)
            | TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileInfoPublished(_)
            | TrackerEvent::FileRemoved(_)
            | TrackerEvent::FragmentDistributionStarted(_)
            | TrackerEvent::FragmentDistributionDelivered(_)
            | TrackerEvent::FragmentDistributionEnded(_) => key == self.tracker.key(),
        }
    }

    /// A hello that is new, or meant for this torrent alone, asks it to join. The repeated ones say that the tracker lives.
    pub(super) fn handle_hello(
        &mut self,
        envelope: &TrackerEnvelope,
        direct: bool,
        hello: &TrackerHello,
        now: Moment,
    ) {
        let key = (envelope.epoch.unwrap_or_default(), envelope.instance);
        let is_new = key.1.is_none() || !self.tracker.online || key != self.tracker.key();
        self.tracker.online = true;
        self.tracker.features = hello.features;
        let heartbeat = hello.heartbeat_ms.map_or(Rhythm::default().heartbeat, Duration::from_millis);
        self.tracker.heartbeat = heartbeat.max(SHORTEST_HEARTBEAT);
        self.remember(envelope, hello.copies);
        if is_new || direct {
            self.tracker.suspects.clear();
            self.join_now(now, "the tracker asks for it");
        } else {
            self.join_if_idle(now);
        }
    }

    /// A tracker that answers our request without a hello before it: it numbers its starts, so it speaks what we announced to it.
    pub(super) fn handle_answering_tracker(&mut self, envelope: &TrackerEnvelope) {
        let key = (envelope.epoch.unwrap_or_default(), envelope.instance);
        if envelope.epoch.is_some() && (!self.tracker.online || key != self.tracker.key()) {
            self.tracker.features = Features::all();
            self.remember(envelope, None);
        }
        self.tracker.online = true;
    }

    fn remember(&mut self, envelope: &TrackerEnvelope, copies: Option<u64>) {
        let (Some(epoch), Some(instance)) = (envelope.epoch, envelope.instance) else { return };
        let copies = copies.or(self.tracker.highest.copies);
        let highest = RememberedTracker { epoch, instance: Some(instance), copies };
        if highest != self.tracker.highest {
            self.tracker.highest = highest;
            self.commands.push_back(TorrentCommand::RememberTracker { epoch, instance, copies });
        }
    }

    /// The torrent is unregistered. It keeps its view and its fragments, serves them, and waits for the next hello.
    pub(super) fn handle_tracker_goodbye(&mut self, envelope: &TrackerEnvelope, now: Moment) {
        if envelope.epoch.is_none() || envelope.instance == self.tracker.highest.instance {
            self.tracker.online = false;
            self.tracker.features = Features::NONE;
            self.leave(now, "the tracker said goodbye");
        }
    }
}
