//! What must hold when the bus is quiet, and over the whole trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::time::Duration;

use distribution::Tracker;
use distribution::tracker::MemberState;
use protocol::event::{TorrentEvent, TrackerEvent};
use protocol::{ClientId, EventKind, Hash, Heard, InstanceId, Limits, Role};

use super::cluster::Cluster;
use super::life::Kind;
use super::node::Node;
use super::spec_torrent::Standing;
use super::tracker_node::Outcome;

/// Why a service is not at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrest {
    /// What it would be if it stayed so.
    pub kind: Kind,
    /// For people.
    pub what: String,
}

impl Unrest {
    const fn some(kind: Kind, what: String) -> Option<Self> {
        Some(Self { kind, what })
    }
}

impl fmt::Display for Unrest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}

impl Cluster {
    /// Goes on until everything has come to rest, and checks that it stays so.
    ///
    /// # Panics
    /// If it does not come to rest within ten minutes, or something accepted is nowhere, or the trace breaks a rule.
    pub fn settle(&mut self) {
        let end = self.now + Duration::from_secs(600);
        while let Some(unrest) = self.unrest() {
            assert!(self.step() && self.now <= end, "never at rest: {unrest}\n{}", self.report());
        }
        let revision = self.tracker().view().revision();
        self.run_for(Duration::from_secs(12));
        if let Some(unrest) = self.unrest_between_steps() {
            panic!("at rest, and then not: {unrest}\n{}", self.report());
        }
        assert_eq!(self.tracker().view().revision(), revision, "changes at rest\n{}", self.report());
        let views = self.torrent_nodes().filter_map(|(_, node)| node.running()).map(|torrent| torrent.view());
        for view in views.chain([self.tracker().view()]) {
            view.check_invariants().unwrap_or_else(|violation| panic!("{violation}"));
        }
        self.check_nothing_lost();
        self.check_trace();
    }

    /// Why the service is not at rest; none if it is.
    #[must_use]
    pub fn unrest(&self) -> Option<Unrest> {
        if let Some(kind) = self.broker.on_its_way() {
            return Unrest::some(Kind::Leaked, format!("{kind} is on its way"));
        }
        self.unrest_between_steps()
    }

    /// The same, whatever is on its way.
    pub(super) fn unrest_between_steps(&self) -> Option<Unrest> {
        let Some(tracker) = self.tracker_node().running() else {
            return Unrest::some(Kind::Broken, "no tracker".into());
        };
        let present = self.present();
        self.unrest_of_torrents(tracker)
            .or_else(|| self.unrest_of_presence(tracker, &present))
            .or_else(|| self.unrest_of_copies(tracker, &present))
    }

    /// The torrents that are there.
    fn present(&self) -> BTreeSet<ClientId> {
        let is_present = |id: &ClientId, node: &Node| match node {
            Node::Torrent(node) => node.running().is_some(),
            Node::SpecTorrent(_) => self.broker.is_connected(id),
            Node::Tracker(_) | Node::SpecTracker(_) => false,
        };
        self.nodes().filter(|(id, node)| is_present(id, node)).map(|(id, _)| id.clone()).collect()
    }

