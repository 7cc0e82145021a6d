//! Tracker Server Startup: make sure that no other tracker is online, then connect, subscribe, and see that the broker lets us work.
//!
//! The broker itself keeps two trackers from being connected, because both would use the same client id (T1); but the second would throw the
//! first out. So it looks first, under another id (T3), also when a session was lost, in place of throwing the other out in turn (T4).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Delivery, Inbox, LossReason, Message, OpenError, Outbox, SessionLost, SessionOptions};
use daemon::config::Common;
use daemon::link::Session;
use distribution::rules::Rule;
use protocol::event::{TrackerEnvelope, TrackerGoodbye, TrackerHello};
use protocol::limits::delivered_event_bytes;
use protocol::{ClientId, Epoch, EventId, EventKind, InstanceId, encode_tracker};
use storage::{Store, meta};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::others::OtherTracker;

/// How long the broker may take to bring back what the tracker sends to itself (Q2), its largest packet among it (Q3).
pub(crate) const ECHO: Duration = Duration::from_secs(10);
/// What limits a packet at the brokers that `docs/brokers.md` describes.
const PACKET_LIMITS: &str = "Mosquitto: max_packet_size, message_size_limit; NATS: max_payload, max_pending; RabbitMQ: max_message_size";

/// Why the tracker is not on the bus.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No session.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The session ended while it was being set up.
    #[error("the session with the broker ended while it was set up: {0}")]
    Lost(LossReason),
    /// The session ended at the largest packet.
    #[error(
        "the session with the broker ended at a packet of {size_bytes} bytes, the largest that the tracker will send: {reason}; raise the \
         broker's packet limit ({PACKET_LIMITS}) or use a smaller --fragment-size"
    )]
    TooLarge { size_bytes: usize, reason: LossReason },
    /// What the tracker sent to itself did not come back.
    #[error(
        "the broker does not bring back {what} that the tracker sends to itself on {topic:?}: allow the tracker to write and read \
         its topics in the broker's access list, and packets of {size_bytes} bytes ({PACKET_LIMITS}), or use a smaller --fragment-size"
    )]
    Swallowed { what: &'static str, topic: String, size_bytes: usize },
    /// There can be only one.
    #[error(
        "another tracker is online (instance {instance}, epoch {epoch}): stop it first, or start with --takeover to replace it or \
         with --standby to wait for its end"
    )]
    AnotherTracker { instance: InstanceId, epoch: Epoch },
    /// The epoch could not be made durable.
    #[error("the tracker's epoch cannot be stored: {0}")]
    Store(String),
}

impl From<SessionLost> for ConnectError {
    fn from(lost: SessionLost) -> Self {
        Self::Lost(lost.reason)
    }
}

/// As whom the tracker is on the bus now.
#[derive(Debug)]
pub struct Presence {
    pub epoch: Epoch,
    pub instance: InstanceId,
    /// Whether another tracker was in charge since this one last was.
    pub others_decided: bool,
    /// What was heard while the session was set up.
    pub heard: VecDeque<Delivery>,
}

/// As whom the tracker is going to be on the bus.
struct NextEpoch {
    epoch: Epoch,
    instance: InstanceId,
    others_decided: bool,
}

/// Opens the tracker's sessions.
#[derive(Debug)]
pub struct Connector {
    pub common: Common,
    pub store: Arc<Store>,
    pub fragment_size_bytes: u64,
    pub require_direct: bool,
    /// The start may replace or await another tracker; after a lost connection one that has taken over is respected.
    pub other: Mutex<OtherTracker>,
    /// Why it waits for another tracker now, if it does: that may take for ever.
    pub standing_by: watch::Sender<Option<&'static str>>,
}

impl Connector {
    /// One session: looks for another tracker, takes the next epoch, connects, and checks that packets come back.
    pub async fn open(self: Arc<Self>) -> Result<Session<Presence>, ConnectError> {
        let other = *self.other.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.look_for_another(other).await?;
        let next = self.next_epoch(seen)?;
        let session = self.connect(next).await?;
        self.treat_others(other.once_in_charge());
        Ok(session)
    }

