//! Which tracker is in charge, and what it speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::event::{TrackerEnvelope, TrackerEvent, TrackerHello};
use protocol::{ClientId, EndpointUri, Epoch, Feature, Features, InstanceId};

use super::{RememberedTracker, Torrent};
use crate::command::TorrentCommand;
use crate::copies::Copies;
use crate::limits::{Rhythm, TorrentLimits};
use crate::rules::Rule;
use crate::time::Moment;

/// Who is in charge at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Online {
    Nobody,
    /// A tracker that numbers its starts: the highest seen.
    Numbered,
    /// A tracker that knows only the specification.
    SpecOnly,
}

/// What is known of the tracker in charge.
#[derive(Debug)]
pub struct KnownTracker {
    /// The highest (epoch, instance) seen, ever: what is below it is ignored (T2).
    highest: RememberedTracker,
    online: Online,
    features: Features,
    heartbeat: Duration,
    lease: Duration,
    /// When the tracker in charge last said something.
    last_heard: Moment,
    /// Whether that was too long ago for one that repeats its hello.
    is_silent: bool,
    /// The torrents that said goodbye, or whose Last Will did, and when that was heard.
    suspects: BTreeMap<ClientId, Moment>,
    endpoints: BTreeSet<EndpointUri>,
}

impl KnownTracker {
    pub fn remembered(highest: RememberedTracker) -> Self {
        let Rhythm { heartbeat, lease, .. } = Rhythm::default();
        let (online, features) = (Online::Nobody, Features::NONE);
        let (last_heard, suspects, endpoints) = Default::default();
        let is_silent = false;
        Self { highest, online, features, heartbeat, lease, last_heard, is_silent, suspects, endpoints }
    }

