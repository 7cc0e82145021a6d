//! An MQTT broker in memory: subscriptions, retained messages, Last Wills, and a queue for each subscriber.
//!
//! It carries bytes. What it hands out is recorded in the order of publication, and each copy meets its fate on the way to a subscriber.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use distribution::Moment;
use protocol::{ClientId, EventKind, Topics};

use super::faults::{Fate, Faults};
use super::rng::Rng;

/// Something to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
}

/// Something that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When.
    pub at: Moment,
    /// Who, by the broker's knowledge.
    pub from: ClientId,
    /// Which event, if the topic is one of ours.
    pub kind: Option<EventKind>,
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
}

/// The order in which a subscriber's queue empties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As published.
    Fifo,
    /// As published on each topic; between topics, any (all that MQTT promises).
    PerTopic,
    /// Any.
    Any,
}

#[derive(Debug)]
struct Copied {
    message: Message,
    ready: Moment,
    /// Delayed by a fault: nothing waits for it.
    overtaken: bool,
}

#[derive(Debug)]
struct Session {
    subscriptions: BTreeSet<String>,
    queue: Vec<Copied>,
    will: Option<Publication>,
    /// Nothing gets through to it.
    is_stalled: bool,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    topics: Topics,
    sessions: BTreeMap<ClientId, Session>,
    retained: BTreeMap<String, Message>,
    /// Everything published, in order.
    pub trace: Vec<Message>,
    /// What goes wrong.
    pub faults: Faults,
    /// The order of delivery.
    pub order: Order,
    /// Longest time a copy takes.
    pub latency: Duration,
}

impl Broker {
    /// A broker without subscribers.
    #[must_use]
    pub fn new(topics: Topics) -> Self {
        Self {
            topics,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            trace: Vec::new(),
            faults: Faults::default(),
            order: Order::Fifo,
            latency: Duration::from_millis(2),
        }
    }

    /// Connects with a clean session; another connection of that name ends first, and its will is published.
    pub fn connect(
        &mut self,
        client: &ClientId,
        subscriptions: impl IntoIterator<Item = String>,
        will: Option<Publication>,
        now: Moment,
        rng: &mut Rng,
    ) {
        self.cut(client, now, rng);
        let subscriptions: BTreeSet<String> = subscriptions.into_iter().collect();
        let retained = self.retained.values().filter(|kept| {
            subscriptions.iter().any(|filter| matches(filter, &kept.topic)) && !kept.payload.is_empty()
        });
        let queue = retained.map(|message| Copied { message: message.clone(), ready: now, overtaken: false });
        let queue = queue.collect();
        self.sessions.insert(client.clone(), Session { subscriptions, queue, will, is_stalled: false });
    }

    /// The connection breaks: what was on its way is lost, and the will is published.
    pub fn cut(&mut self, client: &ClientId, now: Moment, rng: &mut Rng) {
        let will = self.sessions.remove(client).and_then(|session| session.will);
        if let Some(will) = will {
            self.publish(client, will, now, rng);
        }
    }

    /// The client disconnects as it should: no will.
    pub fn disconnect(&mut self, client: &ClientId) {
        self.sessions.remove(client);
    }

