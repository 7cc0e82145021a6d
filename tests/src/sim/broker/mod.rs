//! An MQTT broker in memory: subscriptions, retained messages, Last Wills, and a queue for each subscriber.
//!
//! It carries bytes. What it hands out is recorded in the order of publication, and each copy meets its fate on the way to a subscriber.
//! How it behaves where brokers differ is its [`Profile`].

mod message;
mod profile;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use distribution::Moment;
use protocol::{ClientId, EventKind, Topics};

use super::faults::{Fate, Faults};
use super::rng::Rng;

pub use message::{Message, Order, Publication};
pub use profile::{
    IDEAL, MOSQUITTO, NATS, PROFILES, Profile, RABBITMQ, RABBITMQ_CLUSTER, RUMQTTD, SPECIFICATION, WORSE,
};
use session::Session;

/// Who comes again before this has passed is thrown out by a broker that jails.
const JAIL: Duration = Duration::from_secs(1);

/// The broker.
#[derive(Debug)]
pub struct Broker {
    topics: Topics,
    sessions: BTreeMap<ClientId, Session>,
    /// By node and topic.
    retained: BTreeMap<(usize, String), Message>,
    taken_over: BTreeMap<ClientId, Moment>,
    /// Everything published, in order.
    pub trace: Vec<Message>,
    /// What goes wrong.
    pub faults: Faults,
    /// How it behaves.
    pub profile: Profile,
    /// The order of delivery.
    pub order: Order,
    /// Longest time a copy takes.
    pub latency: Duration,
    /// Copies lost because too many waited for a subscriber.
    pub overflowed: u64,
    /// Messages of which a subscriber got several copies because several of its subscriptions fit.
    pub overlapped: u64,
}

impl Broker {
    /// A broker without subscribers.
    #[must_use]
    pub fn new(topics: Topics) -> Self {
        Self {
            topics,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            taken_over: BTreeMap::new(),
            trace: Vec::new(),
            faults: Faults::default(),
            profile: IDEAL,
            order: IDEAL.order,
            latency: Duration::from_millis(2),
            overflowed: 0,
            overlapped: 0,
        }
    }

    /// Behaves like this from now on.
    pub const fn behave(&mut self, profile: Profile) {
        self.profile = profile;
        self.order = profile.order;
    }

    /// Connects with a clean session; another connection of that name ends first, and its will is published where the broker does that.
    pub fn connect(
        &mut self,
        client: &ClientId,
        subscriptions: impl IntoIterator<Item = String>,
        will: Option<Publication>,
        now: Moment,
        rng: &mut Rng,
    ) {
        if self.profile.will_on_takeover {
            self.cut(client, now, rng);
        } else {
            self.disconnect(client);
        }
        let node = if self.profile.nodes > 1 { rng.below(self.profile.nodes) } else { 0 };
        let mut session = Session::new(subscriptions, will, node);
        for ((at, topic), message) in &self.retained {
            let is_told = session.is_told_retained(topic, self.profile.retained_on_wildcards);
            if *at == node && is_told && !message.payload.is_empty() {
                session.push(message, now, false);
            }
        }
        self.sessions.insert(client.clone(), session);
    }

