//! Well-formed events that are untrue: by torrents that nobody knows, and by a tracker whose time is over.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{LARGEST, Payload, Strangers};
use crate::event::{
    ClientGoodbye, ClientHeartbeat, ClientJoinAccepted, ClientJoinDenied, ClientJoinFailed,
    ClientJoinRequested, ClientJoinSucceeded, ClientRegistered, ClientUnregistered, FileInfoPublished,
    FileRemoved, FragmentDistributionDelivered, FragmentDistributionEnded, FragmentDistributionFailed,
    FragmentDistributionObtained, FragmentDistributionRequested, FragmentDistributionStarted, TrackerEvent,
    TrackerGoodbye, TrackerHello, UnregisteredReason, reason,
};
use crate::hash::HASH_ALGORITHM;
use crate::limits::MAX_TEXT_BYTES;
use crate::{
    ClientId, ClientMetadata, DeniedCode, EndpointUri, Epoch, Features, FileMetadata, FragmentMetadata, Hash,
    Revision, encode_tracker,
};

/// Well-formed events that change nothing: torrents that never joined speak of fragments that nobody distributed, and a tracker of epoch
/// 0 speaks to torrents that follow a later one.
#[must_use]
pub fn lies() -> Vec<Payload> {
    let mut strangers = Strangers::default();
    about_fragments(&mut strangers);
    about_presence(&mut strangers);
    about_joining(&mut strangers);
    of_a_stale_tracker(&mut strangers);
    strangers.said
}

/// Hashes of nothing that is distributed.
fn unknown_hashes() -> [Hash; 4] {
    [
        Hash::from_bytes([0; 32]),
        Hash::from_bytes([0xff; 32]),
        Hash::of(b""),
        Hash::of(b"nobody ever distributed this"),
    ]
}

/// Texts for people that are meant for their terminals, logs and pages.
fn nasty_texts() -> [String; 6] {
    [
        String::new(),
        "\u{1b}[2J\u{1b}]0;owned\u{7}".to_owned(),
        "ok\nERROR everything is lost\r\n".to_owned(),
        "<script>alert(1)</script>".to_owned(),
        "\u{202e}txt.exe\u{0}".to_owned(),
        "x".repeat(MAX_TEXT_BYTES),
    ]
}

fn about_fragments(strangers: &mut Strangers) {
    for hash in unknown_hashes() {
        strangers.torrent_says(FragmentDistributionRequested { hash });
        strangers.torrent_says(FragmentDistributionObtained { hash });
        strangers.torrent_says(FragmentDistributionFailed { hash, reason: None });
    }
    for text in nasty_texts() {
        let hash = Hash::of(b"");
        strangers.torrent_says(FragmentDistributionFailed { hash, reason: Some(text) });
    }
}

fn about_presence(strangers: &mut Strangers) {
    for (revision, stored, free_bytes) in
        [(0, 0, 0), (1, 0, LARGEST), (LARGEST, LARGEST, LARGEST), (LARGEST - 1, 1, 1)]
    {
        strangers.torrent_says(ClientHeartbeat {
            revision: Revision(revision),
            digest: Hash::from_bytes([0; 32]),
            inventory_digest: Hash::of(b""),
            stored,
            free_bytes,
        });
    }
    let words = [reason::LEAVING.to_owned(), reason::CONNECTION_LOST.to_owned()];
    let reasons = words.into_iter().chain(nasty_texts()).map(Some).chain([None]);
    reasons.for_each(|reason| strangers.torrent_says(ClientGoodbye { reason }));
}

fn about_joining(strangers: &mut Strangers) {
    // Nobody had accepted them.
    strangers.torrent_says(ClientJoinSucceeded {});
    strangers.torrent_says(ClientJoinFailed { reason: None });
    nasty_texts()
        .into_iter()
        .for_each(|text| strangers.torrent_says(ClientJoinFailed { reason: Some(text) }));
    absurd_requests().into_iter().for_each(|request| strangers.torrent_says(request));
}

