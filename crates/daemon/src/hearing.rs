//! From a delivery on the bus to an event: what is no event is dropped, counted and logged, and nothing else happens.

use bus::Delivery;
use protocol::{DecodeError, Heard, Limits, Topics, decode};
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// Reads a delivery; none if it is no event.
pub fn hear(topics: &Topics, limits: &Limits, metrics: &Metrics, delivery: &Delivery) -> Option<Heard> {
    match decode(topics, limits, &delivery.topic, &delivery.payload) {
        Ok(heard) => {
            let kind = match &heard {
                Heard::Tracker { event, .. } => event.kind(),
                Heard::Torrent { event, .. } => event.kind(),
            };
            metrics.heard(kind.name(), "handled");
            debug!(topic = delivery.topic, ?heard, "heard");
            Some(heard)
        }
        Err(error) => {
            let event = topics.parse(&delivery.topic).map_or("unknown", |(kind, _)| kind.name());
            metrics.heard(event, error.reason());
            let bytes = delivery.payload.len();
            if let DecodeError::UnknownTopic = error {
                debug!(topic = delivery.topic, bytes, "dropped: {error}");
            } else {
                warn!(topic = delivery.topic, bytes, "dropped: {error}");
            }
            None
        }
    }
}