    /// Each of them is registered, and has what the tracker has in its view, and on its disk what that says.
    fn unrest_of_torrents(&self, tracker: &Tracker) -> Option<Unrest> {
        for (id, node) in self.torrent_nodes() {
            let Some(torrent) = node.running() else { continue };
            if !torrent.is_registered() {
                return Unrest::some(Kind::Divergent, format!("{id} is not registered"));
            }
            if !torrent.tracker_is_online() {
                return Unrest::some(Kind::Divergent, format!("{id} takes the tracker for gone"));
            }
            if torrent.view() != tracker.view() {
                return Unrest::some(Kind::Divergent, format!("the view of {id} is another"));
            }
            if torrent.view().digest() != tracker.view().digest() {
                return Unrest::some(Kind::Divergent, format!("the digest of {id} is another"));
            }
            if node.is_writing() {
                return Unrest::some(Kind::Leaked, format!("{id} is writing"));
            }
            if torrent.staged_count() > 0 {
                return Unrest::some(Kind::Leaked, format!("{id} has staged fragments"));
            }
            let held: BTreeSet<Hash> = node.disk.volume.fragments.keys().copied().collect();
            if held != tracker.view().inventory(id) {
                return Unrest::some(
                    Kind::Divergent,
                    format!("the inventory of {id} is not what the view says"),
                );
            }
        }
        for (id, node) in self.nodes() {
            let Node::SpecTorrent(node) = node else { continue };
            if self.broker.is_connected(id) && node.standing != Standing::Registered {
                return Unrest::some(Kind::Divergent, format!("{id} is not registered"));
            }
        }
        None
    }

    /// Nobody else is registered, and nobody is taken for lost.
    fn unrest_of_presence(&self, tracker: &Tracker, present: &BTreeSet<ClientId>) -> Option<Unrest> {
        let known: BTreeSet<ClientId> = tracker.view().clients().keys().cloned().collect();
        if known != *present {
            return Unrest::some(Kind::Divergent, format!("{known:?} are registered, {present:?} are there"));
        }
        let mut members = tracker.members();
        if let Some((id, _)) = members.find(|(_, member)| member.state == MemberState::Suspect) {
            return Unrest::some(Kind::Divergent, format!("the tracker takes {id} for lost"));
        }
        for (id, node) in self.torrent_nodes() {
            let mut suspects = node.running().into_iter().flat_map(|torrent| torrent.suspects());
            if let Some(suspect) = suspects.find(|suspect| present.contains(*suspect)) {
                return Unrest::some(Kind::Divergent, format!("{id} takes {suspect} for lost"));
            }
        }
        None
    }

    /// All copies are there, and nothing waits for any; the tracker keeps none.
    fn unrest_of_copies(&self, tracker: &Tracker, present: &BTreeSet<ClientId>) -> Option<Unrest> {
        let takers = present.iter().filter(|id| !tracker.view().is_draining(id)).count();
        let target = tracker.config().copies.target(takers);
        let degraded = takers < target;
        if !degraded && tracker.undistributed() > 0 {
            return Unrest::some(
                Kind::UnderReplicated,
                format!("{} fragments wait for holders", tracker.undistributed()),
            );
        }
        // With fewer torrents than copies each has one.
        let possible = target.min(takers);
        let is_lacking = |hash: &Hash| {
            let copies = tracker.view().lasting_holders(hash).count();
            tracker.view().is_in_a_file(hash) && tracker.view().holder_count(hash) > 0 && copies < possible
        };
        if let Some((hash, _)) = tracker.view().fragments().find(|(hash, _)| is_lacking(hash)) {
            return Unrest::some(Kind::UnderReplicated, format!("{hash:?} lacks a copy"));
        }
        let own = &self.tracker_node().disk.volume.fragments;
        let is_lost = |hash: &Hash| {
            tracker.view().is_in_a_file(hash)
                && tracker.view().holder_count(hash) == 0
                && !own.contains_key(hash)
        };
        let lost = || tracker.view().fragments().filter(|(hash, _)| is_lost(hash)).count();
        let pending = tracker.repairs_pending();
        if !degraded && pending > 0 && pending > lost() {
            return Unrest::some(
                Kind::Leaked,
                format!("{pending} repairs wait, and {} fragments are lost", lost()),
            );
        }
        if !degraded && !own.is_empty() {
            return Unrest::some(Kind::Leaked, "the tracker keeps bytes".into());
        }
        if let Some(fragment) = own.keys().find(|hash| tracker.view().holder_count(hash) < possible) {
            return Unrest::some(Kind::UnderReplicated, format!("{fragment:?} lacks a holder"));
        }
        None
    }

