//! What the state machines want done.
//!
//! The shell carries commands out in order and in batches: it persists and stores, flushes once, and only then publishes and answers
//! (*persist, then publish, then acknowledge*). What the disk refuses is never published.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::event::{TorrentEnvelope, TorrentEvent, TrackerEnvelope, TrackerEvent};
use protocol::{ClientId, EndpointUri, Epoch, Hash, InstanceId, Revision};

use crate::torrent::RememberedTracker;
use crate::view::{Change, ChangeError};

/// To whom a tracker speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody, on the shared topic.
    All,
    /// One torrent, on its direct topic.
    One(ClientId),
}

/// Names a request of the tracker's own API, so that its answer finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why the tracker does not do what a request of its own API wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// It is not connected to the bus, or another tracker may be in charge: what it did now might never be told to anybody.
    #[error("the tracker is not connected to the broker: try again when it is")]
    NotInCharge,
    /// There is no such file, or no such torrent is registered.
    #[error("there is no such file, or no such torrent is registered")]
    NotFound,
    /// The file, or the view with it, would not fit into an event.
    #[error("{0}")]
    TooLarge(String),
    /// It does not fit the view.
    #[error(transparent)]
    Unfit(#[from] ChangeError),
}

/// What a tracker wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackerCommand {
    /// Make these changes of the view durable, and the revision that they lead to. They are one step: all or nothing.
    Persist {
        /// In order.
        changes: Vec<Change>,
        /// The view's revision after them.
        revision: Revision,
    },
    /// Make this epoch durable: a torrent has seen a higher one than the tracker, which must have lost its memory.
    RememberEpoch {
        /// One above what the torrent has seen; the tracker goes on under it.
        epoch: Epoch,
    },
    /// Publish an event.
    Say {
        /// To whom.
        to: Audience,
        /// Which tracker, and which change.
        envelope: TrackerEnvelope,
        /// What.
        event: TrackerEvent,
    },
    /// Publish *FragmentDistributionDelivered* with the fragment's bytes from the tracker's own store.
    Deliver {
        /// To whom: everybody, or each of these on its direct topic.
        to: Vec<Audience>,
        /// Which tracker.
        envelope: TrackerEnvelope,
        /// The fragment.
        fragment: Hash,
        /// Who should store it.
        receivers: BTreeSet<ClientId>,
        /// Whether an attempt before this one failed: the tracker's own bytes are in doubt.
        is_repeated: bool,
    },
    /// Delete the tracker's own bytes of these fragments: enough torrents have confirmed that they hold them.
    Discard {
        /// The fragments.
        fragments: Vec<Hash>,
    },
    /// Get the bytes of a fragment from a holder into the tracker's own store, checked and durable; then report with
    /// `TrackerInput::Fetched`.
    Fetch {
        /// The fragment.
        fragment: Hash,
        /// Its length in bytes.
        size_bytes: u64,
        /// The holder to ask.
        source: ClientId,
        /// Where it can be asked.
        endpoints: BTreeSet<EndpointUri>,
    },
    /// What this request wants is done and durable: a file is accepted, published, and on its way to the torrents; or it is deleted; or a
    /// torrent is being emptied.
    Accepted {
        /// The request.
        request: RequestId,
    },
    /// What this request wants cannot be done.
    Refused {
        /// The request.
        request: RequestId,
        /// Why.
        reason: RequestRefused,
    },
    /// Remember that the oldest deletion that is remembered was ordered in this epoch. What is persisted with it is no older.
    RememberDeletionsSince {
        /// The epoch.
        epoch: Epoch,
    },
    /// Nobody will come who needs own fragments that no file of the view needs: they are leftovers from here on, also after a restart.
    LeftoversDecided,
    /// Stop: another tracker is in charge.
    StepDown {
        /// Its run.
        by: Option<InstanceId>,
        /// Its epoch.
        epoch: Epoch,
    },
}

/// What a torrent wants done.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a command is carried out at once: few are ever kept")]
pub enum TorrentCommand {
    /// Make these changes of the view durable, and the revision that they lead to. They are one step: all or nothing.
    Persist {
        /// In order.
        changes: Vec<Change>,
        /// The view's revision after them.
        revision: Revision,
    },
    /// Remember the tracker that is in charge: events of a lower epoch are ignored from now on, also after a restart.
    RememberTracker {
        /// What to remember in place of what was remembered before.
        tracker: RememberedTracker,
    },
    /// Publish an event, on the shared topic or on this torrent's direct one.
    Say {
        /// Whether on the direct topic.
        direct: bool,
        /// Who speaks.
        envelope: TorrentEnvelope,
        /// What.
        event: TorrentEvent,
    },
    /// Check these bytes against the fragment's hash and make them durable; then report with `TorrentInput::Stored`.
    Store {
        /// The fragment.
        fragment: Hash,
        /// Its content, as delivered.
        data: Bytes,
    },
    /// Delete the bytes of these fragments.
    Delete {
        /// The fragments.
        fragments: Vec<Hash>,
    },
}