/// A request without anything in it.
pub(super) fn empty_request() -> ClientJoinRequested {
    ClientJoinRequested {
        hash_algorithm: HASH_ALGORITHM.to_owned(),
        fragment_size_bytes: None,
        known_file_infos: BTreeMap::new(),
        stored_fragments: BTreeMap::new(),
        endpoints: BTreeSet::new(),
        features: Features::NONE,
        capacity_bytes: None,
        zone: None,
        seen_epoch: None,
        seen_instance: None,
        registered_by: None,
        registered_epoch: None,
    }
}

/// Requests of torrents that will not go on: denied, or left without an answer to the answer.
fn absurd_requests() -> Vec<ClientJoinRequested> {
    let mut requests: Vec<_> = ["", "MD5", "SHA-1", "SHA256\0", "none", "sha256 "]
        .map(|algorithm| ClientJoinRequested { hash_algorithm: algorithm.to_owned(), ..empty_request() })
        .to_vec();
    requests
        .extend(nasty_texts().map(|text| ClientJoinRequested { hash_algorithm: text, ..empty_request() }));
    requests.extend(
        [0, 1, 1_023, 262_143, LARGEST]
            .map(|size| ClientJoinRequested { fragment_size_bytes: Some(size), ..empty_request() }),
    );
    requests.extend([0, 1, LARGEST].map(|capacity| ClientJoinRequested {
        capacity_bytes: Some(capacity),
        features: Features::all(),
        zone: Some("z".repeat(64).parse().expect("a zone")),
        ..empty_request()
    }));
    requests.extend(odd_endpoints().map(|endpoints| ClientJoinRequested { endpoints, ..empty_request() }));
    requests.extend(odd_files().map(|(known_file_infos, stored_fragments)| ClientJoinRequested {
        known_file_infos,
        stored_fragments,
        ..empty_request()
    }));
    requests
}

/// Addresses that nobody should call because a stranger told them to.
fn odd_endpoints() -> [BTreeSet<EndpointUri>; 4] {
    let set = |uris: &[&str]| -> BTreeSet<EndpointUri> {
        uris.iter().map(|uri| uri.parse().expect("an endpoint")).collect()
    };
    let many = (1..=16).map(|port| format!("grpc://203.0.113.7:{port}").parse().expect("an endpoint"));
    [
        set(&["http://169.254.169.254/latest/meta-data", "grpc://169.254.169.254:80"]),
        set(&["grpc://[::1]:1", "grpc://0.0.0.0:1", "grpcs://255.255.255.255:65535"]),
        set(&["file:///etc/passwd", "javascript://%0aalert(1)", "x://?"]),
        many.collect(),
    ]
}

type FilesAndFragments = (BTreeMap<Hash, FileMetadata>, BTreeMap<Hash, FragmentMetadata>);

/// Files and fragments that cannot be so.
fn odd_files() -> [FilesAndFragments; 9] {
    let [zero, ones, empty, other] = unknown_hashes();
    let file = |size_bytes, fragment_sequence: &[Hash]| FileMetadata {
        size_bytes,
        fragment_sequence: fragment_sequence.to_vec(),
        name: None,
    };
    let fragment = |size_bytes| FragmentMetadata { size_bytes };
    let numbered = |number: u16| Hash::of(&number.to_le_bytes());
    [
        // No content, and a size.
        (BTreeMap::from([(zero, file(LARGEST, &[]))]), BTreeMap::new()),
        // The hash of nothing, for something.
        (BTreeMap::from([(empty, file(1, &[ones]))]), BTreeMap::from([(ones, fragment(1))])),
        // Fragments that it does not tell about.
        (BTreeMap::from([(other, file(10, &[zero, ones]))]), BTreeMap::new()),
        // A sum that no Int64 holds.
        (BTreeMap::from([(other, file(1, &[zero; 3]))]), BTreeMap::from([(zero, fragment(LARGEST))])),
        // A sequence out of all proportion.
        (BTreeMap::from([(other, file(1, &[zero; 500]))]), BTreeMap::from([(zero, fragment(0))])),
        // Itself, in itself.
        (BTreeMap::from([(other, file(2, &[other, other]))]), BTreeMap::from([(other, fragment(1))])),
        // Fragments of no file, of no size and of every size.
        (BTreeMap::new(), BTreeMap::from([(zero, fragment(0)), (ones, fragment(LARGEST))])),
        (BTreeMap::new(), (0..500).map(|number| (numbered(number), fragment(u64::from(number)))).collect()),
        ((0..200).map(|number| (numbered(number), file(0, &[]))).collect(), BTreeMap::new()),
    ]
}

