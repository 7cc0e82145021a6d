//! What goes out and what comes in. Everything is published and subscribed with QoS 1.

use bytes::Bytes;

/// Something to publish, with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic to publish on: no wildcards.
    pub topic: String,
    /// The event's bytes.
    pub payload: Bytes,
    /// Whether the broker keeps it for those who subscribe later (one for each topic; an empty one clears it).
    pub retain: bool,
}

impl Message {
    /// A message that the broker does not retain.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), retain: false }
    }

    /// A message that the broker retains.
    #[must_use]
    pub fn retained(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { retain: true, ..Self::new(topic, payload) }
    }

    /// The most bytes that the message takes as an MQTT packet: fixed header (at most 5), length of the topic,
    /// packet id, topic, payload.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        5 + 2 + 2 + self.topic.len() + self.payload.len()
    }
}

/// Something that arrived. It may arrive twice, and with any QoS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Topic it was published on.
    pub topic: String,
    /// The event's bytes.
    pub payload: Bytes,
    /// Whether it was kept by the broker from before this session's subscription.
    pub retained: bool,
}
