//! Who speaks, and about what: the properties that every event of a role has besides its own.
//!
//! Envelope and body are one flat JSON object. Reading splits its properties between the two in one pass, so that the bytes in a
//! delivered fragment are touched once and a property given twice is an error in either half.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::{ClientId, Epoch, EventId, Incarnation, InstanceId, Revision};

/// What stands in every event of a tracker. A tracker that knows only the specification gives the event's id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrackerEnvelope {
    /// Names this event.
    pub event_id: EventId,
    /// The tracker's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// This run of the tracker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// On an event that changes the view: the number of the change. On the hello and on an answer: the last change made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The event that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<EventId>,
}

/// What stands in every event of a torrent. One that knows only the specification may leave out all but the event's id, but then it
/// can be attributed only by its topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TorrentEnvelope {
    /// Names this event.
    pub event_id: EventId,
    /// The torrent's MQTT client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_identifier: Option<ClientId>,
    /// The torrent's data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The torrent's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The request to join that led to its registration, while it is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<EventId>,
    /// The event that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<EventId>,
}

/// The torrent that issued an event, as far as it told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its MQTT client identifier.
    pub client: ClientId,
    /// Its data directory, if told.
    pub instance: Option<InstanceId>,
    /// Its start, if told.
    pub incarnation: Option<Incarnation>,
    /// The request to join that led to the registration under which it speaks, if told.
    pub registration: Option<EventId>,
}

/// Takes the envelope's properties out of an object while the body is read.
pub trait Envelope: Sized {
    type Slots: Default;

    /// Reads the value of `key` if it is a property of the envelope; says whether it was.
    fn accept<'de, A: MapAccess<'de>>(
        slots: &mut Self::Slots,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    fn complete<E: Error>(slots: Self::Slots) -> Result<Self, E>;
}

/// One property: not seen, or its value (which may be null).
type Slot<T> = Option<Option<T>>;

fn fill<'de, A, T>(slot: &mut Slot<T>, name: &'static str, map: &mut A) -> Result<bool, A::Error>
where
    A: MapAccess<'de>,
    T: DeriveDeserialize<'de>,
{
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(true)
}

fn required<T, E: Error>(slot: Slot<T>, name: &'static str) -> Result<T, E> {
    slot.flatten().ok_or_else(|| E::missing_field(name))
}

#[derive(Default)]
pub struct TrackerSlots {
    event_id: Slot<EventId>,
    epoch: Slot<Epoch>,
    instance: Slot<InstanceId>,
    revision: Slot<Revision>,
    in_reply_to: Slot<EventId>,
}

impl Envelope for TrackerEnvelope {
    type Slots = TrackerSlots;

    fn accept<'de, A: MapAccess<'de>>(
        slots: &mut TrackerSlots,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "EventId" => fill(&mut slots.event_id, "EventId", map),
            "Epoch" => fill(&mut slots.epoch, "Epoch", map),
            "Instance" => fill(&mut slots.instance, "Instance", map),
            "Revision" => fill(&mut slots.revision, "Revision", map),
            "InReplyTo" => fill(&mut slots.in_reply_to, "InReplyTo", map),
            _ => Ok(false),
        }
    }

    fn complete<E: Error>(slots: TrackerSlots) -> Result<Self, E> {
        Ok(Self {
            event_id: required(slots.event_id, "EventId")?,
            epoch: slots.epoch.flatten(),
            instance: slots.instance.flatten(),
            revision: slots.revision.flatten(),
            in_reply_to: slots.in_reply_to.flatten(),
        })
    }
}

#[derive(Default)]
pub struct TorrentSlots {
    event_id: Slot<EventId>,
    client_identifier: Slot<ClientId>,
    instance: Slot<InstanceId>,
    incarnation: Slot<Incarnation>,
    registration: Slot<EventId>,
    in_reply_to: Slot<EventId>,
}

impl Envelope for TorrentEnvelope {
    type Slots = TorrentSlots;

    fn accept<'de, A: MapAccess<'de>>(
        slots: &mut TorrentSlots,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "EventId" => fill(&mut slots.event_id, "EventId", map),
            "ClientIdentifier" => fill(&mut slots.client_identifier, "ClientIdentifier", map),
            "Instance" => fill(&mut slots.instance, "Instance", map),
            "Incarnation" => fill(&mut slots.incarnation, "Incarnation", map),
            "Registration" => fill(&mut slots.registration, "Registration", map),
            "InReplyTo" => fill(&mut slots.in_reply_to, "InReplyTo", map),
            _ => Ok(false),
        }
    }

    fn complete<E: Error>(slots: TorrentSlots) -> Result<Self, E> {
        Ok(Self {
            event_id: required(slots.event_id, "EventId")?,
            client_identifier: slots.client_identifier.flatten(),
            instance: slots.instance.flatten(),
            incarnation: slots.incarnation.flatten(),
            registration: slots.registration.flatten(),
            in_reply_to: slots.in_reply_to.flatten(),
        })
    }
}

/// Reads an event: one JSON object, and nothing after it.
pub fn read<'de, E: Envelope, B: DeriveDeserialize<'de>>(payload: &'de [u8]) -> serde_json::Result<(E, B)> {
    // Left to itself, the JSON reader does not look into the text of properties that are ignored.
    let text = std::str::from_utf8(payload).map_err(serde_json::Error::custom)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let both = json.deserialize_map(Both(PhantomData))?;
    json.end()?;
    Ok(both)
}

/// Writes an event: the envelope's properties, then the body's.
pub fn write<E: Serialize, B: Serialize>(envelope: &E, body: &B) -> Vec<u8> {
    #[derive(Serialize)]
    struct Flat<'a, E, B> {
        #[serde(flatten)]
        envelope: &'a E,
        #[serde(flatten)]
        body: &'a B,
    }
    serde_json::to_vec(&Flat { envelope, body }).expect("our own events have text keys and finite numbers")
}

struct Both<E, B>(PhantomData<(E, B)>);

impl<'de, E: Envelope, B: Deserialize<'de>> Visitor<'de> for Both<E, B> {
    type Value = (E, B);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(E, B), A::Error> {
        let mut slots = E::Slots::default();
        let rest = BodyOnly::<A, E> { map, slots: &mut slots };
        let body = B::deserialize(MapAccessDeserializer::new(rest))?;
        Ok((E::complete(slots)?, body))
    }
}

/// The object without the envelope's properties.
struct BodyOnly<'a, A, E: Envelope> {
    map: A,
    slots: &'a mut E::Slots,
}

impl<'de, A: MapAccess<'de>, E: Envelope> MapAccess<'de> for BodyOnly<'_, A, E> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<Cow<'de, str>>()? {
            if !E::accept(self.slots, &key, &mut self.map)? {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
