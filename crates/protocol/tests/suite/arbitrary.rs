//! Arbitrary events of every kind, as one who means well may say them.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::event::{
    ClientGoodbye, ClientHeartbeat, ClientJoinAccepted, ClientJoinDenied, ClientJoinFailed,
    ClientJoinRequested, ClientJoinSucceeded, ClientRegistered, ClientUnregistered, FileInfoPublished,
    FileRemoved, FragmentDistributionDelivered, FragmentDistributionEnded, FragmentDistributionFailed,
    FragmentDistributionObtained, FragmentDistributionRequested, FragmentDistributionStarted,
    TorrentEnvelope, TorrentEvent, TrackerEnvelope, TrackerEvent, TrackerGoodbye, TrackerHello,
    UnregisteredReason,
};
use protocol::{
    ClientId, ClientMetadata, DeniedCode, EndpointUri, Epoch, EventId, EventKind, Feature, Features,
    FileMetadata, FileName, FragmentMetadata, Hash, Incarnation, InstanceId, Revision, Zone,
};

use crate::samples::Said;

/// Any event that the type can say and the default limits allow.
pub fn any_event() -> impl Strategy<Value = (EventKind, Said)> {
    proptest::sample::select(EventKind::ALL).prop_flat_map(|kind| (Just(kind), event(kind)))
}

/// Any event of the kind.
pub fn event(kind: EventKind) -> BoxedStrategy<Said> {
    match kind {
        EventKind::TrackerHello => tracker(hello()),
        EventKind::TrackerGoodbye => tracker(Just(TrackerGoodbye {})),
        EventKind::ClientJoinAccepted => tracker(accepted()),
        EventKind::ClientJoinDenied => tracker((client(), denied_code(), option::of(text())).prop_map(
            |(client_identifier, reason_code, reason)| ClientJoinDenied {
                client_identifier,
                reason_code,
                reason,
            },
        )),
        EventKind::ClientRegistered => tracker(registered()),
        EventKind::FileInfoPublished => tracker((hash(), file()).prop_map(|(hash, file)| {
            let FileMetadata { size_bytes, fragment_sequence, name } = file;
            FileInfoPublished { hash, size_bytes, fragment_sequence, name }
        })),
        EventKind::FragmentDistributionStarted => {
            tracker((hash(), count(), option::of(count())).prop_map(|(hash, size_bytes, attempt)| {
                FragmentDistributionStarted { hash, size_bytes, attempt }
            }))
        }
        EventKind::FragmentDistributionDelivered => {
            tracker((hash(), vec(any::<u8>(), 0..600), clients()).prop_map(|(hash, data, receivers)| {
                FragmentDistributionDelivered { hash, data: Bytes::from(data), receivers }
            }))
        }
        EventKind::FragmentDistributionEnded => {
            tracker((hash(), count(), clients()).prop_map(|(hash, size_bytes, receivers)| {
                FragmentDistributionEnded { hash, size_bytes, receivers }
            }))
        }
        EventKind::ClientUnregistered => tracker(
            (client(), unregistered_reason())
                .prop_map(|(client_identifier, reason)| ClientUnregistered { client_identifier, reason }),
        ),
        EventKind::FileRemoved => tracker(hash().prop_map(|hash| FileRemoved { hash })),
        EventKind::ClientJoinRequested => torrent(requested()),
        EventKind::ClientJoinSucceeded => torrent(Just(ClientJoinSucceeded {})),
        EventKind::ClientJoinFailed => {
            torrent(option::of(text()).prop_map(|reason| ClientJoinFailed { reason }))
        }
        EventKind::ClientGoodbye => torrent(option::of(text()).prop_map(|reason| ClientGoodbye { reason })),
        EventKind::ClientHeartbeat => torrent(heartbeat()),
        EventKind::FragmentDistributionRequested => {
            torrent(hash().prop_map(|hash| FragmentDistributionRequested { hash }))
        }
        EventKind::FragmentDistributionObtained => {
            torrent(hash().prop_map(|hash| FragmentDistributionObtained { hash }))
        }
        EventKind::FragmentDistributionFailed => torrent(
            (hash(), option::of(text()))
                .prop_map(|(hash, reason)| FragmentDistributionFailed { hash, reason }),
        ),
    }
}

