//! Client Join: conflicts between what a torrent brings and what the service has. Alternative 3 is a denial.

use std::time::Duration;

use bytes::Bytes;
use distribution::torrent::Notice;
use distribution::view::{Change, FileInfo, Registration};
use mds_tests::sim::{
    Cluster, Content, FRAGMENT_SIZE_BYTES, Publication, TorrentNode, client, tracker_config,
};
use protocol::event::{ClientJoinRequested, TorrentEnvelope, TorrentEvent, TrackerEvent};
use protocol::{DeniedCode, EventId, EventKind, Features, Hash, Heard, InstanceId};
use uuid::Uuid;

/// The code and the reason with which a torrent was denied last.
fn denied(cluster: &Cluster, torrent: &str) -> (DeniedCode, String) {
    let mut denials: Vec<_> = cluster
        .heard()
        .filter_map(|(_, heard)| match heard {
            Heard::Tracker { event: TrackerEvent::ClientJoinDenied(denied), .. }
                if denied.client_identifier == client(torrent) =>
            {
                Some((denied.reason_code, denied.reason.unwrap_or_default()))
            }
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .collect();
    denials.pop().expect("a denial")
}

/// The answer that a torrent got last.
fn accepted(cluster: &Cluster, torrent: &str) -> protocol::event::ClientJoinAccepted {
    let mut answers: Vec<_> = cluster
        .heard()
        .filter_map(|(_, heard)| match heard {
            Heard::Tracker { event: TrackerEvent::ClientJoinAccepted(answer), .. }
                if answer.client_identifier == client(torrent) =>
            {
                Some(answer)
            }
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .collect();
    answers.pop().expect("an answer")
}

/// Puts a file into the view on a torrent's disk, and its fragments into the store if `stored`.
fn bring(node: &mut TorrentNode, content: &Content, stored: bool) {
    bring_file(node, content.hash(), content.file().clone());
    if stored {
        node.disk.volume.fragments.extend(content.fragments().clone());
    }
}

fn bring_file(node: &mut TorrentNode, hash: Hash, file: FileInfo) {
    let size = Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES };
    node.disk.volume.view.apply(&size).unwrap();
    node.disk.volume.view.apply(&Change::FilePublished { hash, file }).unwrap();
}

fn content(seed: u8, length: usize) -> Content {
    let bytes: Vec<u8> = (0..length).map(|at| seed ^ u8::try_from(at / 1024).unwrap()).collect();
    Content::new(bytes, FRAGMENT_SIZE_BYTES)
}

#[test]
fn client_join_alternative_3_denied_for_another_fragment_size() {
    let mut cluster = Cluster::with_torrents(1, &[]);
    let mut node = cluster.new_torrent("t1");
    node.disk.volume.view.apply(&Change::FragmentSizeSet { fragment_size_bytes: 2048 }).unwrap();
    let other = Content::new(vec![7; 3000], 2048);
    let change = Change::FilePublished { hash: other.hash(), file: other.file().clone() };
    node.disk.volume.view.apply(&change).unwrap();
    cluster.start_torrent_with(node, "t1");
    cluster.run_for(Duration::from_secs(2));
    let (code, reason) = denied(&cluster, "t1");
    assert_eq!(code, DeniedCode::WrongFragmentSize);
    assert!(reason.contains("1024") && reason.contains("2048"), "{reason}");
    assert!(!cluster.torrent("t1").is_registered());
    assert!(matches!(&cluster.torrent_node("t1").notices[0], Notice::Denied(_)));
}

#[test]
fn client_join_alternative_3_denied_for_another_hash_algorithm() {
    let mut cluster = Cluster::with_torrents(2, &[]);
    let request = ClientJoinRequested {
        hash_algorithm: "MD5".into(),
        fragment_size_bytes: None,
        known_file_infos: Default::default(),
        stored_fragments: Default::default(),
        endpoints: Default::default(),
        features: Features::NONE,
        capacity_bytes: None,
        zone: None,
        seen_epoch: None,
        seen_instance: None,
        registered_by: None,
        registered_epoch: None,
    };
    let envelope = TorrentEnvelope {
        event_id: EventId(Uuid::from_u128(1)),
        client_identifier: Some(client("t1")),
        instance: None,
        incarnation: None,
        registration: None,
        in_reply_to: None,
    };
    let payload = protocol::encode_torrent(&envelope, &TorrentEvent::from(request));
    let publication = Publication { topic: "clients/join/requested".into(), payload, retain: false };
    cluster.publish(&client("t1"), vec![publication]);
    cluster.run_for(Duration::from_secs(1));
    let (code, reason) = denied(&cluster, "t1");
    assert_eq!(code, DeniedCode::WrongHashAlgorithm);
    assert!(reason.contains("MD5"), "{reason}");
}

#[test]
fn client_join_alternative_3_denied_for_an_endpoint_of_another_torrent() {
    let mut cluster = Cluster::with_torrents(3, &["t1"]);
    let mut node = cluster.new_torrent("t2");
    node.setup.endpoints = cluster.torrent_node("t1").setup.endpoints.clone();
    cluster.start_torrent_with(node, "t2");
    cluster.run_for(Duration::from_secs(2));
    let (code, reason) = denied(&cluster, "t2");
    assert_eq!(code, DeniedCode::EndpointConflict);
    assert!(reason.contains("t1"), "{reason}");
    // When the first leaves, the endpoint is free.
    cluster.shut_down("t1");
    cluster.run_until("t2 is registered", |cluster| cluster.torrent("t2").is_registered());
    cluster.settle();
}

#[test]
fn client_join_alternative_3_denied_while_another_data_directory_uses_the_identifier() {
    let mut cluster = Cluster::with_torrents(4, &["t1"]);
    let envelope = TorrentEnvelope {
        event_id: EventId(Uuid::from_u128(1)),
        client_identifier: Some(client("t1")),
        instance: Some(InstanceId(Uuid::from_u128(2))),
        incarnation: Some(protocol::Incarnation(1)),
        registration: None,
        in_reply_to: None,
    };
    let asked = cluster.heard().find_map(|(_, heard)| match heard {
        Heard::Torrent { event: TorrentEvent::ClientJoinRequested(request), .. } => Some(request),
        Heard::Torrent { .. } | Heard::Tracker { .. } => None,
    });
    let payload = protocol::encode_torrent(&envelope, &asked.expect("a request").into());
    let publication = Publication { topic: "clients/join/requested".into(), payload, retain: false };
    cluster.publish(&client("t1"), vec![publication]);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(denied(&cluster, "t1").0, DeniedCode::Other);
    assert!(cluster.torrent("t1").is_registered(), "the first does not notice");
    cluster.settle();
}

#[test]
fn two_torrents_with_one_endpoint_that_join_at_once_are_not_both_registered() {
    let mut cluster = Cluster::new(5);
    cluster.start_tracker(tracker_config());
    cluster.start_torrent("t1");
    let mut node = cluster.new_torrent("t2");
    node.setup.endpoints = cluster.torrent_node("t1").setup.endpoints.clone();
    cluster.start_torrent_with(node, "t2");
    cluster.run_for(Duration::from_secs(5));
    let registered: Vec<_> = cluster.tracker().view().clients().keys().collect();
    assert_eq!(registered.len(), 1);
    let loser = if *registered[0] == client("t1") { "t2" } else { "t1" };
    assert_eq!(denied(&cluster, loser).0, DeniedCode::EndpointConflict);
}

#[test]
fn the_trackers_sequence_of_a_file_wins() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
    let good = content(1, 3000);
    let hash = cluster.put(good_bytes(&good));
    cluster.settle();
    let mut node = cluster.new_torrent("t3");
    bring_file(&mut node, hash, content(9, 5000).file().clone());
    cluster.start_torrent_with(node, "t3");
    cluster.settle();
    let answer = accepted(&cluster, "t3");
    assert!(answer.remove_file_infos.contains(&hash));
    assert!(answer.add_file_infos.contains_key(&hash));
}

fn good_bytes(content: &Content) -> Bytes {
    let fragments = content.file().fragments.iter();
    fragments.flat_map(|hash| content.fragments()[hash].to_vec()).collect::<Vec<u8>>().into()
}

#[test]
fn a_fragment_with_another_size_is_given_up() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2"]);
    let file = content(1, 700);
    cluster.put(good_bytes(&file));
    cluster.settle();
    let fragment = file.file().fragments[0];
    let mut node = cluster.new_torrent("t3");
    node.disk
        .volume
        .view
        .apply(&Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES })
        .unwrap();
    node.disk.volume.view.apply(&Change::FragmentAdded { hash: fragment, size_bytes: 99 }).unwrap();
    node.disk.volume.fragments.insert(fragment, Bytes::from_static(&[0; 99]));
    cluster.start_torrent_with(node, "t3");
    cluster.settle();
    assert!(accepted(&cluster, "t3").remove_fragment_infos.contains(&fragment));
    assert!(cluster.torrent("t3").stored().is_empty());
}

