//! One event of every kind, out of one story: the values that the golden files stand for.
//!
//! A tracker in its third epoch keeps fragments of 262144 bytes in two copies. It knows `notes.bin`: 262144 zero bytes, then "the
//! end". `torrent-3` was away: it alone has `agenda.txt`, and it still has a draft that was deleted meanwhile. It joins, and gets the
//! second fragment of `notes.bin`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::event::{
    ClientGoodbye, ClientHeartbeat, ClientJoinAccepted, ClientJoinDenied, ClientJoinFailed,
    ClientJoinRequested, ClientJoinSucceeded, ClientRegistered, ClientUnregistered, FileInfoPublished,
    FileRemoved, FragmentDistributionDelivered, FragmentDistributionEnded, FragmentDistributionFailed,
    FragmentDistributionObtained, FragmentDistributionRequested, FragmentDistributionStarted, Issuer,
    TorrentEnvelope, TorrentEvent, TrackerEnvelope, TrackerEvent, TrackerGoodbye, TrackerHello,
    UnregisteredReason, reason,
};
use protocol::{
    ClientId, ClientMetadata, DeniedCode, EndpointUri, Epoch, EventId, EventKind, Features, FileMetadata,
    FragmentMetadata, Hash, Heard, Incarnation, InstanceId, Revision, Role, Zone,
};

/// An event before it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Tracker(TrackerEnvelope, TrackerEvent),
    Torrent(TorrentEnvelope, TorrentEvent),
}

impl Said {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Tracker(envelope, event) => protocol::encode_tracker(envelope, event),
            Self::Torrent(envelope, event) => protocol::encode_torrent(envelope, event),
        }
    }

    /// What is heard of it on the shared topic, or on the direct one of `owner`.
    pub fn heard(&self, owner: Option<&ClientId>) -> Heard {
        match self.clone() {
            Self::Tracker(envelope, event) => Heard::Tracker { envelope, direct: owner.is_some(), event },
            Self::Torrent(envelope, event) => Heard::Torrent {
                event_id: envelope.event_id,
                in_reply_to: envelope.in_reply_to,
                issuer: Issuer {
                    client: envelope.client_identifier.or_else(|| owner.cloned()).expect("somebody says it"),
                    instance: envelope.instance,
                    incarnation: envelope.incarnation,
                    registration: envelope.registration,
                },
                direct: owner.is_some(),
                event,
            },
        }
    }
}

/// The first fragment of `notes.bin`.
pub fn zeroes() -> Vec<u8> {
    vec![0; 262_144]
}
/// The second fragment of `notes.bin`.
pub const THE_END: &[u8] = b"the end\n";
/// `agenda.txt`.
pub const AGENDA: &[u8] = b"agenda\n";
/// The deleted file.
pub const DRAFT: &[u8] = b"draft\n";

pub fn notes() -> Hash {
    Hash::of(&[zeroes().as_slice(), THE_END].concat())
}

pub fn client(id: &str) -> ClientId {
    id.parse().expect("a client identifier")
}

fn zone(name: &str) -> Zone {
    name.parse().expect("a zone")
}

/// The torrent that speaks.
pub fn speaker() -> ClientId {
    client("torrent-3")
}

fn event_id(kind: EventKind) -> EventId {
    let number = EventKind::ALL.iter().position(|each| *each == kind).expect("every kind is listed") + 1;
    let text = format!("5b0c6f1e-8a94-4c3b-9d7e-2f4a1b3c{number:04}");
    serde_json::from_value(text.into()).expect("a GUID")
}

fn instance(text: &str) -> InstanceId {
    serde_json::from_value(text.into()).expect("a GUID")
}

/// As an event that knows nothing but the specification: every addition left out.
pub fn spec_only(kind: EventKind) -> Said {
    let mut said = full(kind);
    match &mut said {
        Said::Tracker(envelope, event) => {
            let event_id = envelope.event_id;
            *envelope =
                TrackerEnvelope { event_id, epoch: None, instance: None, revision: None, in_reply_to: None };
            strip_tracker_event(event);
        }
        Said::Torrent(envelope, event) => {
            let event_id = envelope.event_id;
            *envelope = TorrentEnvelope {
                event_id,
                client_identifier: None,
                instance: None,
                incarnation: None,
                registration: None,
                in_reply_to: None,
            };
            strip_torrent_event(event);
        }
    }
    said
}

