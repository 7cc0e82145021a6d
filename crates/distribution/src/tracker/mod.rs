//! The tracker: the only author of the view.
//!
//! A plain struct with three verbs: [`Tracker::handle`] takes an input, [`Tracker::next_command`] gives what follows from it, and
//! [`Tracker::poll_timeout`] says when to come back with [`TrackerInput::Tick`]. It has no clock, no disk and no network, so a whole
//! service can run in one thread under simulated ones.
//!
//! One file a conversation: `presence`, `joins`, `members` (leases and goodbyes), `files`, `distributions`, `repairs`, `drains`.

mod distributions;
mod drains;
mod files;
mod joins;
mod members;
mod presence;
mod repairs;
mod waiting;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use protocol::event::{TorrentEvent, TrackerEnvelope, TrackerEvent};
use protocol::{
    ClientId, EndpointUri, Epoch, EventId, Features, Hash, Heard, InstanceId, Revision, event::Issuer,
};

use crate::command::{Audience, RequestId, TrackerCommand};
use crate::copies::Copies;
use crate::ids::Draw;
use crate::limits::{Rhythm, TrackerLimits};
use crate::time::Moment;
use crate::view::{Change, FileInfo, View};

use distributions::Distributions;
use joins::Joins;
pub use members::{Member, MemberState};
use presence::Presence;
pub use repairs::FetchError;
use repairs::Repairs;

/// What a tracker is told at its start and never again.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// The copies aimed at.
    pub copies: Copies,
    /// The fragment size of every file in bytes.
    pub fragment_size_bytes: u64,
    /// The clocks, announced to the torrents.
    pub rhythm: Rhythm,
    /// Bounds of the work.
    pub limits: TrackerLimits,
    /// How long a torrent may be gone before what it held is repaired.
    pub repair_after: Duration,
    /// Largest event in bytes: a file or a view that would need a larger one is refused.
    pub max_event_bytes: u64,
    /// Where the tracker can be asked and given files, announced to the torrents.
    pub endpoints: BTreeSet<EndpointUri>,
    /// Whether torrents on shared topics are ignored.
    pub require_direct: bool,
}

/// What a tracker remembers of its last run besides its view and its fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Whether its view may lack files whose only bytes are among its own fragments, because it was lost: see
    /// [`Tracker::may_have_forgotten`].
    pub may_have_forgotten: bool,
    /// What [`TrackerCommand::RememberDeletionsSince`] said last.
    pub deletions_since: Epoch,
}

/// What happens to a tracker.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an input is handled at once: none is ever kept")]
pub enum TrackerInput {
    /// The bus is there: connected, subscribed, and it lets our packets through. Every connection is a start of its own.
    Connected {
        /// One above every epoch seen; already durable.
        epoch: Epoch,
        /// New for this connection.
        instance: InstanceId,
        /// Whether another tracker was in charge since this one was, until [`Change::TombstonesForgotten`] is durable.
        others_decided: bool,
    },
    /// The bus is gone.
    ConnectionLost,
    /// An event was heard.
    Heard(Heard),
    /// A file was uploaded: all its fragments are durable in the tracker's own store.
    FileUploaded {
        /// Who wants to know.
        request: RequestId,
        /// Hash of the whole content.
        hash: Hash,
        /// What is known of it.
        file: FileInfo,
    },
    /// A file is to be deleted.
    FileRemovalRequested {
        /// Who wants to know.
        request: RequestId,
        /// Hash of the whole content.
        hash: Hash,
    },
    /// A torrent is to be emptied before it leaves for good, or no longer.
    DrainRequested {
        /// Who wants to know.
        request: RequestId,
        /// The torrent.
        client: ClientId,
        /// Whether its copies count no more.
        is_draining: bool,
    },
    /// What became of [`TrackerCommand::Fetch`].
    Fetched {
        /// The fragment.
        fragment: Hash,
        /// Who was asked.
        source: ClientId,
        /// Checked and durable in the tracker's own store, or why not.
        result: Result<(), FetchError>,
    },
    /// The tracker's own bytes of a fragment are gone or damaged, so nothing was delivered. Of a reading that may succeed the next time it is
    /// not told: the attempt ends at its time.
    FragmentUnreadable {
        /// The fragment.
        fragment: Hash,
    },
    /// The disk did not delete these of the tracker's own bytes: they are still there.
    NotDeleted {
        /// The fragments.
        fragments: Vec<Hash>,
    },
    /// Time has passed.
    Tick,
    /// The tracker shuts down.
    ShutDown,
}