#[test]
pub fn files_and_fragments_that_nobody_knew_are_adopted_and_told_to_everybody() {
    let mut cluster = Cluster::with_torrents(8, &["t1"]);
    let (file, alone) = (content(1, 3000), content(2, 100));
    let mut node = cluster.new_torrent("t2");
    bring(&mut node, &file, true);
    node.disk.volume.fragments.extend(alone.fragments().clone());
    cluster.start_torrent_with(node, "t2");
    cluster.settle();
    let view = cluster.torrent("t1").view();
    assert_eq!(view.file(&file.hash()), Some(file.file()));
    assert!(view.holds(&client("t2"), &alone.file().fragments[0]));
    assert_eq!(cluster.torrent("t2").stored().len(), 4, "nothing is given up");
}

#[test]
fn the_torrent_of_which_a_file_was_adopted_need_not_hold_all_of_it() {
    let mut cluster = Cluster::with_torrents(9, &["t1"]);
    let file = content(1, 3000);
    let mut node = cluster.new_torrent("t2");
    bring(&mut node, &file, false);
    let first = file.file().fragments[0];
    node.disk.volume.fragments.insert(first, file.fragments()[&first].clone());
    cluster.start_torrent_with(node, "t2");
    cluster.settle();
    let view = cluster.tracker().view();
    assert_eq!(view.fewest_holders(&file.hash()), Some(0));
    assert_eq!(view.holder_count(&first), 2, "what there is of it is repaired");
}

