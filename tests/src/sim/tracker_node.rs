//! The shell of a real tracker machine: a disk, a connection, and the commands carried out.

use std::collections::BTreeMap;

use bytes::Bytes;
use distribution::view::{FileInfo, View};
use distribution::{Audience, Moment, RequestId, Tracker, TrackerCommand, TrackerConfig, TrackerInput};
use protocol::event::{FragmentDistributionDelivered, TrackerEnvelope, TrackerEvent, TrackerGoodbye};
use protocol::{ClientId, Epoch, EventId, EventKind, Hash, Heard, InstanceId, Revision, Topics};
use uuid::Uuid;

use super::broker::Publication;
use super::fetching::Fetch;
use super::rng::Rng;

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct TrackerDisk {
    /// The highest epoch used.
    pub epoch: Epoch,
    /// The view as it was persisted.
    pub view: View,
    /// The tracker's own bytes.
    pub fragments: BTreeMap<Hash, Bytes>,
}

/// How a request of the tracker's API ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file is accepted.
    Accepted,
    /// It is not, and why.
    Refused(String),
}

/// A tracker, running or not.
#[derive(Debug)]
pub struct TrackerNode {
    id: ClientId,
    topics: Topics,
    /// With which it starts next.
    pub config: TrackerConfig,
    /// What survives.
    pub disk: TrackerDisk,
    machine: Option<Tracker>,
    instance: Option<InstanceId>,
    /// What became of the requests.
    pub outcomes: BTreeMap<RequestId, Outcome>,
    /// Who displaced it.
    pub stepped_down: Option<Epoch>,
    /// Fragments whose bytes it let go of, since ever.
    pub discarded: Vec<Hash>,
    /// Fragments that it wants from holders.
    pub fetches: Vec<Fetch>,
    checked: Option<(Revision, Hash)>,
}

impl TrackerNode {
    /// A tracker with an empty data directory that is not running.
    #[must_use]
    pub fn new(id: &ClientId, topics: &Topics, config: TrackerConfig) -> Self {
        Self {
            id: id.clone(),
            topics: topics.clone(),
            config,
            disk: TrackerDisk::default(),
            machine: None,
            instance: None,
            outcomes: BTreeMap::new(),
            stepped_down: None,
            discarded: Vec::new(),
            fetches: Vec::new(),
            checked: None,
        }
    }

    /// Starts the daemon on what the disk holds.
    pub fn start(&mut self, rng: &mut Rng) {
        let own: Vec<Hash> = self.disk.fragments.keys().copied().collect();
        let machine = Tracker::new(self.config.clone(), self.disk.view.clone(), own, rng.bytes());
        self.machine = Some(machine.expect("a view with the configured fragment size"));
        self.checked = None;
    }

    /// The process ends at once.
    pub fn crash(&mut self) {
        self.machine = None;
        self.fetches.clear();
    }

    /// The machine, if it runs.
    #[must_use]
    pub const fn running(&self) -> Option<&Tracker> {
        self.machine.as_ref()
    }

    /// The machine, which must be running.
    #[must_use]
    pub fn machine(&self) -> &Tracker {
        self.machine.as_ref().unwrap_or_else(|| panic!("{} is not running", self.id))
    }