/// The tracker's state machine. See the module's header.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    view: View,
    presence: Presence,
    /// The epoch in which the oldest deletion was ordered that is remembered.
    deletions_since: Epoch,
    members: members::Members,
    joins: Joins,
    distributions: Distributions,
    repairs: Repairs,
    draw: Draw,
    commands: VecDeque<TrackerCommand>,
}

impl Tracker {
    /// A tracker that has this view and, in its own store, the bytes of these fragments. `seed` is fresh for every run.
    ///
    /// # Errors
    /// If the view's files have another fragment size than the configured one.
    pub fn new(
        config: TrackerConfig,
        mut view: View,
        own_fragments: impl IntoIterator<Item = Hash>,
        memory: Memory,
        seed: [u8; 16],
    ) -> Result<Self, crate::view::ChangeError> {
        let fragment_size_bytes = config.fragment_size_bytes;
        let is_new = view.fragment_size_bytes() != Some(fragment_size_bytes);
        let change = Change::FragmentSizeSet { fragment_size_bytes };
        view.apply(&change)?;
        let mut commands = VecDeque::new();
        if is_new {
            let revision = view.revision();
            commands.push_back(TrackerCommand::Persist { changes: vec![change], revision });
        }
        let Memory { may_have_forgotten, deletions_since } = memory;
        let distributions = Distributions::new(own_fragments, may_have_forgotten);
        let (presence, members, joins, repairs) = Default::default();
        let draw = Draw::new(seed);
        Ok(Self {
            config,
            view,
            presence,
            deletions_since,
            members,
            joins,
            distributions,
            repairs,
            draw,
            commands,
        })
    }

    /// Whether a tracker that starts with this view and so many own fragments may have lost the view that they belonged to (S8). Once it is so
    /// it stays so, over every restart, until [`TrackerCommand::LeftoversDecided`]: whatever is accepted meanwhile does not bring back
    /// what was lost.
    #[must_use]
    pub fn may_have_forgotten(view: &View, own_fragments: usize) -> bool {
        view.files().is_empty() && own_fragments > 0
    }

    /// Takes one input.
    pub fn handle(&mut self, input: TrackerInput, now: Moment) {
        self.presence.poll_fence(now, &self.config.rhythm);
        match input {
            TrackerInput::Connected { epoch, instance, others_decided } => {
                self.handle_connected(epoch, instance, others_decided, now);
            }
            TrackerInput::ConnectionLost => self.handle_connection_lost(),
            TrackerInput::Heard(Heard::Tracker { envelope, event, .. }) => {
                self.handle_tracker(&envelope, &event, now)
            }
            TrackerInput::Heard(Heard::Torrent { event_id, in_reply_to, issuer, direct, event }) => {
                let is_ignored = self.config.require_direct && !direct;
                let is_out_of_date = self.members.is_older(&issuer)
                    || !is_of_a_join(&event) && self.members.is_of_an_earlier_registration(&issuer);
                if !is_ignored && self.presence.decides() && !is_out_of_date {
                    if !matches!(event, TorrentEvent::ClientGoodbye(_)) {
                        self.members.heard(&issuer, now);
                    }
                    self.handle_torrent(event_id, in_reply_to, &issuer, event, now);
                }
            }
            TrackerInput::FileUploaded { request, hash, file } => self.handle_file(request, hash, &file),
            TrackerInput::FileRemovalRequested { request, hash } => self.handle_removal(request, hash),
            TrackerInput::DrainRequested { request, client, is_draining } => {
                self.handle_drain(request, client, is_draining);
            }
            TrackerInput::Fetched { fragment, source, result } => {
                self.handle_fetched(fragment, &source, result, now);
            }
            TrackerInput::FragmentUnreadable { fragment } => self.handle_unreadable(fragment),
            TrackerInput::NotDeleted { fragments } => self.handle_not_deleted(fragments, now),
            TrackerInput::Tick => {}
            TrackerInput::ShutDown => self.handle_shut_down(),
        }
        self.poll(now);
    }

    fn handle_torrent(
        &mut self,
        id: EventId,
        in_reply_to: Option<EventId>,
        issuer: &Issuer,
        event: TorrentEvent,
        now: Moment,
    ) {
        match event {
            TorrentEvent::ClientJoinRequested(request) => {
                self.handle_join_requested(id, issuer, &request, now)
            }
            TorrentEvent::ClientJoinSucceeded(_) => self.handle_join_succeeded(id, in_reply_to, issuer, now),
            TorrentEvent::ClientJoinFailed(_) => self.joins.forget(issuer),
            TorrentEvent::ClientGoodbye(goodbye) => self.handle_goodbye(issuer, &goodbye, now),
            TorrentEvent::ClientHeartbeat(heartbeat) => self.handle_heartbeat(id, issuer, &heartbeat, now),
            TorrentEvent::FragmentDistributionRequested(body) => {
                self.handle_requested(issuer, body.hash, now)
            }
            TorrentEvent::FragmentDistributionObtained(body) => {
                self.handle_obtained(id, issuer, body.hash, now)
            }
            TorrentEvent::FragmentDistributionFailed(body) => self.handle_failed(issuer, body.hash, now),
        }
    }

