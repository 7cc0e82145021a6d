//! Tracker Server Startup: make sure that no other tracker is online, then connect, subscribe, and see that the broker lets us work.
//!
//! The broker itself keeps two trackers from being connected, because both would use the same client id; but the second would throw the
//! first out. So it looks first, under another id.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Delivery, Inbox, LossReason, Message, OpenError, Outbox, SessionLost, SessionOptions};
use daemon::config::Common;
use daemon::link::Session;
use protocol::event::{TrackerEnvelope, TrackerEvent, TrackerGoodbye, TrackerHello};
use protocol::limits::delivered_event_bytes;
use protocol::{ClientId, Epoch, EventId, EventKind, Heard, InstanceId, decode, encode_tracker};
use storage::{Store, meta};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};
use uuid::Uuid;

/// How long the broker may take to bring back what the tracker sends to itself.
const ECHO: Duration = Duration::from_secs(10);
/// How long a tracker that is online may take to answer a probe, where nothing that the broker has retained tells of one. At a broker
/// that is slow to bring back the probe itself it is given [`PATIENCE`] times as long as that took.
const ANSWER: Duration = Duration::from_millis(500);
const PATIENCE: u32 = 4;
/// A tracker that is online says hello every 10 s; one that has missed three is gone, whatever the broker retained.
const SILENCE: Duration = Duration::from_secs(35);

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

/// What to do about another tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTracker {
    /// End.
    Respect,
    /// Start all the same.
    Replace,
    /// Wait for its end.
    Await,
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
}

impl Connector {
    /// One session: looks for another tracker, takes the next epoch, connects, and checks that packets come back.
    pub async fn open(self: Arc<Self>) -> Result<Session<Presence>, ConnectError> {
        let other = *self.other.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.look_for_another(other).await?;
        let next = self.next_epoch(seen)?;
        let session = self.connect(next).await?;
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = match other {
            OtherTracker::Replace => OtherTracker::Respect,
            OtherTracker::Respect | OtherTracker::Await => other,
        };
        Ok(session)
    }

    /// The highest epoch on the bus. What is retained was sent before the subscription, so it is here when the probe is.
    ///
    /// But what is retained is not everywhere: the nodes of a RabbitMQ cluster retain each for themselves. A tracker that is online hears the
    /// probe as well, a hello below its own, and repeats its own to all. So where nothing tells of one, that answer is waited for.
    async fn look_for_another(&self, other: OtherTracker) -> Result<Epoch, ConnectError> {
        let topics = &self.common.topics;
        let suffix = format!("probe-{:08x}", fastrand::u32(..));
        let probe_id: ClientId = suffix.parse().expect("hex digits behind a word are a segment");
        let mut options = SessionOptions::new(self.common.broker.clone(), probe_id.as_str());
        let probe_topic = topics.direct(EventKind::TrackerHello, &probe_id);
        let (hello_topic, goodbye_topic) =
            (topics.shared(EventKind::TrackerHello), topics.shared(EventKind::TrackerGoodbye));
        options.subscriptions = vec![hello_topic, goodbye_topic, probe_topic.clone()];
        options.ca_file.clone_from(&self.common.broker_ca);
        let (outbox, mut inbox) = bus::open(options).await?;
        let sent = Instant::now();
        outbox.publish(Message::new(probe_topic.clone(), probe(0)));
        let mut seen = Seen::default();
        let swallowed =
            || ConnectError::Swallowed { what: "an event", topic: probe_topic.clone(), size_bytes: 100 };
        loop {
            let delivery = timeout(ECHO, inbox.recv()).await.map_err(|_| swallowed())??;
            if delivery.topic == probe_topic {
                break;
            }
            seen.take(&self.common, &delivery);
        }
        let deadline = Instant::now() + ANSWER.max(PATIENCE * sent.elapsed());
        while self.another(&seen).is_none() {
            // Nobody has answered: nobody is there.
            let Ok(delivery) = timeout_at(deadline, inbox.recv()).await else { break };
            seen.take(&self.common, &delivery?);
        }
        if let Some((instance, epoch)) = self.another(&seen) {
            match other {
                OtherTracker::Respect => return Err(ConnectError::AnotherTracker { instance, epoch }),
                OtherTracker::Replace => warn!(%instance, %epoch, "replacing the tracker that is online"),
                OtherTracker::Await => self.await_end(&mut inbox, &mut seen).await?,
            }
        }
        if let Err(error) = outbox.close().await {
            warn!("{error}");
        }
        Ok(seen.epoch)
    }

