//! Before a tracker connects it looks for another one: it gives way to it, replaces it, or stands by until it is gone.

use std::time::Duration;

use bus::{Backoff, Delivery, Inbox, Message, Outbox, SessionOptions};
use daemon::config::Common;
use distribution::rules::Rule;
use protocol::event::TrackerEvent;
use protocol::{ClientId, Epoch, EventKind, Heard, InstanceId, decode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::connection::{ConnectError, Connector, ECHO, probe};

/// How long a tracker that is online may take to answer a probe, where nothing that the broker has retained tells of one. At a broker
/// that is slow to bring back the probe itself it is given [`PATIENCE`] times as long as that took.
const ANSWER: Duration = Duration::from_millis(500);
const PATIENCE: u32 = 4;
/// A tracker that is online says hello every 10 s; one that has missed three is gone, whatever the broker retained (Q8).
const SILENCE: Duration = Duration::from_secs(35);
/// After a broker was away, the tracker that was online before may take so long to be back: the longest wait between two attempts to
/// connect, and the attempt itself.
const RETURN: Duration = Backoff::MAX.saturating_add(Duration::from_secs(15));

/// What to do about another tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTracker {
    /// End.
    Respect,
    /// Start all the same.
    Replace,
    /// Wait for its end.
    Await,
    /// The same, and one was online when the last session ended: wherever that came from, the other had to connect again as well, and
    /// may take longer for it.
    AwaitReturn,
}

impl OtherTracker {
    /// The start may replace or await another tracker; after a lost connection one that has taken over is respected, or awaited (T4).
    pub(crate) fn once_in_charge(self) -> Self {
        match self {
            _ if !Rule::LooksBeforeItReturns.is_kept() => Self::Replace,
            Self::Respect | Self::Replace => Self::Respect,
            Self::Await | Self::AwaitReturn => Self::Await,
        }
    }
}

/// Why a tracker on standby is not ready.
const STANDING_BY: &str = "another tracker is online; standing by";
const AWAITING_RETURN: &str = "the other tracker may be on its way back; standing by";

/// Has told why the tracker stands by, which is true until this is dropped, with the wait or the attempt to connect.
struct StandingBy<'a>(&'a watch::Sender<Option<&'static str>>);

impl<'a> StandingBy<'a> {
    fn begin(told: &'a watch::Sender<Option<&'static str>>, why: &'static str) -> Self {
        told.send_replace(Some(why));
        info!("{why}");
        Self(told)
    }
}

impl Drop for StandingBy<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Connector {
    /// The highest epoch on the bus, once no other tracker keeps this one from starting.
    pub(crate) async fn look_for_another(&self, other: OtherTracker) -> Result<Epoch, ConnectError> {
        let (outbox, mut inbox, mut seen) = self.ask_around().await?;
        match (other, self.another(&seen)) {
            (OtherTracker::Respect, Some((instance, epoch))) => {
                return Err(ConnectError::AnotherTracker { instance, epoch });
            }
            (OtherTracker::Replace, Some((instance, epoch))) => {
                warn!(%instance, %epoch, "replacing the tracker that is online");
            }
            (OtherTracker::Await, Some(_)) => {
                let _standing_by = StandingBy::begin(&self.standing_by, STANDING_BY);
                self.await_end(&mut inbox, &mut seen, Duration::ZERO).await?;
            }
            (OtherTracker::AwaitReturn, _) => {
                let _standing_by = StandingBy::begin(&self.standing_by, AWAITING_RETURN);
                self.await_end(&mut inbox, &mut seen, RETURN).await?;
            }
            (OtherTracker::Respect | OtherTracker::Replace | OtherTracker::Await, None) => {}
        }
        if let Err(error) = outbox.close().await {
            warn!("{error}");
        }
        Ok(seen.epoch)
    }

    /// What is seen of other trackers. What is retained was sent before the subscription, so it is here when the probe is.
    ///
    /// But what is retained is not everywhere: the nodes of a RabbitMQ cluster retain each for themselves. A tracker that is online hears the
    /// probe as well, a hello below its own, and repeats its own to all. So where nothing tells of one, that answer is waited for.
    async fn ask_around(&self) -> Result<(Outbox, Inbox, Seen), ConnectError> {
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
        let mut is_back = !Rule::ProbesComeBack.is_kept();
        while !is_back {
            let delivery = timeout(ECHO, inbox.recv()).await.map_err(|_| swallowed())??;
            is_back = delivery.topic == probe_topic;
            if !is_back {
                seen.take(&self.common, &delivery);
            }
        }
        let deadline = Instant::now() + ANSWER.max(PATIENCE * sent.elapsed());
        while self.another(&seen).is_none() {
            // Nobody has answered: nobody is there.
            let Ok(delivery) = timeout_at(deadline, inbox.recv()).await else { break };
            seen.take(&self.common, &delivery?);
        }
        Ok((outbox, inbox, seen))
    }

    /// The tracker that is online and is not an earlier run of this one.
    fn another(&self, seen: &Seen) -> Option<(InstanceId, Epoch)> {
        seen.online().filter(|(instance, _)| !self.is_our_ghost(*instance))
    }

    /// Waits until the other tracker is gone: it has said so, or was not heard for long. Until it is heard itself, whatever the broker has
    /// retained, that takes no less than `at_least`.
    async fn await_end(
        &self,
        inbox: &mut Inbox,
        seen: &mut Seen,
        at_least: Duration,
    ) -> Result<(), ConnectError> {
        self.treat_others(OtherTracker::AwaitReturn);
        let mut earliest = Instant::now() + at_least;
        loop {
            let is_online = self.another(seen).is_some();
            let silence = if is_online { SILENCE } else { Duration::ZERO };
            match timeout_at(earliest.max(Instant::now() + silence), inbox.recv()).await {
                Ok(delivery) => {
                    let delivery = delivery?;
                    seen.take(&self.common, &delivery);
                    if !delivery.retained && self.another(seen).is_some() {
                        earliest = Instant::now();
                    }
                }
                Err(_) if is_online => {
                    warn!("the other tracker has not been heard for {SILENCE:?}");
                    break;
                }
                Err(_) => break,
            }
        }
        info!("the other tracker is gone; taking over");
        Ok(())
    }
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
        if !epoch.is_believable() {
            warn!(%epoch, topic = delivery.topic, "no tracker comes to such an epoch: it is not listened to");
            return;
        }
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