fn strip_tracker_event(event: &mut TrackerEvent) {
    let strip_files = |files: &mut BTreeMap<Hash, FileMetadata>| {
        files.values_mut().for_each(|file| file.name = None);
    };
    match event {
        TrackerEvent::TrackerHello(hello) => *hello = TrackerHello::default(),
        TrackerEvent::ClientJoinAccepted(accepted) => {
            strip_files(&mut accepted.add_file_infos);
            accepted.clients.values_mut().for_each(strip_client);
        }
        TrackerEvent::ClientJoinDenied(denied) => denied.reason = None,
        TrackerEvent::ClientRegistered(registered) => {
            strip_files(&mut registered.added_files);
            strip_client(&mut registered.info);
        }
        TrackerEvent::FileInfoPublished(file) => file.name = None,
        TrackerEvent::FragmentDistributionStarted(started) => started.attempt = None,
        TrackerEvent::TrackerGoodbye(_)
        | TrackerEvent::FragmentDistributionDelivered(_)
        | TrackerEvent::FragmentDistributionEnded(_) => {}
        TrackerEvent::ClientUnregistered(_) | TrackerEvent::FileRemoved(_) => {
            panic!("the specification has no {}", event.kind())
        }
    }
}

fn strip_client(client: &mut ClientMetadata) {
    client.capacity_bytes = None;
    client.zone = None;
}

fn strip_torrent_event(event: &mut TorrentEvent) {
    match event {
        TorrentEvent::ClientJoinRequested(request) => {
            request.fragment_size_bytes = None;
            request.known_file_infos.values_mut().for_each(|file| file.name = None);
            request.features = Features::NONE;
            request.capacity_bytes = None;
            request.zone = None;
            request.seen_epoch = None;
            request.seen_instance = None;
            request.registered_by = None;
            request.registered_epoch = None;
        }
        TorrentEvent::ClientJoinFailed(failed) => failed.reason = None,
        TorrentEvent::ClientGoodbye(goodbye) => goodbye.reason = None,
        TorrentEvent::FragmentDistributionFailed(failed) => failed.reason = None,
        TorrentEvent::ClientJoinSucceeded(_)
        | TorrentEvent::FragmentDistributionRequested(_)
        | TorrentEvent::FragmentDistributionObtained(_) => {}
        TorrentEvent::ClientHeartbeat(_) => panic!("the specification has no {}", event.kind()),
    }
}

/// As our daemons say it, with every property.
pub fn full(kind: EventKind) -> Said {
    match kind.issuer() {
        Role::Tracker => tracker(kind),
        Role::Torrent => torrent(kind),
    }
}

fn tracker(kind: EventKind) -> Said {
    let (event, revision, answers): (TrackerEvent, Option<u64>, Option<EventKind>) = match kind {
        EventKind::TrackerHello => (hello().into(), Some(40), None),
        EventKind::TrackerGoodbye => (TrackerGoodbye {}.into(), None, None),
        EventKind::ClientJoinAccepted => (accepted().into(), Some(40), Some(EventKind::ClientJoinRequested)),
        EventKind::ClientJoinDenied => (denied().into(), None, Some(EventKind::ClientJoinRequested)),
        EventKind::ClientRegistered => (registered().into(), Some(41), None),
        EventKind::FileInfoPublished => (file_info().into(), Some(38), None),
        EventKind::FragmentDistributionStarted => {
            let (hash, size_bytes) = (Hash::of(THE_END), 8);
            (FragmentDistributionStarted { hash, size_bytes, attempt: Some(1) }.into(), None, None)
        }
        EventKind::FragmentDistributionDelivered => {
            let (hash, data) = (Hash::of(THE_END), Bytes::from_static(THE_END));
            let receivers = BTreeSet::from([client("torrent-2"), speaker()]);
            (FragmentDistributionDelivered { hash, data, receivers }.into(), None, None)
        }
        EventKind::FragmentDistributionEnded => {
            let (hash, size_bytes) = (Hash::of(THE_END), 8);
            let receivers = BTreeSet::from([client("torrent-2"), speaker()]);
            (FragmentDistributionEnded { hash, size_bytes, receivers }.into(), Some(42), None)
        }
        EventKind::ClientUnregistered => {
            let reason = UnregisteredReason::Leaving;
            let body = ClientUnregistered { client_identifier: speaker(), reason };
            (body.into(), Some(44), None)
        }
        EventKind::FileRemoved => (FileRemoved { hash: Hash::of(DRAFT) }.into(), Some(39), None),
        EventKind::ClientJoinRequested
        | EventKind::ClientJoinSucceeded
        | EventKind::ClientJoinFailed
        | EventKind::ClientGoodbye
        | EventKind::ClientHeartbeat
        | EventKind::FragmentDistributionRequested
        | EventKind::FragmentDistributionObtained
        | EventKind::FragmentDistributionFailed => panic!("a torrent says {kind}"),
    };
    let envelope = TrackerEnvelope {
        event_id: event_id(kind),
        epoch: Some(Epoch(3)),
        instance: Some(instance("c2b7d0a4-51ef-4f86-8d39-0e6b7a1c9f20")),
        revision: revision.map(Revision),
        in_reply_to: answers.map(event_id),
    };
    Said::Tracker(envelope, event)
}