fn tracker<B: Into<TrackerEvent> + 'static>(body: impl Strategy<Value = B> + 'static) -> BoxedStrategy<Said> {
    let envelope = (
        event_id(),
        option::of(count().prop_map(Epoch)),
        option::of(instance()),
        option::of(count().prop_map(Revision)),
        option::of(event_id()),
    );
    (envelope, body)
        .prop_map(|((event_id, epoch, instance, revision, in_reply_to), body)| {
            Said::Tracker(TrackerEnvelope { event_id, epoch, instance, revision, in_reply_to }, body.into())
        })
        .boxed()
}

fn torrent<B: Into<TorrentEvent> + 'static>(body: impl Strategy<Value = B> + 'static) -> BoxedStrategy<Said> {
    let envelope = (
        event_id(),
        client().prop_map(Some),
        option::of(instance()),
        option::of(count().prop_map(Incarnation)),
        option::of(event_id()),
        option::of(event_id()),
    );
    (envelope, body)
        .prop_map(
            |((event_id, client_identifier, instance, incarnation, registration, in_reply_to), body)| {
                let envelope = TorrentEnvelope {
                    event_id,
                    client_identifier,
                    instance,
                    incarnation,
                    registration,
                    in_reply_to,
                };
                Said::Torrent(envelope, body.into())
            },
        )
        .boxed()
}

/// A count that an Int64 can carry; the edges come often.
pub fn count() -> impl Strategy<Value = u64> {
    let last = u64::try_from(i64::MAX).expect("positive");
    prop_oneof![Just(0), Just(1), Just(last), 0..=last]
}

fn guid() -> impl Strategy<Value = uuid::Uuid> {
    any::<[u8; 16]>().prop_map(uuid::Uuid::from_bytes)
}

fn event_id() -> impl Strategy<Value = EventId> {
    guid().prop_map(EventId)
}

fn instance() -> impl Strategy<Value = InstanceId> {
    guid().prop_map(InstanceId)
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

pub fn client() -> impl Strategy<Value = ClientId> {
    "[a-z0-9_-]{1,64}".prop_map(|text| text.parse().expect("a client identifier"))
}

fn zone() -> impl Strategy<Value = Zone> {
    "\\PC{1,16}".prop_filter_map("not a zone", |text| text.parse().ok())
}

fn clients() -> impl Strategy<Value = BTreeSet<ClientId>> {
    btree_set(client(), 0..5)
}

/// Text for people: also what has to be escaped, and what is not ASCII.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("\"\\/\u{0}\u{1f}\u{7f}\u{2028}\u{1f980}".to_owned())]
}

fn file_name() -> impl Strategy<Value = FileName> {
    "[^/\\\\]{1,40}(/[a-z. ä]{1,10}){0,3}".prop_filter_map("a file name", |text| text.parse().ok())
}

fn endpoint() -> impl Strategy<Value = EndpointUri> {
    let dialled = ("grpcs?", "[a-z0-9.-]{1,20}|\\[::[1-9a-f]\\]", 1..=u16::MAX)
        .prop_map(|(scheme, host, port)| format!("{scheme}://{host}:{port}"));
    let foreign = "https?://[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9_%-]{1,8}){0,2}";
    prop_oneof![dialled, foreign].prop_map(|text| text.parse().expect("an endpoint"))
}

fn endpoints() -> impl Strategy<Value = BTreeSet<EndpointUri>> {
    btree_set(endpoint(), 0..4)
}

fn features() -> impl Strategy<Value = Features> {
    proptest::sample::subsequence(Feature::ALL.to_vec(), 0..=Feature::ALL.len())
        .prop_map(|features| features.into_iter().collect())
}

fn file() -> impl Strategy<Value = FileMetadata> {
    (count(), vec(hash(), 0..6), option::of(file_name())).prop_map(|(size_bytes, fragment_sequence, name)| {
        FileMetadata { size_bytes, fragment_sequence, name }
    })
}

fn fragment() -> impl Strategy<Value = FragmentMetadata> {
    count().prop_map(|size_bytes| FragmentMetadata { size_bytes })
}