    /// Nothing gets through to the client any more, and nobody knows.
    pub fn stall(&mut self, client: &ClientId) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.is_stalled = true;
        }
    }

    /// Whether nothing gets through to the client.
    #[must_use]
    pub fn is_stalled(&self, client: &ClientId) -> bool {
        self.sessions.get(client).is_some_and(|session| session.is_stalled)
    }

    /// It does again.
    pub fn unstall(&mut self, client: &ClientId) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.is_stalled = false;
        }
    }

    /// The process of the broker ends and starts again: every session is gone, without its will. Who was connected follows.
    pub fn restart(&mut self, keeps_retained: bool) -> Vec<ClientId> {
        if !keeps_retained {
            self.forget_retained();
        }
        std::mem::take(&mut self.sessions).into_keys().collect()
    }

    /// Whether the client is connected.
    #[must_use]
    pub fn is_connected(&self, client: &ClientId) -> bool {
        self.sessions.contains_key(client)
    }

    /// What the broker keeps on a topic.
    #[must_use]
    pub fn retained(&self, topic: &str) -> Option<&Message> {
        self.retained.get(topic)
    }

    /// Forgets what it kept, as a broker that restarts may.
    pub fn forget_retained(&mut self) {
        self.retained.clear();
    }

    /// What a client subscribed to.
    #[must_use]
    pub fn subscriptions(&self, client: &ClientId) -> BTreeSet<String> {
        self.sessions.get(client).map(|session| session.subscriptions.clone()).unwrap_or_default()
    }

    /// A hash of everything published, when and by whom: the same seed gives the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take =
            |bytes: &[u8]| bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
        for message in &self.trace {
            take(&message.at.0.to_le_bytes());
            take(message.from.as_str().as_bytes());
            take(message.topic.as_bytes());
            take(&message.payload);
        }
        hash
    }

    /// Takes a publication and queues a copy for each subscriber.
    pub fn publish(&mut self, from: &ClientId, publication: Publication, now: Moment, rng: &mut Rng) {
        let Publication { topic, payload, retain } = publication;
        let kind = self.topics.parse(&topic).map(|(kind, _)| kind);
        let message = Message { at: now, from: from.clone(), kind, topic, payload };
        if retain {
            self.retained.insert(message.topic.clone(), message.clone());
        }
        for (to, session) in &mut self.sessions {
            if !session.subscriptions.iter().any(|filter| matches(filter, &message.topic)) {
                continue;
            }
            let fate = kind.map_or(Fate::Arrive, |kind| self.faults.fate(kind, from, to, rng));
            let ready = now + rng.wait(self.latency);
            let mut queue = |ready, overtaken| {
                session.queue.push(Copied { message: message.clone(), ready, overtaken });
            };
            match fate {
                Fate::Drop => {}
                Fate::Arrive => queue(ready, false),
                Fate::Delay(late) => queue(ready + late, true),
                Fate::Duplicate(late) => {
                    queue(ready, false);
                    queue(ready + late, true);
                }
            }
        }
        self.trace.push(message);
    }

    /// The copies that could be delivered next, as (subscriber, place in its queue).
    #[must_use]
    pub fn deliverable(&self, now: Moment) -> Vec<(ClientId, usize)> {
        let mut ready = Vec::new();
        for (to, session) in self.sessions.iter().filter(|(_, session)| !session.is_stalled) {
            let places = self.next_of(session);
            ready.extend(
                places.filter(|place| session.queue[*place].ready <= now).map(|place| (to.clone(), place)),
            );
        }
        ready
    }

    /// When the next copy can be delivered.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Moment> {
        let next = |session: &Session| self.next_of(session).map(|place| session.queue[place].ready).min();
        self.sessions.values().filter(|session| !session.is_stalled).filter_map(next).min()
    }

    /// A message on its way, besides those that repeat for ever.
    #[must_use]
    pub fn on_its_way(&self) -> Option<EventKind> {
        let queued = self.sessions.values().flat_map(|session| &session.queue);
        let repeats = |kind: &EventKind| matches!(kind, EventKind::ClientHeartbeat | EventKind::TrackerHello);
        queued.filter_map(|copied| copied.message.kind).find(|kind| !repeats(kind))
    }

    fn next_of<'a>(&self, session: &'a Session) -> impl Iterator<Item = usize> + use<'a> {
        let order = self.order;
        let mut topics_seen = BTreeSet::new();
        session.queue.iter().enumerate().filter_map(move |(place, copied)| {
            let topic = match order {
                Order::Any => return Some(place),
                Order::Fifo => "",
                Order::PerTopic => copied.message.topic.as_str(),
            };
            (copied.overtaken || topics_seen.insert(topic)).then_some(place)
        })
    }

    /// Takes a copy out of a queue.
    pub fn take(&mut self, to: &ClientId, place: usize) -> Message {
        let session = self.sessions.get_mut(to).expect("a subscriber with something deliverable");
        session.queue.remove(place).message
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
