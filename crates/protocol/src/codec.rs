//! Bytes on a topic ⇄ an event.

use bytes::Bytes;
use serde::Serialize;
use serde::de::Error;

use crate::event::{
    FragmentDistributionDelivered, Issuer, TorrentEnvelope, TorrentEvent, TrackerEnvelope, TrackerEvent,
    write,
};
use crate::limits::{Limits, MAX_TEXT_BYTES};
use crate::topic::{EventKind, Role, Topics};
use crate::{ClientId, EventId};

/// An event as it was heard: who says what.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A tracker speaks.
    Tracker {
        /// Which tracker, and which change.
        envelope: TrackerEnvelope,
        /// Whether it used a direct topic.
        direct: bool,
        /// What it says.
        event: TrackerEvent,
    },
    /// A torrent speaks.
    Torrent {
        /// Names this event.
        event_id: EventId,
        /// The event that this one answers.
        in_reply_to: Option<EventId>,
        /// Which torrent.
        issuer: Issuer,
        /// Whether it used its direct topic.
        direct: bool,
        /// What it says.
        event: TorrentEvent,
    },
}

/// Why a payload is no event. It is dropped and counted; nothing else happens.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The topic is none of ours.
    #[error("no event is said on this topic")]
    UnknownTopic,
    /// Over [`Limits::event_bytes`].
    #[error("{kind}: {size_bytes} bytes are over the limit of {limit_bytes}")]
    TooLarge {
        /// The event that the topic names.
        kind: EventKind,
        /// The payload's size in bytes.
        size_bytes: usize,
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// More entries than [`Limits`] allow.
    #[error("{kind}: {count} {what} are over the limit of {limit}")]
    TooMany {
        /// The event that the topic names.
        kind: EventKind,
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Not one JSON object with the event's properties.
    #[error("{kind}: {source}")]
    Malformed {
        /// The event that the topic names.
        kind: EventKind,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A torrent's event on a shared topic without `ClientIdentifier`: nobody can tell who says it.
    #[error("{kind}: no ClientIdentifier, and the topic names no client: the event cannot be attributed")]
    Unattributed {
        /// The event that the topic names.
        kind: EventKind,
    },
    /// A torrent's event, or the answer to a torrent, on the direct topic of another.
    #[error("{kind}: ClientIdentifier is {claimed}, but the topic belongs to {owner}")]
    ForeignTopic {
        /// The event that the topic names.
        kind: EventKind,
        /// Who it claims to be from.
        claimed: ClientId,
        /// Whose topic it is.
        owner: ClientId,
    },
}

impl DecodeError {
    /// One word for counters.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany { .. } => "too_many",
            Self::Malformed { .. } => "malformed",
            Self::Unattributed { .. } => "unattributed",
            Self::ForeignTopic { .. } => "foreign_topic",
        }
    }
}

/// Reads what came on `topic`.
///
/// # Errors
/// See [`DecodeError`]. No payload makes this panic.
pub fn decode(topics: &Topics, limits: &Limits, topic: &str, payload: &[u8]) -> Result<Heard, DecodeError> {
    let (kind, topic_client) = topics.parse(topic).ok_or(DecodeError::UnknownTopic)?;
    if payload.len() > limits.event_bytes(kind) {
        let (size_bytes, limit_bytes) = (payload.len(), limits.event_bytes(kind));
        return Err(DecodeError::TooLarge { kind, size_bytes, limit_bytes });
    }
    match kind.issuer() {
        Role::Tracker => {
            let read = TrackerEvent::read(kind, payload).ok_or(DecodeError::UnknownTopic)?;
            let (envelope, event) = read.map_err(|source| malformed(kind, source))?;
            check_tracker_event(&event, limits)?;
            let direct = topic_client.is_some();
            check_addressee(&event, topic_client)?;
            Ok(Heard::Tracker { envelope, direct, event })
        }
        Role::Torrent => {
            let read =
                TorrentEvent::read::<TorrentEnvelope>(kind, payload).ok_or(DecodeError::UnknownTopic)?;
            let (envelope, event) = read.map_err(|source| malformed(kind, source))?;
            check_torrent_event(&event, limits)?;
            let direct = topic_client.is_some();
            let client = match (envelope.client_identifier, topic_client) {
                (Some(claimed), Some(owner)) if claimed != owner => {
                    return Err(DecodeError::ForeignTopic { kind, claimed, owner });
                }
                (Some(client), _) | (None, Some(client)) => client,
                (None, None) => return Err(DecodeError::Unattributed { kind }),
            };
            let TorrentEnvelope { instance, incarnation, registration, .. } = envelope;
            let issuer = Issuer { client, instance, incarnation, registration };
            let (event_id, in_reply_to) = (envelope.event_id, envelope.in_reply_to);
            Ok(Heard::Torrent { event_id, in_reply_to, issuer, direct, event })
        }
    }
}