    /// Every fragment of every accepted file is on a disk, and the tracker knows of it.
    ///
    /// # Panics
    /// If one is not.
    pub fn check_nothing_lost(&self) {
        for (request, content) in self.uploads() {
            let is_removed = self.removed().contains(&content.hash());
            if is_removed || self.outcome(*request) != Some(&Outcome::Accepted) {
                continue;
            }
            for fragment in content.fragments().keys() {
                assert!(self.places_of(fragment) > 0, "{fragment:?} is lost\n{}", self.report());
            }
        }
    }

    /// On how many disks the good bytes of a fragment are. That of a tracker that should not be does not count.
    #[must_use]
    pub fn places_of(&self, fragment: &Hash) -> usize {
        let own = self.tracker_id();
        let counts = |id: &ClientId, node: &Node| !matches!(node, Node::Tracker(_)) || *id == own;
        self.nodes().filter(|(id, node)| counts(id, node) && node.has_good(fragment)).count()
    }

    /// How often an event was published.
    #[must_use]
    pub fn said(&self, kind: EventKind) -> usize {
        self.broker.trace.iter().filter(|message| message.kind == Some(kind)).count()
    }

    /// Everything published, decoded, in order.
    pub fn heard(&self) -> impl Iterator<Item = (&ClientId, Heard)> {
        self.broker.trace.iter().filter_map(|message| {
            let heard =
                protocol::decode(self.topics(), &Limits::default(), &message.topic, &message.payload).ok()?;
            Some((&message.from, heard))
        })
    }

    /// The right issuer on every topic; for each fragment and torrent the order started, requested, delivered, obtained, ended.
    ///
    /// # Panics
    /// If the trace breaks a rule.
    pub fn check_trace(&self) {
        let mut checker = Checker::default();
        for (number, (from, heard)) in self.heard().enumerate() {
            if !self.was_added(from) {
                continue;
            }
            if let Err(broken) = checker.take(from, &heard) {
                panic!("event {number} by {from}: {broken}\n{}", self.report());
            }
        }
    }

    /// What a person wants to see when a test fails: the end of the trace (all of it with `SIM_TRACE` in the environment) and who stands
    /// where.
    #[must_use]
    pub fn report(&self) -> String {
        let mut told: Vec<String> = self.told().collect();
        if std::env::var_os("SIM_TRACE").is_none() {
            told.retain(|line| !line.contains("client/heartbeat"));
            told.drain(..told.len().saturating_sub(60));
        }
        format!("at {} ms, after {} steps\n{}\n{}", self.now.0, self.steps, told.join("\n"), self.standing())
    }

    /// Everything published, a line each that begins with its time in milliseconds.
    pub fn told(&self) -> impl Iterator<Item = String> {
        self.broker.trace.iter().map(|message| {
            let heard = protocol::decode(self.topics(), &Limits::default(), &message.topic, &message.payload);
            let what = match heard {
                Ok(Heard::Tracker { envelope, event, .. }) => {
                    let revision = envelope.revision.map(|revision| revision.0);
                    format!("{:?} {revision:?} {:.120}", envelope.epoch, format!("{event:?}"))
                }
                Ok(Heard::Torrent { event, .. }) => format!("{:.120}", format!("{event:?}")),
                Err(error) => error.to_string(),
            };
            format!("{:>8} {} {} {what}", message.at.0, message.from, message.topic)
        })
    }

    /// Who stands where.
    #[must_use]
    pub fn standing(&self) -> String {
        let mut report = String::new();
        for (id, node) in self.torrent_nodes() {
            let state = node.running().map(|torrent| (torrent.is_registered(), torrent.view().revision()));
            let last: Vec<_> = node.notices.iter().rev().take(3).collect();
            let _ =
                writeln!(report, "{id}: {state:?} {} fragments {last:?}", node.disk.volume.fragments.len());
        }
        report
    }
}

