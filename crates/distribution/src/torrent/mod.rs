//! A torrent: keeps its view equal to the tracker's, stores the fragments that fall to it, and says so.
//!
//! The same three verbs as the tracker's: [`Torrent::handle`], [`Torrent::next_command`], [`Torrent::poll_timeout`].
//!
//! One file a conversation: `presence` (which tracker is in charge), `join`, `log` (changes in order), `fragments`, `lease`.

mod fragments;
mod join;
mod lease;
mod log;
mod presence;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::event::{ClientGoodbye, TorrentEnvelope, TorrentEvent, TrackerEvent, reason};
use protocol::{ClientId, EndpointUri, Epoch, EventId, Feature, Hash, Heard, Incarnation, InstanceId, Zone};

use crate::command::TorrentCommand;
use crate::copies::Copies;
use crate::ids::Draw;
use crate::limits::TorrentLimits;
use crate::time::Moment;
use crate::undeleted::Undeleted;
use crate::view::View;

use fragments::Holdings;
use join::Membership;
use log::Log;
use presence::KnownTracker;

/// What a torrent is told at its start and never again.
#[derive(Debug, Clone)]
pub struct TorrentConfig {
    /// Its MQTT client identifier.
    pub client: ClientId,
    /// Its data directory.
    pub instance: InstanceId,
    /// How often it has started with this data directory.
    pub incarnation: Incarnation,
    /// Where it can be asked for fragments.
    pub endpoints: BTreeSet<EndpointUri>,
    /// How many bytes of fragments it may store.
    pub capacity_bytes: u64,
    /// The failure domain it stands in.
    pub zone: Option<Zone>,
    /// Bounds of the work.
    pub limits: TorrentLimits,
}

/// The tracker that a torrent remembers from its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RememberedTracker {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its run.
    pub instance: Option<InstanceId>,
    /// How many copies it aims at, if told (0 means every torrent).
    pub copies: Option<u64>,
    /// The run of the tracker that registered this torrent last; [`InstanceId::NONE`] if that knows only the specification.
    pub registered_by: Option<InstanceId>,
    /// The epoch of that tracker then.
    pub registered_epoch: Option<Epoch>,
}

/// What happens to a torrent.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an input is handled at once: none is ever kept")]
pub enum TorrentInput {
    /// The bus is there: connected and subscribed.
    Connected,
    /// The bus is gone.
    ConnectionLost,
    /// An event was heard.
    Heard(Heard),
    /// The bytes of [`TorrentCommand::Store`] are checked and durable, or why not.
    Stored {
        /// The fragment.
        fragment: Hash,
        /// Its size in bytes, or the reason for people.
        result: Result<u64, String>,
    },
    /// The bytes of these fragments do not match their hashes any more: they are set aside and no longer in the torrent's store.
    Damaged {
        /// The fragments; those that are not here any more do not matter.
        fragments: Vec<Hash>,
    },
    /// The disk did not delete these fragments: they are still in the torrent's store.
    NotDeleted {
        /// The fragments.
        fragments: Vec<Hash>,
    },
    /// Time has passed.
    Tick,
    /// The torrent shuts down.
    ShutDown,
}

/// What happened that an operator wants to read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The torrent is registered.
    Registered,
    /// It no longer is, and why.
    Unregistered(&'static str),
    /// It may not join: what the tracker said.
    Denied(String),
    /// Nobody answered the join.
    NoAnswer,
    /// The view cannot follow the tracker's changes, so the torrent joins again: what does not fit.
    OutOfStep(String),
    /// These fragments were damaged and are no longer here; the next join tells the tracker.
    Damaged(Vec<Hash>),
}

/// The torrent's state machine. See the module's header.
#[derive(Debug)]
pub struct Torrent {
    config: TorrentConfig,
    view: View,
    tracker: KnownTracker,
    membership: Membership,
    log: Log,
    holdings: Holdings,
    undeleted: Undeleted,
    draw: Draw,
    commands: VecDeque<TorrentCommand>,
    notices: VecDeque<Notice>,
}

impl Torrent {
    /// A torrent that has this view and, in its own store, these fragments with their sizes in bytes. `seed` is fresh for every run.
    pub fn new(
        config: TorrentConfig,
        view: View,
        stored: impl IntoIterator<Item = (Hash, u64)>,
        remembered: RememberedTracker,
        seed: [u8; 16],
    ) -> Self {
        Self {
            config,
            view,
            tracker: KnownTracker::remembered(remembered),
            membership: Membership::default(),
            log: Log::default(),
            holdings: Holdings::new(stored),
            undeleted: Undeleted::default(),
            draw: Draw::new(seed),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: TorrentInput, now: Moment) {
        match input {
            TorrentInput::Connected => self.handle_connected(now),
            TorrentInput::ConnectionLost => self.handle_connection_lost(),
            TorrentInput::Heard(Heard::Tracker { envelope, direct, event }) => {
                if self.is_in_charge(&envelope, &event) {
                    self.tracker.heard(now);
                    self.handle_tracker(&envelope, direct, event, now);
                } else {
                    self.handle_lower_tracker(&event, now);
                }
            }
            TorrentInput::Heard(Heard::Torrent { issuer, event, .. }) => {
                if let TorrentEvent::ClientGoodbye(_) = event
                    && issuer.client != self.config.client
                {
                    self.handle_peer_goodbye(issuer.client, now);
                }
            }
            TorrentInput::Stored { fragment, result } => self.handle_stored(fragment, result, now),
            TorrentInput::Damaged { fragments } => self.handle_damaged(fragments, now),
            TorrentInput::NotDeleted { fragments } => self.handle_not_deleted(fragments, now),
            TorrentInput::Tick => {}
            TorrentInput::ShutDown => self.handle_shut_down(),
        }
        self.poll(now);
    }

    fn handle_tracker(
        &mut self,
        envelope: &protocol::event::TrackerEnvelope,
        direct: bool,
        event: TrackerEvent,
        now: Moment,
    ) {
        match event {
            TrackerEvent::TrackerHello(hello) => self.handle_hello(envelope, direct, &hello, now),
            TrackerEvent::TrackerGoodbye(_) => self.handle_tracker_goodbye(envelope, now),
            TrackerEvent::ClientJoinAccepted(answer) => self.handle_accepted(envelope, answer, now),
            TrackerEvent::ClientJoinDenied(denied) => self.handle_denied(envelope, denied, now),
            TrackerEvent::FragmentDistributionStarted(started) => {
                self.handle_started(envelope.event_id, &started, now);
            }
            TrackerEvent::FragmentDistributionDelivered(delivered) => {
                self.handle_delivered(envelope.event_id, delivered);
            }
            TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileInfoPublished(_)
            | TrackerEvent::FileRemoved(_)
            | TrackerEvent::FragmentDistributionEnded(_) => self.handle_change(envelope, event, now),
        }
    }

    fn poll(&mut self, now: Moment) {
        self.poll_join(now);
        self.poll_log(now);
        self.poll_lease(now);
        self.poll_tracker_silence(now);
        self.poll_undeleted(now);
        self.holdings.expire_reservations(now);
    }

    /// When [`TorrentInput::Tick`] is due; none while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let gap = self.log.gap_deadline(&self.config.limits);
        let own = [self.holdings.next_expiry(), self.undeleted.next_due(), self.tracker_silence_deadline()];
        [self.membership.deadline(), gap].into_iter().chain(own).flatten().min()
    }