fn torrent(kind: EventKind) -> Said {
    let hash = Hash::of(THE_END);
    let (event, answers): (TorrentEvent, Option<EventKind>) = match kind {
        EventKind::ClientJoinRequested => (requested().into(), None),
        EventKind::ClientJoinSucceeded => {
            (ClientJoinSucceeded {}.into(), Some(EventKind::ClientJoinAccepted))
        }
        EventKind::ClientJoinFailed => {
            let reason = Some("the view could not be written: no space left on device".to_owned());
            (ClientJoinFailed { reason }.into(), Some(EventKind::ClientJoinAccepted))
        }
        EventKind::ClientGoodbye => (ClientGoodbye { reason: Some(reason::LEAVING.to_owned()) }.into(), None),
        EventKind::ClientHeartbeat => (heartbeat().into(), None),
        EventKind::FragmentDistributionRequested => (FragmentDistributionRequested { hash }.into(), None),
        EventKind::FragmentDistributionObtained => {
            (FragmentDistributionObtained { hash }.into(), Some(EventKind::FragmentDistributionDelivered))
        }
        EventKind::FragmentDistributionFailed => {
            let reason = Some("the bytes do not match the hash".to_owned());
            (
                FragmentDistributionFailed { hash, reason }.into(),
                Some(EventKind::FragmentDistributionDelivered),
            )
        }
        EventKind::TrackerHello
        | EventKind::TrackerGoodbye
        | EventKind::ClientJoinAccepted
        | EventKind::ClientJoinDenied
        | EventKind::ClientRegistered
        | EventKind::FileInfoPublished
        | EventKind::FragmentDistributionStarted
        | EventKind::FragmentDistributionDelivered
        | EventKind::FragmentDistributionEnded
        | EventKind::ClientUnregistered
        | EventKind::FileRemoved => panic!("a tracker says {kind}"),
    };
    let is_registered = !matches!(
        kind,
        EventKind::ClientJoinRequested | EventKind::ClientJoinSucceeded | EventKind::ClientJoinFailed
    );
    let envelope = TorrentEnvelope {
        event_id: event_id(kind),
        client_identifier: Some(speaker()),
        instance: Some(instance("9e4d2c61-7b05-4a3f-b8c1-d5f60a2e7b43")),
        incarnation: Some(Incarnation(7)),
        registration: is_registered.then(|| event_id(EventKind::ClientJoinRequested)),
        in_reply_to: answers.map(event_id),
    };
    Said::Torrent(envelope, event)
}

fn hello() -> TrackerHello {
    TrackerHello {
        features: Features::all(),
        hash_algorithm: Some("SHA256".to_owned()),
        fragment_size_bytes: Some(262_144),
        copies: Some(2),
        lease_ms: Some(10_000),
        heartbeat_ms: Some(3_000),
        endpoints: Some(endpoints("grpc://10.0.0.1:7401")),
        probe: None,
    }
}

fn notes_metadata() -> FileMetadata {
    FileMetadata {
        size_bytes: 262_152,
        fragment_sequence: vec![Hash::of(&zeroes()), Hash::of(THE_END)],
        name: Some("notes.bin".parse().expect("a file name")),
    }
}