/// The JSON reader quotes what it did not expect, however long that is; an error goes into a log.
fn malformed(kind: EventKind, source: serde_json::Error) -> DecodeError {
    const MAX_CHARS: usize = 256;
    let message = source.to_string();
    let source = match message.char_indices().nth(MAX_CHARS) {
        None => source,
        Some((end, _)) => {
            let (start, line, column) = (&message[..end], source.line(), source.column());
            serde_json::Error::custom(format_args!("{start}… at line {line} column {column}"))
        }
    };
    DecodeError::Malformed { kind, source }
}

fn at_most(kind: EventKind, what: &'static str, count: usize, limit: usize) -> Result<(), DecodeError> {
    if count > limit { Err(DecodeError::TooMany { kind, what, count, limit }) } else { Ok(()) }
}

fn text(kind: EventKind, text: Option<&str>) -> Result<(), DecodeError> {
    at_most(kind, "bytes of text", text.map_or(0, str::len), MAX_TEXT_BYTES)
}

/// An answer that names its torrent stands on no other torrent's topic.
fn check_addressee(event: &TrackerEvent, topic_client: Option<ClientId>) -> Result<(), DecodeError> {
    let named = match event {
        TrackerEvent::ClientJoinAccepted(accepted) => &accepted.client_identifier,
        TrackerEvent::ClientJoinDenied(denied) => &denied.client_identifier,
        TrackerEvent::TrackerHello(_)
        | TrackerEvent::TrackerGoodbye(_)
        | TrackerEvent::ClientRegistered(_)
        | TrackerEvent::ClientUnregistered(_)
        | TrackerEvent::FileInfoPublished(_)
        | TrackerEvent::FileRemoved(_)
        | TrackerEvent::FragmentDistributionStarted(_)
        | TrackerEvent::FragmentDistributionDelivered(_)
        | TrackerEvent::FragmentDistributionEnded(_) => return Ok(()),
    };
    match topic_client {
        Some(owner) if owner != *named => {
            Err(DecodeError::ForeignTopic { kind: event.kind(), claimed: named.clone(), owner })
        }
        _ => Ok(()),
    }
}

fn check_tracker_event(event: &TrackerEvent, limits: &Limits) -> Result<(), DecodeError> {
    let kind = event.kind();
    let entries = |what, count| at_most(kind, what, count, limits.max_entries);
    let endpoints = |count| at_most(kind, "endpoints", count, limits.max_endpoints);
    match event {
        TrackerEvent::TrackerHello(hello) => {
            endpoints(hello.endpoints.as_ref().map_or(0, |endpoints| endpoints.len()))?;
            text(kind, hello.hash_algorithm.as_deref())
        }
        TrackerEvent::ClientJoinDenied(denied) => text(kind, denied.reason.as_deref()),
        TrackerEvent::ClientJoinAccepted(accepted) => {
            entries("files", accepted.add_file_infos.len() + accepted.remove_file_infos.len())?;
            entries("fragments", accepted.add_fragment_infos.len() + accepted.remove_fragment_infos.len())?;
            entries("clients", accepted.clients.len())?;
            accepted.clients.values().try_for_each(|client| {
                entries("fragments", client.stored_fragments.len())?;
                endpoints(client.endpoints.len())
            })?;
            let mut sequences = accepted.add_file_infos.values();
            sequences.try_for_each(|file| entries("fragments", file.fragment_sequence.len()))
        }
        TrackerEvent::ClientRegistered(registered) => {
            entries("files", registered.added_files.len())?;
            entries("fragments", registered.added_fragments.len())?;
            entries("fragments", registered.info.stored_fragments.len())?;
            endpoints(registered.info.endpoints.len())?;
            let mut sequences = registered.added_files.values();
            sequences.try_for_each(|file| entries("fragments", file.fragment_sequence.len()))
        }
        TrackerEvent::FileInfoPublished(file) => entries("fragments", file.fragment_sequence.len()),
        TrackerEvent::FragmentDistributionDelivered(delivered) => {
            entries("receivers", delivered.receivers.len())
        }
        TrackerEvent::FragmentDistributionEnded(ended) => entries("receivers", ended.receivers.len()),
        TrackerEvent::TrackerGoodbye(_)
        | TrackerEvent::ClientUnregistered(_)
        | TrackerEvent::FileRemoved(_)
        | TrackerEvent::FragmentDistributionStarted(_) => Ok(()),
    }
}

