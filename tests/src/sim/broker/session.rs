//! One client's connection: what it subscribed to, and what waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use distribution::Moment;

use super::message::{Copied, Message, Order, Publication};

#[derive(Debug)]
pub(super) struct Session {
    /// Without wildcards.
    exact: BTreeSet<String>,
    wild: Vec<String>,
    pub queue: Vec<Copied>,
    pub will: Option<Publication>,
    /// Nothing gets through to it.
    pub is_stalled: bool,
    /// The node of the broker that it is connected to.
    pub node: usize,
}

impl Session {
    pub fn new(
        subscriptions: impl IntoIterator<Item = String>,
        will: Option<Publication>,
        node: usize,
    ) -> Self {
        let is_wild = |filter: &String| filter.contains(['+', '#']);
        let (wild, exact): (Vec<String>, Vec<String>) = subscriptions.into_iter().partition(is_wild);
        let exact = exact.into_iter().collect();
        Self { exact, wild, queue: Vec::new(), will, is_stalled: false, node }
    }

    pub fn subscriptions(&self) -> BTreeSet<String> {
        self.exact.iter().chain(&self.wild).cloned().collect()
    }

    /// How many of its subscriptions fit.
    pub fn fitting(&self, topic: &str) -> usize {
        let wild = self.wild.iter().filter(|filter| matches(filter, topic)).count();
        wild + usize::from(self.exact.contains(topic))
    }

    /// Whether it gets what is retained on a topic.
    pub fn is_told_retained(&self, topic: &str, on_wildcards: bool) -> bool {
        self.exact.contains(topic) || on_wildcards && self.fitting(topic) > 0
    }

    pub fn push(&mut self, message: &Message, ready: Moment, overtaken: bool) {
        self.queue.push(Copied { message: message.clone(), ready, overtaken });
    }

    /// What waits for longer than that is told again, behind all else.
    pub fn tell_again(&mut self, now: Moment, after: Duration) {
        let old = self.queue.iter().filter(|copied| now.since(copied.message.at) >= after);
        let again: Vec<Copied> = old.map(|copied| Copied { overtaken: true, ..copied.clone() }).collect();
        self.queue.extend(again);
    }

    /// The places of the queue from which may be taken next.
    pub fn next(&self, order: Order) -> impl Iterator<Item = usize> {
        let mut seen = BTreeSet::new();
        self.queue.iter().enumerate().filter_map(move |(place, copied)| {
            let line = match order {
                Order::Any => return Some(place),
                Order::Fifo => "",
                Order::PerPublisher => copied.message.from.as_str(),
                Order::PerTopic => copied.message.topic.as_str(),
            };
            (copied.overtaken || seen.insert(line)).then_some(place)
        })
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