    pub(crate) fn treat_others(&self, other: OtherTracker) {
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Whether an instance is an earlier connection of this very tracker: its data directory is ours alone, so that one is over even if
    /// nobody could say its goodbye.
    pub(crate) fn is_our_ghost(&self, instance: InstanceId) -> bool {
        matches!(self.store.meta().get(meta::TRACKER_INSTANCE), Ok(Some(last)) if instance.is_kin(InstanceId(last)))
    }

    /// One more than every epoch seen here and there, durable before anybody hears of it.
    fn next_epoch(&self, seen: Epoch) -> Result<NextEpoch, ConnectError> {
        let unusable = |error: &dyn std::fmt::Display| ConnectError::Store(error.to_string());
        let meta = self.store.meta();
        let own = meta.get(meta::EPOCH).map_err(|error| unusable(&error))?.unwrap_or(0);
        let epoch = Epoch(own).max(seen).next();
        let last = meta.get(meta::TRACKER_INSTANCE).map_err(|error| unusable(&error))?;
        let instance =
            last.map_or_else(|| InstanceId(random_uuid()), |last| InstanceId(last).renewed(random_uuid()));
        let is_due = meta.get(meta::OTHERS_DECIDED).map_err(|error| unusable(&error))?.unwrap_or(0) != 0;
        let others_decided = is_due || seen > Epoch(own);
        meta.set(meta::OTHERS_DECIDED, &u64::from(others_decided)).map_err(|error| unusable(&error))?;
        meta.set(meta::EPOCH, &epoch.0).map_err(|error| unusable(&error))?;
        meta.set(meta::TRACKER_INSTANCE, &instance.0).map_err(|error| unusable(&error))?;
        self.store.flush().map_err(|error| unusable(&error))?;
        Ok(NextEpoch { epoch, instance, others_decided })
    }

    async fn connect(&self, next: NextEpoch) -> Result<Session<Presence>, ConnectError> {
        let NextEpoch { epoch, instance, others_decided } = next;
        let topics = &self.common.topics;
        let me = topics.tracker_client_id();
        let mut client_id = me.to_string();
        if !Rule::OneClientId.is_kept() {
            client_id = format!("{client_id}-{instance}");
        }
        let mut options = SessionOptions::new(self.common.broker.clone(), &client_id);
        options.subscriptions = topics.tracker_subscriptions(self.require_direct);
        options.max_packet_bytes = self.common.limits.max_event_bytes + (64 << 10);
        options.ca_file.clone_from(&self.common.broker_ca);
        let envelope = TrackerEnvelope {
            event_id: EventId(random_uuid()),
            epoch: Some(epoch),
            instance: Some(instance),
            revision: None,
            in_reply_to: None,
        };
        let goodbye = encode_tracker(&envelope, &TrackerGoodbye {}.into());
        options.will = Some(Message::retained(topics.shared(EventKind::TrackerGoodbye), goodbye));
        let (outbox, mut inbox) = bus::open(options).await?;
        let heard = self.check_largest_packet(&outbox, &mut inbox, &me).await?;
        Ok(Session { outbox, inbox, extra: Presence { epoch, instance, others_decided, heard } })
    }

    /// On MQTT 3.1.1 a packet over the broker's limit is acknowledged and dropped: only its coming back shows that it gets through.
    async fn check_largest_packet(
        &self,
        outbox: &Outbox,
        inbox: &mut Inbox,
        me: &ClientId,
    ) -> Result<VecDeque<Delivery>, ConnectError> {
        if !Rule::LargestPacketIsTried.is_kept() {
            return Ok(VecDeque::new());
        }
        let topic = self.common.topics.direct(EventKind::TrackerHello, me);
        let size_bytes =
            usize::try_from(delivered_event_bytes(self.fragment_size_bytes)).unwrap_or(usize::MAX);
        outbox.publish(Message::new(topic.clone(), probe(size_bytes)));
        let swallowed = || ConnectError::Swallowed {
            what: "a packet of the largest size",
            topic: topic.clone(),
            size_bytes,
        };
        let mut heard = VecDeque::new();
        loop {
            let delivery = timeout(ECHO, inbox.recv()).await.map_err(|_| swallowed())?;
            let delivery =
                delivery.map_err(|lost| ConnectError::TooLarge { size_bytes, reason: lost.reason })?;
            if delivery.topic == topic {
                return Ok(heard);
            }
            heard.push_back(delivery);
        }
    }
}

/// A hello that nobody but its sender hears, padded to a size.
pub(crate) fn probe(size_bytes: usize) -> bytes::Bytes {
    let envelope = TrackerEnvelope {
        event_id: EventId(random_uuid()),
        epoch: None,
        instance: None,
        revision: None,
        in_reply_to: None,
    };
    let padding = "x".repeat(size_bytes.saturating_sub(100));
    encode_tracker(&envelope, &TrackerHello { probe: Some(padding), ..TrackerHello::default() }.into())
}

fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid()
}