fn check_torrent_event(event: &TorrentEvent, limits: &Limits) -> Result<(), DecodeError> {
    let kind = event.kind();
    let entries = |what, count| at_most(kind, what, count, limits.max_entries);
    match event {
        TorrentEvent::ClientJoinRequested(request) => {
            text(kind, Some(&request.hash_algorithm))?;
            entries("files", request.known_file_infos.len())?;
            entries("fragments", request.stored_fragments.len())?;
            at_most(kind, "endpoints", request.endpoints.len(), limits.max_endpoints)?;
            let mut sequences = request.known_file_infos.values();
            sequences.try_for_each(|file| entries("fragments", file.fragment_sequence.len()))
        }
        TorrentEvent::ClientJoinFailed(failed) => text(kind, failed.reason.as_deref()),
        TorrentEvent::ClientGoodbye(goodbye) => text(kind, goodbye.reason.as_deref()),
        TorrentEvent::FragmentDistributionFailed(failed) => text(kind, failed.reason.as_deref()),
        TorrentEvent::ClientJoinSucceeded(_)
        | TorrentEvent::ClientHeartbeat(_)
        | TorrentEvent::FragmentDistributionRequested(_)
        | TorrentEvent::FragmentDistributionObtained(_) => Ok(()),
    }
}

/// Writes what a tracker says.
#[must_use]
pub fn encode_tracker(envelope: &TrackerEnvelope, event: &TrackerEvent) -> Bytes {
    match event {
        TrackerEvent::TrackerHello(body) => write(envelope, body),
        TrackerEvent::TrackerGoodbye(body) => write(envelope, body),
        TrackerEvent::ClientJoinAccepted(body) => write(envelope, body),
        TrackerEvent::ClientJoinDenied(body) => write(envelope, body),
        TrackerEvent::ClientRegistered(body) => write(envelope, body),
        TrackerEvent::ClientUnregistered(body) => write(envelope, body),
        TrackerEvent::FileInfoPublished(body) => write(envelope, body),
        TrackerEvent::FileRemoved(body) => write(envelope, body),
        TrackerEvent::FragmentDistributionStarted(body) => write(envelope, body),
        TrackerEvent::FragmentDistributionDelivered(body) => write_delivered(envelope, body),
        TrackerEvent::FragmentDistributionEnded(body) => write(envelope, body),
    }
    .into()
}

/// Writes what a torrent says.
#[must_use]
pub fn encode_torrent(envelope: &TorrentEnvelope, event: &TorrentEvent) -> Bytes {
    match event {
        TorrentEvent::ClientJoinRequested(body) => write(envelope, body),
        TorrentEvent::ClientJoinSucceeded(body) => write(envelope, body),
        TorrentEvent::ClientJoinFailed(body) => write(envelope, body),
        TorrentEvent::ClientGoodbye(body) => write(envelope, body),
        TorrentEvent::ClientHeartbeat(body) => write(envelope, body),
        TorrentEvent::FragmentDistributionRequested(body) => write(envelope, body),
        TorrentEvent::FragmentDistributionObtained(body) => write(envelope, body),
        TorrentEvent::FragmentDistributionFailed(body) => write(envelope, body),
    }
    .into()
}

/// The one event with bytes in it. The base64 goes straight into the payload: through the JSON writer it would be copied once more and
/// searched for characters to escape, which costs more than hashing the fragment.
fn write_delivered(envelope: &TrackerEnvelope, delivered: &FragmentDistributionDelivered) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct AllButData<'a> {
        hash: &'a crate::Hash,
        receivers: &'a std::collections::BTreeSet<ClientId>,
    }
    let head = write(envelope, &AllButData { hash: &delivered.hash, receivers: &delivered.receivers });
    let base64 = base64_simd::STANDARD;
    let mut payload = Vec::with_capacity(head.len() + base64.encoded_length(delivered.data.len()) + 16);
    payload.extend_from_slice(head.strip_suffix(b"}").expect("an object ends with a brace"));
    payload.extend_from_slice(b",\"Data\":\"");
    base64.encode_append(&delivered.data, &mut payload);
    payload.extend_from_slice(b"\"}");
    payload
}