    /// What to do next; none when all is done.
    pub fn next_command(&mut self) -> Option<TorrentCommand> {
        self.commands.pop_front()
    }

    /// What to tell the operator next.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether the bytes of a fragment are in the torrent's own store, staged or confirmed, as far as is known here.
    #[must_use]
    pub fn stores(&self, fragment: &Hash) -> bool {
        self.holdings.has(fragment)
    }

    /// Whether a fragment that was given up is still in the own store, as far as is known here, because it could not be deleted.
    #[must_use]
    pub fn is_undeleted(&self, fragment: &Hash) -> bool {
        !self.holdings.has(fragment) && self.undeleted.contains(fragment)
    }

    /// The view.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What the torrent was configured with.
    #[must_use]
    pub const fn config(&self) -> &TorrentConfig {
        &self.config
    }

    /// The copies that the tracker aims at, as far as it told.
    #[must_use]
    pub fn copies(&self) -> Copies {
        self.tracker.copies()
    }

    /// Whether a tracker is online, as far as this torrent heard.
    #[must_use]
    pub const fn tracker_is_online(&self) -> bool {
        self.tracker.is_online()
    }

    /// Where the tracker can be asked, as far as it told.
    #[must_use]
    pub const fn tracker_endpoints(&self) -> &BTreeSet<EndpointUri> {
        self.tracker.endpoints()
    }

    /// Whether this torrent is a registered client.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.membership.is_registered()
    }

    /// Whether the bus is there.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.membership.is_connected()
    }

    /// Torrents that the bus says are gone and that are still registered: not the first to fetch from.
    pub fn suspects(&self) -> impl Iterator<Item = &ClientId> {
        self.tracker.suspects()
    }

    /// Whether a torrent is one of them.
    #[must_use]
    pub fn is_suspect(&self, client: &ClientId) -> bool {
        self.tracker.is_suspect(client)
    }

    /// The fragments in the own store, staged or not, with their sizes in bytes.
    #[must_use]
    pub fn stored(&self) -> BTreeMap<Hash, u64> {
        self.holdings.sizes()
    }

    /// Bytes of the fragments in the own store.
    #[must_use]
    pub const fn used_bytes(&self) -> u64 {
        self.holdings.used_bytes()
    }

    /// How many fragments are in the own store, staged or not.
    #[must_use]
    pub fn stored_count(&self) -> u64 {
        self.holdings.count()
    }

    /// How many fragments in the own store wait for somebody to say that this torrent is their holder.
    #[must_use]
    pub fn staged_count(&self) -> usize {
        self.holdings.staged_count()
    }

    fn envelope(&mut self, in_reply_to: Option<EventId>) -> TorrentEnvelope {
        TorrentEnvelope {
            event_id: self.draw.event_id(),
            client_identifier: Some(self.config.client.clone()),
            instance: Some(self.config.instance),
            incarnation: Some(self.config.incarnation),
            registration: self.membership.registration(),
            in_reply_to,
        }
    }

    fn say(&mut self, event: impl Into<TorrentEvent>, in_reply_to: Option<EventId>) -> EventId {
        let envelope = self.envelope(in_reply_to);
        let event_id = envelope.event_id;
        let direct = self.tracker.has(Feature::Direct);
        self.commands.push_back(TorrentCommand::Say { direct, envelope, event: event.into() });
        event_id
    }

    /// The goodbye concerns the peers too, so it is said on the shared topic; where a broker binds torrents to their own topics, only
    /// the direct one gets through. It is one event, said twice.
    fn handle_shut_down(&mut self) {
        if self.membership.is_connected() {
            let envelope = self.envelope(None);
            let event: TorrentEvent = ClientGoodbye { reason: Some(reason::LEAVING.to_owned()) }.into();
            let also_direct = self.tracker.has(Feature::Direct).then_some(true);
            for direct in [Some(false), also_direct].into_iter().flatten() {
                let (envelope, event) = (envelope.clone(), event.clone());
                self.commands.push_back(TorrentCommand::Say { direct, envelope, event });
            }
        }
        self.membership = Membership::default();
    }
}
