//! What is published, and the copies of it that are on their way.

use bytes::Bytes;
use distribution::Moment;
use protocol::{ClientId, EventKind};

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
    /// As published by each publisher; between publishers, any.
    PerPublisher,
    /// As published on each topic; between topics, any (all that MQTT promises).
    PerTopic,
    /// Any.
    Any,
}

/// A copy of a message for one subscriber.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub message: Message,
    pub ready: Moment,
    /// Delayed by a fault, or told again: nothing waits for it.
    pub overtaken: bool,
}
