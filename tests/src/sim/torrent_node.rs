//! The shell of a real torrent machine: a disk, a connection, and the commands carried out.
//!
//! The disk survives a crash; bytes that are still being written do not, and neither do changes of the view that no promise rests on yet:
//! the daemon gathers those until its next heartbeat or join. Or some of both do: nobody knows what a disk has done before it is asked.
//! What was persisted is replayed into a second view, which must equal the machine's own after every step.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use distribution::limits::TorrentLimits;
use distribution::rules::Rule;
use distribution::torrent::{Notice, RememberedTracker};
use distribution::view::{Change, View};
use distribution::{Moment, Torrent, TorrentCommand, TorrentConfig, TorrentInput};
use protocol::event::{ClientGoodbye, TorrentEnvelope, TorrentEvent, reason};
use protocol::{
    ClientId, EndpointUri, EventId, EventKind, Hash, Heard, Incarnation, InstanceId, Revision, Topics, Zone,
};
use uuid::Uuid;

use super::broker::Publication;
use super::fuse::{Blown, Fuse};
use super::rng::Rng;
use super::tracker_node::{is_checked_in_full, with_overlap};
use super::volume::Volume;

/// How the disk behaves when a fragment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Durable after at most this long.
    Within(Duration),
    /// Every write fails.
    Fail,
}

/// What survives a crash.
#[derive(Debug, Clone)]
pub struct TorrentDisk {
    /// Made with the data directory.
    pub instance: InstanceId,
    /// Starts so far.
    pub incarnation: Incarnation,
    /// The view and the fragments.
    pub volume: Volume,
    /// The tracker in charge.
    pub remembered: RememberedTracker,
}

#[derive(Debug)]
struct Write {
    fragment: Hash,
    data: Bytes,
    done: Moment,
}

/// What a torrent is started with.
#[derive(Debug, Clone)]
pub struct TorrentSetup {
    /// Where it can be asked for fragments.
    pub endpoints: BTreeSet<EndpointUri>,
    /// How many bytes it may store.
    pub capacity_bytes: u64,
    /// Its failure domain.
    pub zone: Option<Zone>,
    /// Bounds of the work.
    pub limits: TorrentLimits,
}

/// A torrent, running or not.
#[derive(Debug)]
pub struct TorrentNode {
    id: ClientId,
    topics: Topics,
    /// With which it starts next.
    pub setup: TorrentSetup,
    /// What survives.
    pub disk: TorrentDisk,
    /// How its disk behaves.
    pub writes: Writes,
    machine: Option<Torrent>,
    under_way: Vec<Write>,
    /// The view with the changes that are not durable yet.
    written: View,
    /// Whether it may take several inputs in one turn of its event loop.
    pub gathers: bool,
    /// Whether a turn has begun.
    is_in_turn: bool,
    /// Fragments that went in this turn, after something that is said at its end may have named them.
    gone_in_turn: BTreeSet<Hash>,
    /// Where the process ends.
    pub fuse: Fuse,
    /// Fragments that it deleted on an order and that nobody has looked at yet.
    pub deleted: Vec<Hash>,
    /// Fragments that its disk did not delete, and of which the machine does not know yet.
    not_deleted: Vec<Hash>,
    /// What it told the operator, since ever.
    pub notices: Vec<Notice>,
    checked: Option<(Revision, Hash)>,
}

impl TorrentNode {
    /// A torrent with an empty data directory that is not running.
    #[must_use]
    pub fn new(id: &ClientId, topics: &Topics, rng: &mut Rng) -> Self {
        let endpoint = format!("grpc://{id}:4700").parse().expect("an endpoint");
        let setup = TorrentSetup {
            endpoints: BTreeSet::from([endpoint]),
            capacity_bytes: 1 << 30,
            zone: None,
            limits: TorrentLimits::default(),
        };
        Self {
            id: id.clone(),
            topics: topics.clone(),
            setup,
            disk: Self::empty_disk(rng),
            writes: Writes::Within(Duration::from_millis(2)),
            machine: None,
            under_way: Vec::new(),
            written: View::new(),
            gathers: false,
            is_in_turn: false,
            gone_in_turn: BTreeSet::new(),
            fuse: Fuse::default(),
            deleted: Vec::new(),
            not_deleted: Vec::new(),
            notices: Vec::new(),
            checked: None,
        }
    }

