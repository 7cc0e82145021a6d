//! What somebody who means harm may publish (feature `hostile`, for tests only): the same list at every call.
//!
//! [`broken`] is no event at all, [`lies`] are well-formed events that are untrue. Both must leave every daemon as it was: nobody dies,
//! nobody reconnects, nobody's view changes, and work goes on. They are meant for a service whose torrents follow a tracker with an epoch
//! of at least 1, and for publishing without the retain flag. [`impersonations`] are what only the broker's ACL can keep out.
//!
//! A topic here has no prefix, and is one that every broker accepts. A payload is at most a little over 64 KiB.

mod broken;
mod impersonations;
mod lies;

pub use broken::broken;
pub use impersonations::impersonations;
pub use lies::lies;

use uuid::Uuid;

use crate::event::{TorrentEnvelope, TorrentEvent, TrackerEnvelope, TrackerEvent};
use crate::{
    ClientId, Epoch, EventId, EventKind, Incarnation, InstanceId, Revision, Topics, encode_torrent,
    encode_tracker,
};

/// Something to publish: a topic and a payload.
pub type Payload = (String, Vec<u8>);

/// [`broken`] and [`lies`]: some three thousand payloads (6 MB) over all topics, after which everything must be as before.
#[must_use]
pub fn payloads() -> Vec<Payload> {
    let mut payloads = broken();
    payloads.extend(lies());
    payloads
}

/// Gathers events by speakers that nobody knows.
#[derive(Default)]
struct Strangers {
    topics: Topics,
    said: Vec<Payload>,
    /// How many names were given; each is given once.
    names: u128,
}

/// The largest count that can be said.
const LARGEST: u64 = i64::MAX as u64;

impl Strangers {
    fn guid(&mut self) -> Uuid {
        self.names += 1;
        Uuid::from_u128(0x5742_616e_6765_4000_8000_0000_0000_0000 + self.names)
    }

    fn client(&mut self) -> ClientId {
        self.names += 1;
        format!("stranger-{}", self.names).parse().expect("a topic segment")
    }

    /// A new stranger's envelope.
    fn torrent(&mut self) -> TorrentEnvelope {
        TorrentEnvelope {
            event_id: EventId(self.guid()),
            client_identifier: Some(self.client()),
            instance: Some(InstanceId(self.guid())),
            incarnation: Some(Incarnation(1)),
            registration: None,
            in_reply_to: None,
        }
    }

    /// A tracker of this epoch that nobody knows.
    fn tracker(&mut self, epoch: Epoch, revision: Revision) -> TrackerEnvelope {
        TrackerEnvelope {
            event_id: EventId(self.guid()),
            epoch: Some(epoch),
            instance: Some(InstanceId(self.guid())),
            revision: Some(revision),
            in_reply_to: None,
        }
    }

    /// A new stranger says it on the shared topic, and another one on its direct topic.
    fn torrent_says(&mut self, event: impl Into<TorrentEvent>) {
        let event = event.into();
        let shared = self.torrent();
        self.torrent_says_as(&shared, &event);
        let direct = self.torrent();
        if let Some(client) = &direct.client_identifier {
            let topic = self.topics.direct(event.kind(), client);
            self.said.push((topic, encode_torrent(&direct, &event).to_vec()));
        }
    }

    fn torrent_says_as(&mut self, envelope: &TorrentEnvelope, event: &TorrentEvent) {
        let topic = self.topics.shared(event.kind());
        self.said.push((topic, encode_torrent(envelope, event).to_vec()));
    }

    fn tracker_says_as(&mut self, envelope: &TrackerEnvelope, event: impl Into<TrackerEvent>) {
        let event = event.into();
        let topic = self.topics.shared(event.kind());
        self.said.push((topic, encode_tracker(envelope, &event).to_vec()));
    }
}

macro_rules! goldens {
    ($($kind:ident),* $(,)?) => {
        /// The golden file of the event.
        fn golden(kind: EventKind) -> &'static str {
            match kind {
                $(EventKind::$kind => include_str!(concat!("../golden/", stringify!($kind), ".json"))),*
            }
        }
    };
}

goldens! {
    TrackerHello, TrackerGoodbye, ClientJoinRequested, ClientJoinAccepted, ClientJoinDenied, ClientJoinSucceeded, ClientJoinFailed,
    ClientRegistered, ClientGoodbye, FileInfoPublished, FragmentDistributionStarted, FragmentDistributionRequested,
    FragmentDistributionDelivered, FragmentDistributionObtained, FragmentDistributionFailed, FragmentDistributionEnded,
    ClientUnregistered, FileRemoved, ClientHeartbeat,
}