#[test]
fn two_torrents_that_bring_the_same_unknown_file_join_at_once() {
    let mut cluster = Cluster::with_torrents(10, &["t1"]);
    let file = content(1, 3000);
    for torrent in ["t2", "t3"] {
        let mut node = cluster.new_torrent(torrent);
        bring(&mut node, &file, true);
        cluster.start_torrent_with(node, torrent);
    }
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file.hash()), Some(2));
}

#[test]
fn two_torrents_that_bring_one_unknown_fragment_with_two_sizes_join_at_once() {
    for seed in 11..30 {
        let mut cluster = Cluster::with_torrents(seed, &["t1"]);
        let fragment = Hash::of(b"x");
        for (torrent, bytes) in [("t2", &b"x"[..]), ("t3", &b"xyz"[..])] {
            let mut node = cluster.new_torrent(torrent);
            node.disk.volume.fragments.insert(fragment, Bytes::copy_from_slice(bytes));
            cluster.start_torrent_with(node, torrent);
        }
        cluster.settle();
        assert_eq!(cluster.tracker().view().holder_count(&fragment), 1);
    }
}

#[test]
fn a_file_known_under_another_name_has_the_trackers_name_afterwards() {
    let mut cluster = Cluster::with_torrents(31, &["t1", "t2"]);
    let file = content(1, 3000);
    let request = cluster.upload(file.clone().named("theirs.txt"));
    assert!(cluster.outcome(request).is_some());
    cluster.settle();
    let mut node = cluster.new_torrent("t3");
    bring(&mut node, &file.clone().named("mine.txt"), true);
    cluster.start_torrent_with(node, "t3");
    cluster.settle();
    assert_eq!(cluster.torrent("t3").stored().len(), 3);
}

#[test]
pub fn what_a_torrent_does_not_list_it_does_not_have() {
    let mut cluster = Cluster::with_torrents(32, &["t1", "t2"]);
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.crash("t1");
    let first = cluster.tracker().view().file(&file).unwrap().fragments[0];
    cluster.torrent_node_mut("t1").disk.volume.fragments.remove(&first);
    cluster.restart("t1");
    cluster.run_until("it is registered", |cluster| cluster.torrent("t1").is_registered());
    assert_eq!(cluster.tracker().view().holder_count(&first), 1);
    cluster.settle();
    assert_eq!(cluster.tracker().view().holder_count(&first), 2, "it is repaired");
}

#[test]
fn what_others_told_of_a_torrent_that_is_gone_is_forgotten_with_its_registration() {
    let mut cluster = Cluster::with_torrents(33, &["t1"]);
    let mut node = cluster.new_torrent("t2");
    let ghost = Registration::default();
    let change =
        Change::ClientRegistered { client: client("ghost"), registration: ghost, stored: Default::default() };
    node.disk.volume.view.apply(&change).unwrap();
    cluster.start_torrent_with(node, "t2");
    cluster.settle();
    assert!(cluster.torrent("t2").view().client(&client("ghost")).is_none());
    assert_eq!(cluster.said(EventKind::ClientJoinFailed), 0);
}