    /// A new data directory.
    #[must_use]
    pub fn empty_disk(rng: &mut Rng) -> TorrentDisk {
        TorrentDisk {
            instance: InstanceId(Uuid::from_bytes(rng.bytes())),
            incarnation: Incarnation(0),
            volume: Volume::default(),
            remembered: RememberedTracker::default(),
        }
    }

    /// Starts the daemon on what the disk holds.
    pub fn start(&mut self, rng: &mut Rng) {
        self.disk.incarnation = self.disk.incarnation.next();
        let config = TorrentConfig {
            client: self.id.clone(),
            instance: self.disk.instance,
            incarnation: self.disk.incarnation,
            endpoints: self.setup.endpoints.clone(),
            capacity_bytes: self.setup.capacity_bytes,
            zone: self.setup.zone.clone(),
            limits: self.setup.limits,
        };
        self.disk.volume.restart();
        let stored: Vec<(Hash, u64)> =
            self.disk.volume.fragments.iter().map(|(hash, data)| (*hash, data.len() as u64)).collect();
        let (view, remembered) = (self.disk.volume.view.clone(), self.disk.remembered);
        self.written = view.clone();
        self.fuse.replace();
        self.machine = Some(Torrent::new(config, view, stored, remembered, rng.bytes()));
        self.checked = None;
    }

    /// The process ends at once, and nothing has reached the disk that was not known to have.
    pub fn crash(&mut self) {
        self.machine = None;
        self.under_way.clear();
        self.is_in_turn = false;
        self.gone_in_turn.clear();
        self.not_deleted.clear();
        self.disk.volume.crash();
    }

    /// The process ends at once, and of what was not known to be on the disk, anything may be: the first of the changes, any of the writes.
    pub fn fall(&mut self, rng: &mut Rng) {
        let under_way = std::mem::take(&mut self.under_way).into_iter();
        let may_be_there =
            |write: &Write| self.writes != Writes::Fail && Hash::of(&write.data) == write.fragment;
        let under_way = under_way.filter(may_be_there);
        let under_way = under_way.map(|write| (write.fragment, write.data)).collect();
        self.disk.volume.fall(under_way, rng);
        self.crash();
    }

    /// The machine, if it runs.
    #[must_use]
    pub const fn running(&self) -> Option<&Torrent> {
        self.machine.as_ref()
    }

    /// The machine, which must be running.
    #[must_use]
    pub fn machine(&self) -> &Torrent {
        self.machine.as_ref().unwrap_or_else(|| panic!("{} is not running", self.id))
    }