    /// Everything that time alone brings about.
    fn poll(&mut self, now: Moment) {
        self.poll_presence(now);
        if self.presence.decides() {
            self.joins.expire(now);
            self.poll_leases(now);
            self.poll_distributions(now);
        }
    }

    /// When [`TrackerInput::Tick`] is due; none while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let decisions = [
            self.joins.next_deadline(),
            self.members.next_lease_end(&self.config.rhythm),
            self.distributions.next_deadline(&self.config.limits),
            self.repairs.next_deadline().filter(|_| !self.distributions.awaits_returns()),
        ];
        // One that decides nothing would only be woken for nothing.
        let decisions = decisions.into_iter().flatten().filter(|_| self.presence.decides());
        decisions.chain(self.presence.next_hello()).min()
    }

    /// What to do next; none when all is done.
    pub fn next_command(&mut self) -> Option<TrackerCommand> {
        self.commands.pop_front()
    }

    /// The view.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What the tracker was configured with.
    #[must_use]
    pub const fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// Every torrent that is or was registered since the tracker's start.
    pub fn members(&self) -> impl Iterator<Item = (&ClientId, &Member)> {
        self.members.iter()
    }

    /// Whether the bytes of a fragment are in the tracker's own store, as far as is known here.
    #[must_use]
    pub fn stores(&self, fragment: &Hash) -> bool {
        self.distributions.owns(fragment)
    }

    /// Whether the broker has not brought back its own hello for too long: another tracker may be in charge, so it changes nothing (T5).
    #[must_use]
    pub const fn is_fenced(&self) -> bool {
        self.presence.is_fenced()
    }

    /// How many fragments wait for holders or are on their way to them.
    #[must_use]
    pub fn undistributed(&self) -> usize {
        self.distributions.undistributed()
    }

    /// How many fragments lack holders while the tracker has not got their bytes to make more.
    #[must_use]
    pub fn repairs_pending(&self) -> usize {
        self.repairs.pending()
    }

    fn envelope(&mut self, revision: Option<Revision>, in_reply_to: Option<EventId>) -> TrackerEnvelope {
        TrackerEnvelope {
            event_id: self.draw.event_id(),
            epoch: Some(self.presence.epoch()),
            instance: self.presence.instance(),
            revision,
            in_reply_to,
        }
    }

    fn say(&mut self, to: Audience, event: impl Into<TrackerEvent>) {
        let envelope = self.envelope(None, None);
        self.commands.push_back(TrackerCommand::Say { to, envelope, event: event.into() });
    }

    fn answer(&mut self, to: Audience, in_reply_to: EventId, event: impl Into<TrackerEvent>) {
        let envelope = self.envelope(None, Some(in_reply_to));
        self.commands.push_back(TrackerCommand::Say { to, envelope, event: event.into() });
    }

    /// Makes one step of the view: durable first, then told to everybody under its revision.
    ///
    /// The changes have been applied to the view already, so they fit.
    fn commit(&mut self, changes: Vec<Change>, event: impl Into<TrackerEvent>) {
        self.commit_answer(changes, None, event);
    }

    /// The same, where it also answers an event.
    fn commit_answer(
        &mut self,
        changes: Vec<Change>,
        in_reply_to: Option<EventId>,
        event: impl Into<TrackerEvent>,
    ) {
        let revision = self.view.revision().next();
        self.view.set_revision(revision);
        self.commands.push_back(TrackerCommand::Persist { changes, revision });
        let envelope = self.envelope(Some(revision), in_reply_to);
        self.commands.push_back(TrackerCommand::Say { to: Audience::All, envelope, event: event.into() });
    }

    /// How `client` is spoken to: on its own topic if it has one.
    fn audience(client: &ClientId, features: Features) -> Audience {
        if features.has(protocol::Feature::Direct) { Audience::One(client.clone()) } else { Audience::All }
    }
}

/// Whether a torrent says this to become registered: then it does not speak as one that is.
const fn is_of_a_join(event: &TorrentEvent) -> bool {
    matches!(
        event,
        TorrentEvent::ClientJoinRequested(_)
            | TorrentEvent::ClientJoinSucceeded(_)
            | TorrentEvent::ClientJoinFailed(_)
    )
}