fn of_a_stale_tracker(strangers: &mut Strangers) {
    let stranger = strangers.client();
    for event in absurd_tracker_events(&stranger) {
        for revision in [0, LARGEST] {
            let envelope = strangers.tracker(Epoch(0), Revision(revision));
            strangers.tracker_says_as(&envelope, event.clone());
        }
        if event.kind().has_direct_topic() {
            let envelope = strangers.tracker(Epoch(0), Revision(1));
            let topic = strangers.topics.direct(event.kind(), &stranger);
            strangers.said.push((topic, encode_tracker(&envelope, &event).to_vec()));
        }
    }
}

/// One or more events of every kind that a tracker says, none of which can be true.
pub(super) fn absurd_tracker_events(stranger: &ClientId) -> Vec<TrackerEvent> {
    let hashes = unknown_hashes();
    let receivers = BTreeSet::from([stranger.clone(), "stranger-nobody".parse().expect("a topic segment")]);
    let mut events: Vec<TrackerEvent> = vec![
        TrackerHello::default().into(),
        TrackerGoodbye {}.into(),
        ClientUnregistered { client_identifier: stranger.clone(), reason: UnregisteredReason::Other }.into(),
    ];
    events.extend([0, 1, LARGEST].map(|number| {
        TrackerEvent::from(TrackerHello {
            features: Features::all(),
            hash_algorithm: Some("MD5".to_owned()),
            fragment_size_bytes: Some(number),
            copies: Some(number),
            lease_ms: Some(number),
            heartbeat_ms: Some(number),
            endpoints: Some(BTreeSet::new()),
            probe: Some("x".repeat(10_000)),
        })
    }));
    events.extend([i64::MIN, -1, 0, 3, 128, i64::MAX].map(|code| {
        let (client_identifier, reason_code) = (stranger.clone(), DeniedCode::from(code));
        TrackerEvent::from(ClientJoinDenied { client_identifier, reason_code, reason: None })
    }));
    events.extend(nasty_texts().map(|text| {
        let client_identifier = stranger.clone();
        TrackerEvent::from(ClientJoinDenied {
            client_identifier,
            reason_code: DeniedCode::Other,
            reason: Some(text),
        })
    }));
    for ((files, fragments), endpoints) in odd_files().into_iter().zip(odd_endpoints().into_iter().cycle()) {
        let info = ClientMetadata {
            endpoints,
            stored_fragments: hashes.into_iter().collect(),
            capacity_bytes: Some(0),
            zone: None,
        };
        events.push(
            ClientJoinAccepted {
                client_identifier: stranger.clone(),
                fragment_size_bytes: 0,
                add_file_infos: files.clone(),
                add_fragment_infos: fragments.clone(),
                remove_file_infos: hashes.into_iter().collect(),
                remove_fragment_infos: hashes.into_iter().collect(),
                clients: BTreeMap::from([(stranger.clone(), info.clone())]),
            }
            .into(),
        );
        events.push(
            ClientRegistered {
                client_identifier: stranger.clone(),
                info,
                added_files: files,
                added_fragments: fragments,
            }
            .into(),
        );
    }
    for hash in hashes {
        events.push(FileRemoved { hash }.into());
        for size_bytes in [0, LARGEST] {
            let fragment_sequence = vec![hash, hash];
            events.push(FileInfoPublished { hash, size_bytes, fragment_sequence, name: None }.into());
            events.push(FragmentDistributionStarted { hash, size_bytes, attempt: Some(LARGEST) }.into());
            events.push(FragmentDistributionEnded { hash, size_bytes, receivers: receivers.clone() }.into());
        }
        for receivers in [receivers.clone(), BTreeSet::new()] {
            let data = Bytes::from_static(b"these are not the bytes");
            events.push(FragmentDistributionDelivered { hash, data, receivers }.into());
        }
    }
    events
}