fn client_metadata() -> impl Strategy<Value = ClientMetadata> {
    (endpoints(), btree_set(hash(), 0..5), option::of(count()), option::of(zone())).prop_map(
        |(endpoints, stored_fragments, capacity_bytes, zone)| ClientMetadata {
            endpoints,
            stored_fragments,
            capacity_bytes,
            zone,
        },
    )
}

fn denied_code() -> impl Strategy<Value = DeniedCode> {
    prop_oneof![any::<i64>(), 0..6_i64, Just(128)].prop_map(DeniedCode::from)
}

fn unregistered_reason() -> impl Strategy<Value = UnregisteredReason> {
    prop_oneof![
        Just(UnregisteredReason::Leaving),
        Just(UnregisteredReason::ConnectionLost),
        Just(UnregisteredReason::LeaseExpired),
        Just(UnregisteredReason::Replaced),
        Just(UnregisteredReason::Other),
    ]
}

fn hello() -> impl Strategy<Value = TrackerHello> {
    let numbers = (option::of(count()), option::of(count()), option::of(count()), option::of(count()));
    let places = (option::of(endpoints()), option::of("x{0,200}"));
    (features(), option::of(text()), numbers, places).prop_map(
        |(
            features,
            hash_algorithm,
            (fragment_size_bytes, copies, lease_ms, heartbeat_ms),
            (endpoints, probe),
        )| {
            TrackerHello {
                features,
                hash_algorithm,
                fragment_size_bytes,
                copies,
                lease_ms,
                heartbeat_ms,
                endpoints,
                probe,
            }
        },
    )
}

fn requested() -> impl Strategy<Value = ClientJoinRequested> {
    let has = (btree_map(hash(), file(), 0..4), btree_map(hash(), fragment(), 0..6), endpoints());
    let tracker = || (option::of(count().prop_map(Epoch)), option::of(instance()));
    let seen = (tracker(), tracker());
    let may = (features(), option::of(count()), option::of(zone()), seen);
    (text(), option::of(count()), has, may).prop_map(|(hash_algorithm, fragment_size_bytes, has, may)| {
        let (known_file_infos, stored_fragments, endpoints) = has;
        let (
            features,
            capacity_bytes,
            zone,
            ((seen_epoch, seen_instance), (registered_epoch, registered_by)),
        ) = may;
        ClientJoinRequested {
            hash_algorithm,
            fragment_size_bytes,
            known_file_infos,
            stored_fragments,
            endpoints,
            features,
            capacity_bytes,
            zone,
            seen_epoch,
            seen_instance,
            registered_by,
            registered_epoch,
        }
    })
}

fn accepted() -> impl Strategy<Value = ClientJoinAccepted> {
    let add = (btree_map(hash(), file(), 0..4), btree_map(hash(), fragment(), 0..6));
    let remove = (btree_set(hash(), 0..4), btree_set(hash(), 0..4));
    (client(), count(), add, remove, btree_map(client(), client_metadata(), 0..4)).prop_map(
        |(client_identifier, fragment_size_bytes, add, remove, clients)| {
            let (add_file_infos, add_fragment_infos) = add;
            let (remove_file_infos, remove_fragment_infos) = remove;
            ClientJoinAccepted {
                client_identifier,
                fragment_size_bytes,
                add_file_infos,
                add_fragment_infos,
                remove_file_infos,
                remove_fragment_infos,
                clients,
            }
        },
    )
}

fn registered() -> impl Strategy<Value = ClientRegistered> {
    let added = (btree_map(hash(), file(), 0..4), btree_map(hash(), fragment(), 0..6));
    (client(), client_metadata(), added).prop_map(
        |(client_identifier, info, (added_files, added_fragments))| ClientRegistered {
            client_identifier,
            info,
            added_files,
            added_fragments,
        },
    )
}

fn heartbeat() -> impl Strategy<Value = ClientHeartbeat> {
    (count(), hash(), hash(), count(), count()).prop_map(
        |(revision, digest, inventory_digest, stored, free_bytes)| ClientHeartbeat {
            revision: Revision(revision),
            digest,
            inventory_digest,
            stored,
            free_bytes,
        },
    )
}