    /// The tracker that is online and is not an earlier run of this one.
    fn another(&self, seen: &Seen) -> Option<(InstanceId, Epoch)> {
        seen.online().filter(|(instance, _)| !self.is_our_ghost(*instance))
    }

    async fn await_end(&self, inbox: &mut Inbox, seen: &mut Seen) -> Result<(), ConnectError> {
        info!("another tracker is online; standing by");
        while seen.online().is_some() {
            match timeout(SILENCE, inbox.recv()).await {
                Ok(delivery) => seen.take(&self.common, &delivery?),
                Err(_) => {
                    warn!("the other tracker has not been heard for {SILENCE:?}");
                    break;
                }
            }
        }
        info!("the other tracker is gone; taking over");
        Ok(())
    }

    /// Whether an instance is an earlier connection of this very tracker: its data directory is ours alone, so that one is over even if
    /// nobody could say its goodbye.
    fn is_our_ghost(&self, instance: InstanceId) -> bool {
        matches!(self.store.meta().get(meta::TRACKER_INSTANCE), Ok(Some(last)) if is_kin(instance.0, last))
    }

    /// One more than every epoch seen here and there, durable before anybody hears of it.
    fn next_epoch(&self, seen: Epoch) -> Result<NextEpoch, ConnectError> {
        let unusable = |error: &dyn std::fmt::Display| ConnectError::Store(error.to_string());
        let meta = self.store.meta();
        let own = meta.get(meta::EPOCH).map_err(|error| unusable(&error))?.unwrap_or(0);
        let epoch = Epoch(own).max(seen).next();
        let last = meta.get(meta::TRACKER_INSTANCE).map_err(|error| unusable(&error))?;
        let instance = InstanceId(last.map_or_else(random_uuid, |last| kin(last, random_uuid())));
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
        let mut options = SessionOptions::new(self.common.broker.clone(), me.as_str());
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
fn probe(size_bytes: usize) -> bytes::Bytes {
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

/// A new instance of the same tracker. The first half of all its instances is the same, so that it knows every one of them again, whatever
/// a broker has kept.
fn kin(last: Uuid, random: Uuid) -> Uuid {
    Uuid::from_u64_pair(last.as_u64_pair().0, random.as_u64_pair().1)
}

fn is_kin(one: Uuid, other: Uuid) -> bool {
    one.as_u64_pair().0 == other.as_u64_pair().0
}

/// What the presence topics say.
#[derive(Debug, Default)]
struct Seen {
    epoch: Epoch,
    hello: Option<(InstanceId, Epoch)>,
    goodbye: Option<InstanceId>,
}

impl Seen {
    fn take(&mut self, common: &Common, delivery: &Delivery) {
        let Ok(Heard::Tracker { envelope, direct: false, event }) =
            decode(&common.topics, &common.limits, &delivery.topic, &delivery.payload)
        else {
            return;
        };
        let epoch = envelope.epoch.unwrap_or_default();
        self.epoch = self.epoch.max(epoch);
        if let TrackerEvent::TrackerHello(_) = event {
            self.hello = envelope.instance.map(|instance| (instance, epoch));
        } else if let TrackerEvent::TrackerGoodbye(_) = event {
            self.goodbye = envelope.instance;
        }
    }

    /// The tracker is online exactly if the hello's instance is not the goodbye's.
    fn online(&self) -> Option<(InstanceId, Epoch)> {
        self.hello.filter(|(instance, _)| self.goodbye != Some(*instance))
    }
}
