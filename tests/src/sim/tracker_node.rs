//! The shell of a real tracker machine: a disk, a connection, and the commands carried out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use distribution::rules::Rule;
use distribution::tracker::{FetchError, Memory};
use distribution::view::{Change, FileInfo, View};
use distribution::{Audience, Moment, RequestId, Tracker, TrackerCommand, TrackerConfig, TrackerInput};
use protocol::event::{FragmentDistributionDelivered, TrackerEnvelope, TrackerEvent, TrackerGoodbye};
use protocol::{ClientId, Epoch, EventId, EventKind, Hash, Heard, InstanceId, Revision, Topics};
use uuid::Uuid;

use super::broker::Publication;
use super::fetching::Fetch;
use super::fuse::{Blown, Fuse};
use super::rng::Rng;
use super::volume::Volume;

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub struct TrackerDisk {
    /// The highest epoch used.
    pub epoch: Epoch,
    /// The instance of the last connection.
    pub instance: Option<InstanceId>,
    /// Whether another tracker was in charge and what was deleted before is not forgotten yet.
    pub others_decided: bool,
    /// What else is remembered.
    pub memory: Memory,
    /// The view and the tracker's own fragments.
    pub volume: Volume,
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
    /// Whether its disk takes no more fragments.
    pub is_full: bool,
    /// Fragments that it wants from holders.
    pub fetches: Vec<Fetch>,
    /// Fragments whose bytes it got from holders: where nobody takes another copy it lets go of them again.
    pub fetched: BTreeSet<Hash>,
    /// Whether it may take several inputs in one turn of its event loop.
    pub gathers: bool,
    /// Whether a turn has begun.
    is_in_turn: bool,
    /// Whether it has forgotten what was deleted, since somebody looked.
    pub has_forgotten_deletions: bool,
    /// Where the process ends.
    pub fuse: Fuse,
    /// Fragments whose bytes it let go of and that nobody has looked at yet.
    pub deleted: Vec<Hash>,
    /// Fragments that its disk did not delete, and of which the machine does not know yet.
    not_deleted: Vec<Hash>,
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
            is_full: false,
            fetches: Vec::new(),
            fetched: BTreeSet::new(),
            gathers: false,
            is_in_turn: false,
            has_forgotten_deletions: false,
            fuse: Fuse::default(),
            deleted: Vec::new(),
            not_deleted: Vec::new(),
            checked: None,
        }
    }

    /// Starts the daemon on what the disk holds.
    pub fn start(&mut self, rng: &mut Rng) {
        self.disk.volume.restart();
        let own: Vec<Hash> = self.disk.volume.fragments.keys().copied().collect();
        let view = self.disk.volume.view.clone();
        self.disk.memory.may_have_forgotten |= Tracker::may_have_forgotten(&view, own.len());
        let machine = Tracker::new(self.config.clone(), view, own, self.disk.memory, rng.bytes());
        self.machine = Some(machine.expect("a view with the configured fragment size"));
        self.checked = None;
        self.stepped_down = None;
        self.fuse.replace();
    }

    /// The process ends at once.
    pub fn crash(&mut self) {
        self.machine = None;
        self.fetches.clear();
        self.is_in_turn = false;
        self.not_deleted.clear();
        self.disk.volume.crash();
    }

    /// The process ends at once, and of the changes that were not known to be on the disk, the first may be.
    pub fn fall(&mut self, rng: &mut Rng) {
        self.disk.volume.fall(BTreeMap::new(), rng);
        self.crash();
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
        with_overlap(self.topics.tracker_subscriptions(self.config.require_direct))
    }

    /// A new epoch above every one seen, durable, and a new instance: what a connection begins with.
    pub fn next_presence(&mut self, seen: Epoch, rng: &mut Rng) -> (Epoch, InstanceId, bool) {
        self.disk.others_decided |= seen > self.disk.epoch;
        self.disk.epoch = self.disk.epoch.max(seen).next();
        let random = Uuid::from_bytes(rng.bytes());
        let instance = self.disk.instance.map_or(InstanceId(random), |last| last.renewed(random));
        self.disk.instance = Some(instance);
        self.instance = Some(instance);
        (self.disk.epoch, instance, self.disk.others_decided)
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
        if self.is_full {
            self.outcomes.insert(request, Outcome::Refused("the disk is full".into()));
            return Vec::new();
        }
        for (fragment, data) in fragments {
            if self.fuse.point().is_err() {
                return Vec::new();
            }
            self.disk.volume.put(fragment, data);
            self.fetched.remove(&fragment);
        }
        let said = self.order(TrackerInput::FileUploaded { request, hash, file }, now);
        if let Some(Outcome::Refused(_)) = self.outcomes.get(&request) {
            let view = &self.disk.volume.view;
            let unused = wanted.into_iter().filter(|fragment| !view.is_in_a_file(fragment));
            let unused: Vec<Hash> = unused.collect();
            self.disk.volume.delete(&unused, false);
        }
        said
    }

    /// An event was heard.
    pub fn hear(&mut self, heard: Heard, now: Moment) -> Vec<Publication> {
        self.input(TrackerInput::Heard(heard), now)
    }

    /// A holder has given a fragment, or not.
    pub fn fetched(
        &mut self,
        fragment: Hash,
        source: ClientId,
        result: Result<Bytes, FetchError>,
        now: Moment,
    ) -> Vec<Publication> {
        if self.fuse.point().is_err() {
            return Vec::new();
        }
        let result = result.and_then(|data| {
            if self.is_full {
                return Err(FetchError::NotStored);
            }
            let is_right = Hash::of(&data) == fragment;
            if is_right {
                self.disk.volume.put(fragment, data);
                self.fetched.insert(fragment);
            }
            if is_right { Ok(()) } else { Err(FetchError::NotHeld) }
        });
        self.input(TrackerInput::Fetched { fragment, source, result }, now)
    }

    /// Everything is read: what has gone bad is found and set aside.
    pub fn scrub(&mut self, now: Moment) -> Vec<Publication> {
        let volume = &mut self.disk.volume;
        if volume.is_unreadable {
            return Vec::new();
        }
        let found = volume.rotten.iter().filter(|fragment| volume.fragments.contains_key(*fragment));
        let found: Vec<Hash> = found.copied().collect();
        volume.rotten.clear();
        volume.set_aside(&found);
        found.into_iter().flat_map(|fragment| self.unreadable(fragment, now)).collect()
    }

    fn unreadable(&mut self, fragment: Hash, now: Moment) -> Vec<Publication> {
        self.input(TrackerInput::FragmentUnreadable { fragment }, now)
    }

    /// Hands the machine an input, and carries out what follows unless more is gathered before.
    pub fn input(&mut self, input: TrackerInput, now: Moment) -> Vec<Publication> {
        let Some(machine) = &mut self.machine else { return Vec::new() };
        machine.handle(input, now);
        self.is_in_turn = true;
        if self.gathers { Vec::new() } else { self.end_turn(now) }
    }

    /// Hands the machine an input that somebody waits for: with it the turn ends.
    pub fn order(&mut self, input: TrackerInput, now: Moment) -> Vec<Publication> {
        let mut said = self.input(input, now);
        if self.is_in_turn {
            said.extend(self.end_turn(now));
        }
        said
    }

    /// Whether a turn has begun.
    #[must_use]
    pub const fn is_in_turn(&self) -> bool {
        self.is_in_turn
    }

    /// Carries out what follows from everything gathered.
    pub fn end_turn(&mut self, now: Moment) -> Vec<Publication> {
        self.is_in_turn = false;
        let (mut said, mut unreadable) = (Vec::new(), Vec::new());
        let mut ended = self.carry_out(&mut said, &mut unreadable, now);
        while ended.is_ok() && !self.not_deleted.is_empty() {
            let fragments = std::mem::take(&mut self.not_deleted);
            if let Some(machine) = &mut self.machine {
                machine.handle(TrackerInput::NotDeleted { fragments }, now);
            }
            ended = self.carry_out(&mut said, &mut unreadable, now);
        }
        if ended.is_err() {
            return said;
        }
        self.check();
        for fragment in unreadable {
            said.extend(self.unreadable(fragment, now));
        }
        said
    }

    /// In the order of the daemon: persist, flush once, and only then publish, answer and delete.
    fn carry_out(
        &mut self,
        said: &mut Vec<Publication>,
        unreadable: &mut Vec<Hash>,
        now: Moment,
    ) -> Result<(), Blown> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        let mut then = Vec::new();
        let (mut epoch_used, mut forgets) = (None, false);
        while let Some(command) = machine.next_command() {
            match command {
                TrackerCommand::Persist { changes, revision } => {
                    assert!(revision >= self.disk.volume.written_revision(), "{}: {revision} again", self.id);
                    forgets |= changes.contains(&Change::TombstonesForgotten);
                    self.disk.volume.write(changes, revision);
                }
                TrackerCommand::RememberEpoch { epoch } => epoch_used = Some(epoch),
                TrackerCommand::LeftoversDecided => self.disk.memory.may_have_forgotten = false,
                TrackerCommand::RememberDeletionsSince { epoch } => self.disk.memory.deletions_since = epoch,
                TrackerCommand::Say { .. }
                | TrackerCommand::Deliver { .. }
                | TrackerCommand::Discard { .. }
                | TrackerCommand::Fetch { .. }
                | TrackerCommand::Accepted { .. }
                | TrackerCommand::Refused { .. }
                | TrackerCommand::StepDown { .. } => then.push(command),
            }
        }
        let must_flush = epoch_used.is_some() || self.disk.volume.is_unflushed();
        if must_flush && Rule::DurableBeforeSaid.is_kept() {
            self.fuse.point()?;
            if let Some(epoch) = epoch_used {
                assert!(epoch > self.disk.epoch, "{}: {epoch} after {}", self.id, self.disk.epoch);
                (self.disk.epoch, self.disk.others_decided) = (epoch, true);
            }
            if self.disk.volume.flush(self.is_full).is_err() {
                return Err(self.fuse.blow());
            }
            if forgets {
                self.disk.others_decided = false;
                self.has_forgotten_deletions = true;
            }
            self.fuse.point()?;
        }
        then.into_iter().try_for_each(|command| self.carry_out_one(command, said, unreadable, now))
    }

    fn carry_out_one(
        &mut self,
        command: TrackerCommand,
        said: &mut Vec<Publication>,
        unreadable: &mut Vec<Hash>,
        now: Moment,
    ) -> Result<(), Blown> {
        match command {
            TrackerCommand::Persist { .. }
            | TrackerCommand::RememberEpoch { .. }
            | TrackerCommand::RememberDeletionsSince { .. }
            | TrackerCommand::LeftoversDecided => {}
            TrackerCommand::Say { to, envelope, event } => {
                self.fuse.point()?;
                let durable = self.disk.volume.view.revision();
                assert!(
                    envelope.revision.is_none_or(|revision| revision <= durable),
                    "{} says {envelope:?}, and {durable} is durable",
                    self.id
                );
                let kind = event.kind();
                let is_presence = matches!(kind, EventKind::TrackerHello | EventKind::TrackerGoodbye);
                let retain = is_presence && to == Audience::All;
                let payload = protocol::encode_tracker(&envelope, &event);
                said.push(Publication { topic: topic(&self.topics, kind, &to), payload, retain });
            }
            TrackerCommand::Deliver { to, envelope, fragment, receivers, is_repeated: _ } => {
                self.fuse.point()?;
                if self.disk.volume.is_unreadable {
                    return Ok(());
                }
                if self.disk.volume.rotten.contains(&fragment) {
                    self.disk.volume.set_aside(&[fragment]);
                }
                let Some(data) = self.disk.volume.fragments.get(&fragment).cloned() else {
                    unreadable.push(fragment);
                    return Ok(());
                };
                let body = FragmentDistributionDelivered { hash: fragment, data, receivers };
                let payload = protocol::encode_tracker(&envelope, &body.into());
                for to in &to {
                    let topic = topic(&self.topics, EventKind::FragmentDistributionDelivered, to);
                    said.push(Publication { topic, payload: payload.clone(), retain: false });
                }
            }
            TrackerCommand::Discard { fragments } => {
                self.fuse.point()?;
                let (gone, left) = self.disk.volume.delete(&fragments, self.is_full);
                self.discarded.extend(&gone);
                self.deleted.extend(gone);
                self.not_deleted.extend(left);
                self.fuse.point()?;
            }
            TrackerCommand::Fetch { fragment, source, .. } => {
                self.fetches.push(Fetch::new(fragment, source, now));
            }
            TrackerCommand::Accepted { request } => {
                self.fuse.point()?;
                self.outcomes.insert(request, Outcome::Accepted);
            }
            TrackerCommand::Refused { request, reason } => {
                self.outcomes.insert(request, Outcome::Refused(reason.to_string()));
            }
            TrackerCommand::StepDown { epoch, .. } => self.stepped_down = Some(epoch),
        }
        Ok(())
    }

    fn check(&mut self) {
        let Some(machine) = &self.machine else { return };
        let (mine, persisted) = (machine.view(), &self.disk.volume.view);
        let now = (mine.revision(), mine.digest());
        assert_eq!(now, (persisted.revision(), persisted.digest()), "{}: memory, disk", self.id);
        if self.checked.replace(now) != Some(now) && is_checked_in_full(mine) {
            mine.check_invariants().unwrap_or_else(|violation| panic!("{}: {violation}", self.id));
            assert!(mine == persisted, "{}: what was persisted does not reproduce the view", self.id);
        }
    }
}

/// These subscriptions, of which no two fit the same topic (Q1). Without that rule there is one more, which fits all.
pub(super) fn with_overlap(mut subscriptions: Vec<String>) -> Vec<String> {
    if !Rule::SubscriptionsAreDisjoint.is_kept() {
        subscriptions.push("#".to_owned());
    }
    subscriptions
}

fn topic(topics: &Topics, kind: EventKind, to: &Audience) -> String {
    match to {
        Audience::All => topics.shared(kind),
        Audience::One(client) => topics.direct(kind, client),
    }
}

/// The larger a view, the fewer of its revisions are looked through: it would cost more than all else together.
pub(super) fn is_checked_in_full(view: &View) -> bool {
    let every = 1 + view.fragment_count() as u64 / 6;
    view.revision().0.is_multiple_of(every)
}