    /// Whether it is there, as far as was heard. One that numbers its starts repeats its hello, and is gone when it does not.
    pub const fn is_online(&self) -> bool {
        match self.online {
            Online::Nobody => false,
            Online::Numbered => !self.is_silent,
            Online::SpecOnly => true,
        }
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

    pub fn suspects(&self) -> impl Iterator<Item = &ClientId> {
        self.suspects.keys()
    }

    pub fn is_suspect(&self, client: &ClientId) -> bool {
        self.suspects.contains_key(client)
    }

    pub fn peer_said_goodbye(&mut self, client: ClientId, now: Moment) {
        self.suspects.insert(client, now);
    }

    pub fn peer_changed(&mut self, client: &ClientId) {
        self.suspects.remove(client);
    }

    /// The tracker is there, and the view is its own. Who said goodbye longer ago than a lease, and is registered all the same, has been heard
    /// by it since: what told of that was lost here, or came before a goodbye that was late.
    fn reconsider_suspects(&mut self, now: Moment) {
        let lease = self.lease;
        self.suspects.retain(|_, since| now.since(*since) < lease);
    }

    /// The torrent is registered. What a tracker without leases says of whom it registered is all that is to be known of peers.
    pub fn joined(&mut self) {
        if !self.has(Feature::Lease) {
            self.suspects.clear();
        }
    }

    pub fn forget_connection(&mut self) {
        self.is_gone();
        self.suspects.clear();
    }

    /// The highest tracker ever seen.
    pub fn highest(&self) -> Option<(Epoch, InstanceId)> {
        self.highest.instance.map(|instance| (self.highest.epoch, instance))
    }

    /// The tracker that registered this torrent last, and its epoch then, if it has any.
    pub const fn registered_by(&self) -> (Option<InstanceId>, Option<Epoch>) {
        (self.highest.registered_by, self.highest.registered_epoch)
    }

    /// The tracker in charge says something.
    pub fn heard(&mut self, now: Moment) {
        self.last_heard = now;
        self.is_silent = false;
    }

    /// From when on it was silent for too long, if nothing is heard of it before.
    fn silent_from(&self, limits: &TorrentLimits) -> Moment {
        self.last_heard + limits.tracker_silence
    }

    pub const fn endpoints(&self) -> &BTreeSet<EndpointUri> {
        &self.endpoints
    }

    fn is_gone(&mut self) {
        self.online = Online::Nobody;
        self.features = Features::NONE;
    }

    /// Whether it is that very tracker that is online.
    fn is(&self, key: Option<Key>) -> bool {
        match key {
            Some((epoch, instance)) => {
                self.online == Online::Numbered
                    && (epoch, Some(instance)) == (self.highest.epoch, self.highest.instance)
            }
            None => self.online == Online::SpecOnly,
        }
    }
}

/// Which start of which tracker.
type Key = (Epoch, InstanceId);

/// None of a tracker that knows only the specification.
fn key_of(envelope: &TrackerEnvelope) -> Option<Key> {
    envelope.epoch.zip(envelope.instance)
}

/// Shortest time between heartbeats that a tracker can ask for: a hostile one must not make the torrent flood the bus.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);

impl Torrent {
    /// Whether the tracker that says this is the one in charge.
    ///
    /// Of trackers that number their starts, the highest one. One that knows only the specification is listened to while no other is
    /// online.
    pub(super) fn is_in_charge(&self, envelope: &TrackerEnvelope, event: &TrackerEvent) -> bool {
        if envelope.epoch.is_some() != envelope.instance.is_some() {
            return false;
        }
        let Some((epoch, instance)) = key_of(envelope) else {
            return self.tracker.online != Online::Numbered;
        };
        if !Rule::OlderTrackersAreIgnored.is_kept() {
            return true;
        }
        if !epoch.is_believable() {
            return false;
        }
        let told = (epoch, Some(instance));
        let highest = (self.tracker.highest.epoch, self.tracker.highest.instance);
        match event {
            TrackerEvent::TrackerHello(_)
            | TrackerEvent::ClientJoinAccepted(_)
            | TrackerEvent::ClientJoinDenied(_) => told >= highest,
            // A will was written before its tracker may have raised its epoch.
            TrackerEvent::TrackerGoodbye(_) => told.1 == highest.1 || !Rule::GoodbyeOfThisRun.is_kept(),
            TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileInfoPublished(_)
            | TrackerEvent::FileRemoved(_)
            | TrackerEvent::FragmentDistributionStarted(_)
            | TrackerEvent::FragmentDistributionDelivered(_)
            | TrackerEvent::FragmentDistributionEnded(_) => told == highest,
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
        let key = key_of(envelope);
        // One that knows only the specification says hello once, when it starts.
        let is_new = key.is_none() || !self.tracker.is(key);
        (self.tracker.online, self.tracker.features) = match key {
            Some(_) => (Online::Numbered, hello.features),
            None => (Online::SpecOnly, Features::NONE),
        };
        let heartbeat = hello.heartbeat_ms.map_or(Rhythm::default().heartbeat, Duration::from_millis);
        self.tracker.heartbeat = heartbeat.max(SHORTEST_HEARTBEAT);
        self.tracker.lease = hello.lease_ms.map_or(Rhythm::default().lease, Duration::from_millis);
        self.tracker.endpoints = hello.endpoints.clone().unwrap_or_default();
        self.remember(envelope, hello.copies);
        if is_new || direct {
            self.tracker.suspects.clear();
            self.join_now(now, "the tracker asks for it");
        } else {
            if envelope.revision == Some(self.view.revision()) {
                self.tracker.reconsider_suspects(now);
            }
            self.join_if_idle(now);
        }
    }

    /// A tracker below the highest one seen says hello. If that one was silent for long, it is gone without a goodbye: a request that names it
    /// makes the one that is there go on above it.
    pub(super) fn handle_lower_tracker(&mut self, event: &TrackerEvent, now: Moment) {
        let is_silent = self.tracker.silent_from(&self.config.limits) <= now;
        if is_silent && self.membership.is_registered() && matches!(event, TrackerEvent::TrackerHello(_)) {
            self.join_now(now, "its tracker is silent, and another one is there");
        }
    }

    /// A tracker that answers our request without a hello before it: it numbers its starts, so it speaks what we announced to it.
    pub(super) fn handle_answering_tracker(&mut self, envelope: &TrackerEnvelope) {
        let key = key_of(envelope);
        if self.tracker.is(key) {
            return;
        }
        // What is held was said by another one, and where it can be asked, too.
        self.log.clear();
        self.tracker.endpoints.clear();
        (self.tracker.online, self.tracker.features) = match key {
            Some(_) => (Online::Numbered, Features::all()),
            None => (Online::SpecOnly, Features::NONE),
        };
        self.remember(envelope, None);
    }

    pub(super) fn tracker_silence_deadline(&self) -> Option<Moment> {
        let is_awaited = self.tracker.online == Online::Numbered && !self.tracker.is_silent;
        is_awaited.then(|| self.tracker.silent_from(&self.config.limits))
    }

    pub(super) fn poll_tracker_silence(&mut self, now: Moment) {
        if self.tracker_silence_deadline().is_some_and(|at| at <= now) {
            self.tracker.is_silent = true;
        }
    }

    fn remember(&mut self, envelope: &TrackerEnvelope, copies: Option<u64>) {
        let Some((epoch, instance)) = key_of(envelope) else { return };
        let copies = copies.or(self.tracker.highest.copies);
        self.remember_all(RememberedTracker {
            epoch,
            instance: Some(instance),
            copies,
            ..self.tracker.highest
        });
    }

    /// The tracker that says this has registered the torrent: from here on it may accept what another one has deleted.
    pub(super) fn remember_registration(&mut self, envelope: &TrackerEnvelope) {
        let key = key_of(envelope);
        let registered_by = Some(key.map_or(InstanceId::NONE, |(_, instance)| instance));
        let registered_epoch = key.map(|(epoch, _)| epoch);
        self.remember_all(RememberedTracker { registered_by, registered_epoch, ..self.tracker.highest });
    }

    fn remember_all(&mut self, tracker: RememberedTracker) {
        if tracker != self.tracker.highest {
            self.tracker.highest = tracker;
            self.commands.push_back(TorrentCommand::RememberTracker { tracker });
        }
    }

    /// The torrent is unregistered. It keeps its view and its fragments, serves them, and waits for the next hello.
    pub(super) fn handle_tracker_goodbye(&mut self, envelope: &TrackerEnvelope, now: Moment) {
        let says_its_own = match self.tracker.online {
            Online::Nobody => false,
            Online::Numbered => {
                envelope.instance.is_some()
                    && (envelope.instance == self.tracker.highest.instance
                        || !Rule::GoodbyeOfThisRun.is_kept())
            }
            Online::SpecOnly => key_of(envelope).is_none(),
        };
        if says_its_own {
            self.tracker.is_gone();
            self.leave(now, "the tracker said goodbye");
            self.wait_for_hello(now);
        }
    }
}