fn small_file(content: &[u8], name: &str) -> (Hash, FileMetadata) {
    let hash = Hash::of(content);
    let name = Some(name.parse().expect("a file name"));
    (hash, FileMetadata { size_bytes: size(content), fragment_sequence: vec![hash], name })
}

fn size(content: &[u8]) -> u64 {
    content.len().try_into().expect("small")
}

fn fragment(content: &[u8]) -> (Hash, FragmentMetadata) {
    (Hash::of(content), FragmentMetadata { size_bytes: size(content) })
}

fn endpoints(uri: &str) -> BTreeSet<EndpointUri> {
    BTreeSet::from([uri.parse().expect("an endpoint")])
}

fn file_info() -> FileInfoPublished {
    let FileMetadata { size_bytes, fragment_sequence, name } = notes_metadata();
    FileInfoPublished { hash: notes(), size_bytes, fragment_sequence, name }
}

fn requested() -> ClientJoinRequested {
    ClientJoinRequested {
        hash_algorithm: "SHA256".to_owned(),
        fragment_size_bytes: Some(262_144),
        known_file_infos: BTreeMap::from([small_file(AGENDA, "agenda.txt"), small_file(DRAFT, "draft.txt")]),
        stored_fragments: BTreeMap::from([fragment(AGENDA), fragment(DRAFT)]),
        endpoints: endpoints("grpc://10.0.0.13:7402"),
        features: Features::all(),
        capacity_bytes: Some(1 << 40),
        zone: Some(zone("rack-b")),
        seen_epoch: Some(Epoch(2)),
        seen_instance: Some(instance("c0a8f3d2-6e1b-4d57-9f24-8b3e7a105c96")),
        registered_by: Some(instance("c0a8f3d2-6e1b-4d57-8e02-94b7d61f3ac5")),
        registered_epoch: Some(Epoch(1)),
    }
}

fn accepted() -> ClientJoinAccepted {
    let registered = |endpoint: &str, stored: &[Hash], in_zone: &str| ClientMetadata {
        endpoints: endpoints(endpoint),
        stored_fragments: stored.iter().copied().collect(),
        capacity_bytes: Some(1 << 40),
        zone: Some(zone(in_zone)),
    };
    let first = Hash::of(&zeroes());
    ClientJoinAccepted {
        client_identifier: speaker(),
        fragment_size_bytes: 262_144,
        add_file_infos: BTreeMap::from([(notes(), notes_metadata())]),
        add_fragment_infos: BTreeMap::from([fragment(&zeroes()), fragment(THE_END)]),
        remove_file_infos: BTreeSet::from([Hash::of(DRAFT)]),
        remove_fragment_infos: BTreeSet::from([Hash::of(DRAFT)]),
        clients: BTreeMap::from([
            (client("torrent-1"), registered("grpc://10.0.0.11:7402", &[first], "rack-a")),
            (client("torrent-2"), registered("grpc://10.0.0.12:7402", &[first], "rack-b")),
        ]),
    }
}

fn denied() -> ClientJoinDenied {
    ClientJoinDenied {
        client_identifier: speaker(),
        reason_code: DeniedCode::EndpointConflict,
        reason: Some("grpc://10.0.0.13:7402 is an endpoint of torrent-1".to_owned()),
    }
}

fn registered() -> ClientRegistered {
    ClientRegistered {
        client_identifier: speaker(),
        info: ClientMetadata {
            endpoints: endpoints("grpc://10.0.0.13:7402"),
            stored_fragments: BTreeSet::from([Hash::of(AGENDA)]),
            capacity_bytes: Some(1 << 40),
            zone: Some(zone("rack-b")),
        },
        added_files: BTreeMap::from([small_file(AGENDA, "agenda.txt")]),
        added_fragments: BTreeMap::from([fragment(AGENDA)]),
    }
}

fn heartbeat() -> ClientHeartbeat {
    ClientHeartbeat {
        revision: Revision(42),
        digest: Hash::of(b"the digest of the view"),
        inventory_digest: Hash::of(b"the digest of the inventory"),
        stored: 2,
        free_bytes: (1 << 40) - 15,
    }
}