    /// What it subscribes to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        self.topics.tracker_subscriptions(self.config.require_direct)
    }

    /// A new epoch above every one seen, durable, and a new instance: what a connection begins with.
    pub fn next_presence(&mut self, seen: Epoch, rng: &mut Rng) -> (Epoch, InstanceId) {
        self.disk.epoch = self.disk.epoch.max(seen).next();
        let instance = InstanceId(Uuid::from_bytes(rng.bytes()));
        self.instance = Some(instance);
        (self.disk.epoch, instance)
    }

    /// Its Last Will.
    #[must_use]
    pub fn will(&self, rng: &mut Rng) -> Publication {
        let envelope = TrackerEnvelope {
            event_id: EventId(Uuid::from_bytes(rng.bytes())),
            epoch: Some(self.disk.epoch),
            instance: self.instance,
            revision: None,
            in_reply_to: None,
        };
        let payload = protocol::encode_tracker(&envelope, &TrackerEvent::from(TrackerGoodbye {}));
        Publication { topic: self.topics.shared(EventKind::TrackerGoodbye), payload, retain: true }
    }

    /// An upload has ended: the bytes are durable, and the machine is told.
    pub fn upload(
        &mut self,
        request: RequestId,
        hash: Hash,
        file: FileInfo,
        fragments: impl IntoIterator<Item = (Hash, Bytes)>,
        now: Moment,
    ) -> Vec<Publication> {
        let wanted: Vec<Hash> = file.fragments.to_vec();
        self.disk.fragments.extend(fragments);
        let said = self.input(TrackerInput::FileUploaded { request, hash, file }, now);
        if let Some(Outcome::Refused(_)) = self.outcomes.get(&request) {
            let view = &self.disk.view;
            let unused = wanted.iter().filter(|fragment| !view.is_in_a_file(fragment));
            unused.for_each(|fragment| drop(self.disk.fragments.remove(fragment)));
        }
        said
    }

    /// An event was heard.
    pub fn hear(&mut self, heard: Heard, now: Moment) -> Vec<Publication> {
        self.input(TrackerInput::Heard(heard), now)
    }

    /// Hands the machine an input and carries out what follows.
    pub fn input(&mut self, input: TrackerInput, now: Moment) -> Vec<Publication> {
        let Some(machine) = &mut self.machine else { return Vec::new() };
        machine.handle(input, now);
        let mut said = Vec::new();
        let mut unreadable = Vec::new();
        while let Some(command) = machine.next_command() {
            match command {
                TrackerCommand::Persist { changes, revision } => {
                    assert!(revision >= self.disk.view.revision(), "{}: {revision} again", self.id);
                    for change in &changes {
                        let applied = self.disk.view.apply(change);
                        assert!(applied.is_ok(), "{}: {change:?} cannot be replayed: {applied:?}", self.id);
                    }
                    self.disk.view.set_revision(revision);
                }
                TrackerCommand::RememberEpoch { epoch } => {
                    assert!(epoch > self.disk.epoch, "{}: {epoch} after {}", self.id, self.disk.epoch);
                    self.disk.epoch = epoch;
                }
                TrackerCommand::Say { to, envelope, event } => {
                    let kind = event.kind();
                    let is_presence = matches!(kind, EventKind::TrackerHello | EventKind::TrackerGoodbye);
                    let retain = is_presence && to == Audience::All;
                    let payload = protocol::encode_tracker(&envelope, &event);
                    said.push(Publication { topic: topic(&self.topics, kind, &to), payload, retain });
                }
                TrackerCommand::Deliver { to, envelope, fragment, receivers, is_repeated: _ } => {
                    let Some(data) = self.disk.fragments.get(&fragment).cloned() else {
                        unreadable.push(fragment);
                        continue;
                    };
                    let body = FragmentDistributionDelivered { hash: fragment, data, receivers };
                    let payload = protocol::encode_tracker(&envelope, &body.into());
                    for to in &to {
                        let topic = topic(&self.topics, EventKind::FragmentDistributionDelivered, to);
                        said.push(Publication { topic, payload: payload.clone(), retain: false });
                    }
                }
                TrackerCommand::Discard { fragments } => {
                    for fragment in fragments {
                        self.disk.fragments.remove(&fragment);
                        self.discarded.push(fragment);
                    }
                }
                TrackerCommand::Fetch { fragment, endpoints, .. } => {
                    self.fetches.push(Fetch::new(fragment, &endpoints, now));
                }
                TrackerCommand::Accepted { request } => {
                    self.outcomes.insert(request, Outcome::Accepted);
                }
                TrackerCommand::Refused { request, reason } => {
                    self.outcomes.insert(request, Outcome::Refused(reason.to_string()));
                }
                TrackerCommand::StepDown { epoch, .. } => self.stepped_down = Some(epoch),
            }
        }
        self.check();
        for fragment in unreadable {
            said.extend(self.input(TrackerInput::FragmentUnreadable { fragment }, now));
        }
        said
    }

    fn check(&mut self) {
        let Some(machine) = &self.machine else { return };
        let (mine, persisted) = (machine.view(), &self.disk.view);
        let now = (mine.revision(), mine.digest());
        assert_eq!(now, (persisted.revision(), persisted.digest()), "{}: memory, disk", self.id);
        if self.checked.replace(now) != Some(now) && is_checked_in_full(mine) {
            mine.check_invariants().unwrap_or_else(|violation| panic!("{}: {violation}", self.id));
            assert!(mine == persisted, "{}: what was persisted does not reproduce the view", self.id);
        }
    }
}

fn topic(topics: &Topics, kind: EventKind, to: &Audience) -> String {
    match to {
        Audience::All => topics.shared(kind),
        Audience::One(client) => topics.direct(kind, client),
    }
}

/// The larger a view, the fewer of its revisions are looked through: it would cost more than all else together.
pub(super) fn is_checked_in_full(view: &View) -> bool {
    let every = 1 + view.fragment_count() as u64 / 16;
    view.revision().0.is_multiple_of(every)
}
