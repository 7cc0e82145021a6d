//! Participants that know nothing but the specification, beside ours.

use std::time::Duration;

use mds_tests::sim::{Cluster, Content, FRAGMENT_SIZE_BYTES, Standing, client, tracker_config};
use protocol::{EventKind, Heard};

#[test]
fn a_torrent_of_the_specification_joins_our_tracker_and_gets_fragments() {
    let mut cluster = Cluster::with_torrents(1, &["t1"]);
    cluster.start_spec_torrent("s1");
    cluster.settle();
    assert_eq!(cluster.spec_torrent("s1").standing, Standing::Registered);
    let file = cluster.put_random(6);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.spec_torrent("s1").stored.len(), 6);
    assert!(cluster.spec_torrent("s1").files.contains(&file));
    assert!(cluster.spec_torrent("s1").temporary.is_empty());
}

#[test]
fn torrents_of_the_specification_alone_are_enough() {
    let mut cluster = Cluster::with_torrents(2, &[]);
    for torrent in ["s1", "s2", "s3"] {
        cluster.start_spec_torrent(torrent);
    }
    cluster.settle();
    let file = cluster.put_random(20);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn the_goodbye_of_a_torrent_of_the_specification_unregisters_it() {
    let mut cluster = Cluster::with_torrents(3, &["t1"]);
    cluster.start_spec_torrent("s1");
    cluster.settle();
    cluster.cut("s1");
    cluster.run_for(Duration::from_millis(50));
    assert!(cluster.tracker().view().client(&client("s1")).is_none());
    assert!(cluster.torrent("t1").view().client(&client("s1")).is_none());
}

#[test]
fn a_torrent_of_the_specification_follows_a_restart_of_our_tracker() {
    let mut cluster = Cluster::with_torrents(4, &["t1"]);
    cluster.start_spec_torrent("s1");
    cluster.settle();
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.spec_torrent("s1").standing, Standing::Registered);
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

fn under_a_tracker_of_the_specification(seed: u64, torrents: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.start_spec_tracker(torrents.len());
    for torrent in torrents {
        cluster.start_torrent(torrent);
    }
    cluster.run_until("all are registered", |cluster| {
        cluster.torrent_nodes().all(|(_, node)| node.machine().is_registered())
    });
    cluster.run_for(Duration::from_secs(1));
    cluster
}

fn put(cluster: &mut Cluster, content: &Content) {
    let said = cluster.spec_tracker().put(content);
    let id = cluster.tracker_id();
    cluster.publish(&id, said);
}

fn content(seed: u8) -> Content {
    let bytes: Vec<u8> = (0..3000_usize).map(|at| seed ^ u8::try_from(at / 1024).unwrap()).collect();
    Content::new(bytes, FRAGMENT_SIZE_BYTES)
}

#[test]
fn our_torrents_join_a_tracker_of_the_specification_whose_hello_they_missed() {
    let cluster = under_a_tracker_of_the_specification(5, &["t1", "t2"]);
    assert!(cluster.broker.retained("tracker/hello").is_none());
    assert_eq!(cluster.torrent("t1").view().clients().len(), 2);
    assert!(cluster.torrent("t1").view() == cluster.torrent("t2").view());
}

#[test]
fn our_torrents_obtain_fragments_from_a_tracker_of_the_specification() {
    let mut cluster = under_a_tracker_of_the_specification(6, &["t1", "t2"]);
    let file = content(1);
    put(&mut cluster, &file);
    cluster.run_for(Duration::from_secs(5));
    for torrent in ["t1", "t2"] {
        assert_eq!(cluster.torrent(torrent).stored().len(), 3);
        assert_eq!(cluster.torrent(torrent).staged_count(), 0);
        assert_eq!(cluster.torrent(torrent).view().fewest_holders(&file.hash()), Some(2));
    }
    assert_eq!(cluster.said(EventKind::ClientHeartbeat), 0, "nobody asked for heartbeats");
    let direct = cluster.heard().filter(|(_, heard)| matches!(heard, Heard::Torrent { direct: true, .. }));
    assert_eq!(direct.count(), 0);
    cluster.check_trace();
}

#[test]
fn our_torrent_refuses_bytes_that_do_not_match() {
    let mut cluster = under_a_tracker_of_the_specification(7, &["t1"]);
    let file = content(2);
    let fragment = file.file().fragments[1];
    cluster.spec_tracker().falsified.insert(fragment);
    put(&mut cluster, &file);
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.spec_tracker().failed[&fragment].contains(&client("t1")));
    assert_eq!(cluster.torrent("t1").stored().len(), 2);
    assert!(!cluster.torrent_node("t1").disk.volume.fragments.contains_key(&fragment));
    assert_eq!(cluster.torrent("t1").view().holder_count(&fragment), 0);
}

#[test]
fn our_torrents_remove_a_peer_that_said_goodbye_from_their_view() {
    let mut cluster = under_a_tracker_of_the_specification(8, &["t1", "t2"]);
    cluster.crash("t2");
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.torrent("t1").view().client(&client("t2")).is_none());
    cluster.restart("t2");
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.torrent("t1").view().clients().len(), 2);
}

#[test]
fn our_torrent_moves_from_our_tracker_to_one_of_the_specification_and_back() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    let ours = cluster.put_random(3);
    cluster.settle();
    cluster.shut_down("tracker");
    cluster.run_for(Duration::from_secs(1));
    let disk = cluster.tracker_node().disk.clone();
    cluster.start_spec_tracker(2);
    cluster.run_until("both are registered", |cluster| {
        cluster.torrent_nodes().all(|(_, node)| node.machine().is_registered())
    });
    let theirs = content(3);
    put(&mut cluster, &theirs);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.torrent("t1").view().fewest_holders(&theirs.hash()), Some(2));
    cluster.shut_down("tracker");
    cluster.run_for(Duration::from_secs(1));
    cluster.start_tracker(tracker_config());
    cluster.tracker_node_mut().disk.epoch = disk.epoch;
    cluster.settle();
    let view = cluster.tracker().view();
    assert_eq!(view.fewest_holders(&theirs.hash()), Some(2), "adopted");
    assert_eq!(view.fewest_holders(&ours), Some(2), "adopted");
}

#[test]
fn a_tracker_of_the_specification_is_not_heard_while_one_of_ours_is_online() {
    let mut cluster = Cluster::with_torrents(10, &["t1"]);
    let revision = cluster.torrent("t1").view().revision();
    let intruder = client("other-tracker");
    let mut rng = mds_tests::sim::Rng::new(1);
    let mut node = mds_tests::sim::SpecTracker::new(cluster.topics(), FRAGMENT_SIZE_BYTES, 1, &mut rng);
    let mut said = vec![node.hello()];
    said.extend(node.put(&content(4)));
    said.push(node.goodbye());
    cluster.publish(&intruder, said);
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.torrent("t1").is_registered());
    assert_eq!(cluster.torrent("t1").view().revision(), revision);
    assert!(cluster.torrent("t1").view().files().is_empty());
    cluster.settle();
}
