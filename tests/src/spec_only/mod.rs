//! A torrent and a tracker that know nothing but the specification *MQTT Distribution Services*: bare topics, no
//! features, no epochs, no revisions, no heartbeats. They stand beside our daemons on a real broker.
//!
//! They are written from the specification alone and share no code with the daemons, not even the words: JSON by hand,
//! over a plain MQTT client.

mod torrent;
mod tracker;

use serde_json::{Map, Value};

pub use torrent::{Answer, SpecTorrent, TorrentOptions};
pub use tracker::SpecTracker;

/// What an actor says next: a topic and an event without its identifier.
type Said = Vec<(&'static str, Value)>;

/// The payload of an event: its properties and a new identifier.
fn payload(event: Value) -> Vec<u8> {
    let Value::Object(mut properties) = event else { unreachable!("an event is an object") };
    properties.insert("EventId".to_owned(), uuid::Uuid::new_v4().to_string().into());
    Value::Object(properties).to_string().into_bytes()
}

/// Reads an event, or nothing: an actor ignores what it does not understand.
fn event(payload: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(payload).ok()
}

/// A property that is a text; empty if there is none.
fn text<'a>(event: &'a Map<String, Value>, property: &str) -> &'a str {
    event.get(property).and_then(Value::as_str).unwrap_or_default()
}

/// A property that is an array of texts; empty if there is none.
fn texts(event: &Map<String, Value>, property: &str) -> Vec<String> {
    let members = event.get(property).and_then(Value::as_array);
    members.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The keys of a property that is a dictionary; empty if there is none.
fn keys(event: &Map<String, Value>, property: &str) -> Vec<String> {
    let entries = event.get(property).and_then(Value::as_object);
    entries.into_iter().flat_map(Map::keys).cloned().collect()
}