    /// What it subscribes to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        with_overlap(self.topics.torrent_subscriptions(&self.id))
    }

    /// Its Last Will.
    #[must_use]
    pub fn will(&self, rng: &mut Rng) -> Publication {
        let envelope = TorrentEnvelope {
            event_id: EventId(Uuid::from_bytes(rng.bytes())),
            client_identifier: Some(self.id.clone()),
            instance: Some(self.disk.instance),
            incarnation: Some(self.disk.incarnation),
            registration: None,
            in_reply_to: None,
        };
        let goodbye = ClientGoodbye { reason: Some(reason::CONNECTION_LOST.to_owned()) };
        let payload = protocol::encode_torrent(&envelope, &TorrentEvent::from(goodbye));
        Publication { topic: self.topics.shared(EventKind::ClientGoodbye), payload, retain: false }
    }

    /// Hands the machine an input, and carries out what follows unless more is gathered before.
    pub fn input(&mut self, input: TorrentInput, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        let Some(machine) = &mut self.machine else { return Vec::new() };
        machine.handle(input, now);
        self.is_in_turn = true;
        if self.gathers { Vec::new() } else { self.end_turn(now, rng) }
    }

    /// Hands the machine an input with which the turn ends.
    pub fn order(&mut self, input: TorrentInput, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        let mut said = self.input(input, now, rng);
        if self.is_in_turn {
            said.extend(self.end_turn(now, rng));
        }
        said
    }

    /// Whether a turn has begun.
    #[must_use]
    pub const fn is_in_turn(&self) -> bool {
        self.is_in_turn
    }

    /// An event was heard.
    pub fn hear(&mut self, heard: Heard, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        self.input(TorrentInput::Heard(heard), now, rng)
    }

    /// The bytes of these fragments go bad: the store finds it and sets them aside, and the machine is told.
    pub fn damage(&mut self, fragments: &[Hash], now: Moment, rng: &mut Rng) -> Vec<Publication> {
        self.disk.volume.set_aside(fragments);
        self.gone_in_turn.extend(fragments);
        self.input(TorrentInput::Damaged { fragments: fragments.to_vec() }, now, rng)
    }

    /// Everything is read: what has gone bad is found.
    pub fn scrub(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        let volume = &self.disk.volume;
        let found: Vec<Hash> = volume.rotten.iter().copied().collect();
        if found.is_empty() || volume.is_unreadable { Vec::new() } else { self.damage(&found, now, rng) }
    }

    /// When the next write is done.
    #[must_use]
    pub fn next_write(&self) -> Option<Moment> {
        self.under_way.iter().map(|write| write.done).min()
    }

    /// Ends a write that is due, if there is one.
    pub fn end_write(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        let Some(place) = self.under_way.iter().position(|write| write.done <= now) else {
            return Vec::new();
        };
        let Write { fragment, data, .. } = self.under_way.remove(place);
        let (volume, size_bytes) = (&mut self.disk.volume, data.len() as u64);
        let result = if Hash::of(&data) != fragment && Rule::BytesAreChecked.is_kept() {
            Err("the bytes do not match the hash".to_owned())
        } else {
            let is_stored = match self.writes {
                Writes::Within(_) => volume.put(fragment, data),
                Writes::Fail => volume.put_on_failing_disk(fragment, data, rng),
            };
            is_stored.then_some(size_bytes).ok_or_else(|| "the disk is full".to_owned())
        };
        self.input(TorrentInput::Stored { fragment, result }, now, rng)
    }

    /// Whether a write is under way.
    #[must_use]
    pub const fn is_writing(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Carries out what follows from everything gathered.
    pub fn end_turn(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        self.is_in_turn = false;
        let mut said = Vec::new();
        let mut ended = self.carry_out(now, rng, &mut said);
        while ended.is_ok() && !self.not_deleted.is_empty() {
            let fragments = std::mem::take(&mut self.not_deleted);
            if let Some(machine) = &mut self.machine {
                machine.handle(TorrentInput::NotDeleted { fragments }, now);
            }
            ended = self.carry_out(now, rng, &mut said);
        }
        if ended.is_ok() {
            self.check();
        }
        self.gone_in_turn.clear();
        said
    }

    /// In the order of the daemon: persist and store, flush once where a promise rests on it, and only then publish.
    fn carry_out(&mut self, now: Moment, rng: &mut Rng, said: &mut Vec<Publication>) -> Result<(), Blown> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        while let Some(notice) = machine.next_notice() {
            self.notices.push(notice);
        }
        let commands: Vec<TorrentCommand> = std::iter::from_fn(|| machine.next_command()).collect();
        let (mut to_say, mut must_flush) = (Vec::new(), false);
        for command in commands {
            match command {
                TorrentCommand::Persist { changes, revision } => {
                    self.move_stored(&changes)?;
                    self.write(changes, revision);
                }
                TorrentCommand::RememberTracker { tracker } => {
                    self.fuse.point()?;
                    self.remember(tracker);
                    must_flush = true;
                }
                TorrentCommand::Say { direct, envelope, event } => {
                    must_flush |= rests_on_the_view(event.kind());
                    to_say.push((direct, envelope, event));
                }
                TorrentCommand::Store { fragment, data } => {
                    let done = match self.writes {
                        Writes::Within(longest) => now + rng.wait(longest),
                        Writes::Fail => now,
                    };
                    self.under_way.push(Write { fragment, data, done });
                }
                TorrentCommand::Delete { fragments } => {
                    // The view that no longer needs them is durable before they go.
                    self.flush()?;
                    self.fuse.point()?;
                    let (gone, left) = self.disk.volume.delete(&fragments, self.writes == Writes::Fail);
                    self.gone_in_turn.extend(&gone);
                    self.deleted.extend(gone);
                    self.not_deleted.extend(left);
                    self.fuse.point()?;
                }
            }
        }
        if must_flush && Rule::DurableBeforeSaid.is_kept() {
            self.flush()?;
        }
        for (direct, envelope, event) in to_say {
            self.fuse.point()?;
            self.check_promise(&event);
            let kind = event.kind();
            let topic = if direct { self.topics.direct(kind, &self.id) } else { self.topics.shared(kind) };
            let payload = protocol::encode_torrent(&envelope, &event);
            said.push(Publication { topic, payload, retain: false });
        }
        Ok(())
    }

    /// What no longer is staged stays where it is (S17). Without that rule it is taken from there and put elsewhere.
    fn move_stored(&mut self, changes: &[Change]) -> Result<(), Blown> {
        if Rule::NothingIsMoved.is_kept() {
            return Ok(());
        }
        for change in changes {
            if let Change::FragmentDistributed { hash, receivers, .. } = change
                && receivers.contains(&self.id)
                && let Some(data) = self.disk.volume.fragments.get(hash).cloned()
            {
                self.disk.volume.delete(&[*hash], false);
                self.fuse.point()?;
                self.disk.volume.put(*hash, data);
            }
        }
        Ok(())
    }

    fn write(&mut self, changes: Vec<Change>, revision: Revision) {
        for change in &changes {
            let applied = self.written.apply(change);
            assert!(applied.is_ok(), "{}: {change:?} cannot be replayed: {applied:?}", self.id);
        }
        self.written.set_revision(revision);
        self.disk.volume.write(changes, revision);
    }

    fn remember(&mut self, remembered: RememberedTracker) {
        let before = self.disk.remembered;
        assert!(
            !Rule::OlderTrackersAreIgnored.is_kept()
                || (remembered.epoch, remembered.instance) >= (before.epoch, before.instance),
            "{}: {remembered:?} after {before:?}",
            self.id
        );
        self.disk.remembered = remembered;
    }

    fn flush(&mut self) -> Result<(), Blown> {
        self.fuse.point()?;
        if self.disk.volume.flush(self.writes == Writes::Fail).is_err() {
            return Err(self.fuse.blow());
        }
        self.fuse.point()
    }

    /// What is said of the disk is so (L3), and what others count on is durable (L2).
    fn check_promise(&self, event: &TorrentEvent) {
        match event {
            TorrentEvent::FragmentDistributionObtained(body) => {
                assert!(self.has_or_had_in_turn(&body.hash), "{} says that it has {:?}", self.id, body.hash);
            }
            TorrentEvent::ClientJoinRequested(body) => {
                let missing = body.stored_fragments.keys().find(|hash| !self.has_or_had_in_turn(hash));
                assert!(missing.is_none(), "{} lists {missing:?}", self.id);
            }
            TorrentEvent::ClientHeartbeat(body) => {
                let durable = self.disk.volume.view.revision();
                assert!(
                    body.revision <= durable,
                    "{} confirms {}, and {durable} is durable",
                    self.id,
                    body.revision
                );
            }
            TorrentEvent::ClientJoinSucceeded(_)
            | TorrentEvent::ClientJoinFailed(_)
            | TorrentEvent::ClientGoodbye(_)
            | TorrentEvent::FragmentDistributionRequested(_)
            | TorrentEvent::FragmentDistributionFailed(_) => {}
        }
    }

    fn has_or_had_in_turn(&self, fragment: &Hash) -> bool {
        self.disk.volume.fragments.contains_key(fragment) || self.gone_in_turn.contains(fragment)
    }

    fn check(&mut self) {
        let Some(machine) = &self.machine else { return };
        let (mine, persisted) = (machine.view(), &self.written);
        let now = (mine.revision(), mine.digest());
        assert_eq!(now, (persisted.revision(), persisted.digest()), "{}: memory, disk", self.id);
        let on_disk = self.disk.volume.fragments.keys();
        let (held, left): (Vec<&Hash>, Vec<&Hash>) = on_disk.partition(|fragment| machine.stores(fragment));
        assert_eq!(machine.stored_count(), held.len() as u64, "{}: inventory, disk", self.id);
        let forgotten = left.iter().find(|fragment| !machine.is_undeleted(fragment));
        assert!(forgotten.is_none(), "{}: {forgotten:?} is on the disk, and forgotten", self.id);
        if self.checked.replace(now) != Some(now) && is_checked_in_full(mine) {
            mine.check_invariants().unwrap_or_else(|violation| panic!("{}: {violation}", self.id));
            assert!(mine == persisted, "{}: what was persisted does not reproduce the view", self.id);
        }
    }
}

/// Whether others count on the torrent's view being durable when they hear this.
fn rests_on_the_view(kind: EventKind) -> bool {
    matches!(kind, EventKind::ClientHeartbeat | EventKind::ClientJoinSucceeded)
}