    /// Whether a connection of this client would be thrown out: it takes over a connection, and did so a moment ago.
    pub fn jails(&mut self, client: &ClientId, now: Moment) -> bool {
        if !self.profile.jails || !self.sessions.contains_key(client) {
            return false;
        }
        let before = self.taken_over.insert(client.clone(), now);
        before.is_some_and(|before| now.since(before) < JAIL)
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
    pub fn unstall(&mut self, client: &ClientId, now: Moment) {
        let again = self.profile.tells_again_after;
        let Some(session) = self.sessions.get_mut(client).filter(|session| session.is_stalled) else {
            return;
        };
        session.is_stalled = false;
        if let Some(after) = again {
            session.tell_again(now, after);
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

    /// What the broker keeps on a topic, on any of its nodes.
    #[must_use]
    pub fn retained(&self, topic: &str) -> Option<&Message> {
        let of_topic = self.retained.iter().filter(|((_, kept), _)| kept == topic);
        of_topic.map(|(_, message)| message).max_by_key(|message| message.at)
    }

    /// Forgets what it kept, as a broker that restarts may.
    pub fn forget_retained(&mut self) {
        self.retained.clear();
    }

    /// What a client subscribed to.
    #[must_use]
    pub fn subscriptions(&self, client: &ClientId) -> BTreeSet<String> {
        self.sessions.get(client).map(Session::subscriptions).unwrap_or_default()
    }

    /// A hash of everything published, when and by whom: the same seed gives the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |word: u64| hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(23);
        for message in &self.trace {
            take(message.at.0);
            for text in [message.from.as_str().as_bytes(), message.topic.as_bytes(), &message.payload] {
                for word in text.chunks(8) {
                    let mut bytes = [0; 8];
                    bytes[..word.len()].copy_from_slice(word);
                    take(u64::from_le_bytes(bytes));
                }
            }
        }
        hash
    }

    /// Takes a publication and queues a copy for each subscriber.
    pub fn publish(&mut self, from: &ClientId, publication: Publication, now: Moment, rng: &mut Rng) {
        let Publication { topic, payload, retain } = publication;
        let kind = self.topics.parse(&topic).map(|(kind, _)| kind);
        let message = Message { at: now, from: from.clone(), kind, topic, payload };
        if self.faults.swallows(rng) {
            return self.trace.push(message);
        }
        if retain {
            let node = self.sessions.get(from).map_or(0, |session| session.node);
            self.retained.insert((node, message.topic.clone()), message.clone());
        }
        for (to, session) in &mut self.sessions {
            let fitting = session.fitting(&message.topic);
            let copies = if self.profile.copies_overlapping { fitting } else { fitting.min(1) };
            self.overlapped += u64::from(copies > 1);
            for _ in 0..copies {
                let fate = kind.map_or(Fate::Arrive, |kind| self.faults.fate(kind, from, to, rng));
                let ready = now + rng.wait(self.latency);
                if session.queue.len() >= self.profile.queue {
                    self.overflowed += 1;
                    continue;
                }
                match fate {
                    Fate::Drop => {}
                    Fate::Arrive => session.push(&message, ready, false),
                    Fate::Delay(late) => session.push(&message, ready + late, true),
                    Fate::Duplicate(late) => {
                        session.push(&message, ready, false);
                        session.push(&message, ready + late, true);
                    }
                }
            }
        }
        self.trace.push(message);
    }

    /// The copies that could be delivered now, as the place of the subscriber and the place in its queue.
    pub fn deliverable(&self, now: Moment) -> impl Iterator<Item = (usize, usize)> {
        let sessions = self.sessions.values().enumerate().filter(|(_, session)| !session.is_stalled);
        sessions.flat_map(move |(subscriber, session)| {
            let next = session.next(self.order).filter(move |place| session.queue[*place].ready <= now);
            next.map(move |place| (subscriber, place))
        })
    }

    /// When the next copy can be delivered.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Moment> {
        let next = |session: &Session| session.next(self.order).map(|place| session.queue[place].ready).min();
        self.sessions.values().filter(|session| !session.is_stalled).filter_map(next).min()
    }

    /// A message on its way, besides those that repeat for ever.
    #[must_use]
    pub fn on_its_way(&self) -> Option<EventKind> {
        let queued = self.sessions.values().flat_map(|session| &session.queue);
        let repeats = |kind: &EventKind| matches!(kind, EventKind::ClientHeartbeat | EventKind::TrackerHello);
        queued.filter_map(|copied| copied.message.kind).find(|kind| !repeats(kind))
    }

    /// Takes a deliverable copy out of a queue, and says for whom it is.
    ///
    /// # Panics
    /// If there is none.
    pub fn take(&mut self, subscriber: usize, place: usize) -> (ClientId, Message) {
        let (to, session) = self.sessions.iter_mut().nth(subscriber).expect("a subscriber");
        (to.clone(), session.queue.remove(place).message)
    }
}