/// What was said of each fragment so far.
#[derive(Debug, Default)]
struct Checker {
    started: BTreeSet<Hash>,
    requested: BTreeSet<(Hash, ClientId)>,
    delivered: BTreeSet<(Hash, ClientId)>,
    obtained: BTreeSet<(Hash, ClientId)>,
    revisions: BTreeMap<(u64, Option<InstanceId>, u64), EventKind>,
}

impl Checker {
    fn take(&mut self, from: &ClientId, heard: &Heard) -> Result<(), String> {
        match heard {
            Heard::Torrent { issuer, event, .. } => {
                if issuer.client != *from {
                    return Err(format!("{} is named as the issuer", issuer.client));
                }
                self.take_torrent(from, event)
            }
            Heard::Tracker { envelope, event, .. } => {
                if event.kind().issuer() != Role::Tracker || !from.as_str().contains("tracker") {
                    return Err(format!("{} is for the tracker to say", event.kind()));
                }
                let is_change = matches!(
                    event.kind(),
                    EventKind::ClientRegistered
                        | EventKind::ClientUnregistered
                        | EventKind::FileInfoPublished
                        | EventKind::FileRemoved
                        | EventKind::FragmentDistributionEnded
                );
                if let (Some(epoch), Some(revision), true) = (envelope.epoch, envelope.revision, is_change)
                    && let Some(other) =
                        self.revisions.insert((epoch.0, envelope.instance, revision.0), event.kind())
                {
                    return Err(format!("revision {revision} of epoch {epoch} is also that of {other}"));
                }
                self.take_tracker(event)
            }
        }
    }

    fn take_torrent(&mut self, from: &ClientId, event: &TorrentEvent) -> Result<(), String> {
        match event {
            TorrentEvent::FragmentDistributionRequested(body) => {
                if !self.started.contains(&body.hash) {
                    return Err(format!("{:?} was not started", body.hash));
                }
                self.requested.insert((body.hash, from.clone()));
            }
            TorrentEvent::FragmentDistributionObtained(body) => {
                if !self.delivered.contains(&(body.hash, from.clone())) {
                    return Err(format!("{:?} was not delivered to it", body.hash));
                }
                self.obtained.insert((body.hash, from.clone()));
            }
            TorrentEvent::FragmentDistributionFailed(body) => {
                if !self.delivered.contains(&(body.hash, from.clone())) {
                    return Err(format!("{:?} was not delivered to it", body.hash));
                }
            }
            TorrentEvent::ClientJoinRequested(_)
            | TorrentEvent::ClientJoinSucceeded(_)
            | TorrentEvent::ClientJoinFailed(_)
            | TorrentEvent::ClientGoodbye(_)
            | TorrentEvent::ClientHeartbeat(_) => {}
        }
        Ok(())
    }

    fn take_tracker(&mut self, event: &TrackerEvent) -> Result<(), String> {
        match event {
            TrackerEvent::FragmentDistributionStarted(body) => drop(self.started.insert(body.hash)),
            TrackerEvent::FragmentDistributionDelivered(body) => {
                for receiver in &body.receivers {
                    if !self.requested.contains(&(body.hash, receiver.clone())) {
                        return Err(format!("{receiver} did not ask for {:?}", body.hash));
                    }
                    self.delivered.insert((body.hash, receiver.clone()));
                }
            }
            TrackerEvent::FragmentDistributionEnded(body) => {
                for receiver in &body.receivers {
                    if !self.obtained.contains(&(body.hash, receiver.clone())) {
                        return Err(format!("{receiver} did not obtain {:?}", body.hash));
                    }
                }
            }
            TrackerEvent::TrackerHello(_)
            | TrackerEvent::TrackerGoodbye(_)
            | TrackerEvent::ClientJoinAccepted(_)
            | TrackerEvent::ClientJoinDenied(_)
            | TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileInfoPublished(_)
            | TrackerEvent::FileRemoved(_) => {}
        }
        Ok(())
    }
}
