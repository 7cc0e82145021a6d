//! When the tracker lets go of its own bytes.

use std::time::Duration;

use mds_tests::sim::{Cluster, Nth, Rule, TorrentNode, client, tracker_config};
use protocol::EventKind;

#[test]
pub fn the_bytes_stay_until_every_receiver_has_confirmed_the_change() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::ClientHeartbeat).from(&client("t2"))];
    let file = cluster.put_random(4);
    cluster.run_for(Duration::from_secs(8));
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.tracker_node().disk.volume.fragments.len(), 4, "t2 has not confirmed");
    cluster.broker.faults.rules.clear();
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
    assert_eq!(cluster.tracker_node().discarded.len(), 4);
}

#[test]
fn a_lost_ended_delays_the_release_until_the_torrent_has_caught_up() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionEnded).to(&client("t2")).nth(Nth::First(1))];
    cluster.put_random(1);
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(cluster.torrent("t2").staged_count(), 1);
    cluster.settle();
    assert_eq!(cluster.torrent("t2").staged_count(), 0);
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn after_a_restart_the_bytes_go_when_the_holders_have_confirmed_what_they_hold() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::ClientHeartbeat).nth(Nth::First(4))];
    cluster.put_random(4);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.tracker_node().disk.volume.fragments.len(), 4);
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 4, "nothing is distributed twice");
}

#[test]
fn own_bytes_that_no_file_needs_go_at_the_start() {
    let mut cluster = Cluster::with_torrents(4, &["t1"]);
    cluster.crash("tracker");
    let leftover = bytes::Bytes::from_static(b"an upload that did not end");
    cluster.tracker_node_mut().disk.volume.fragments.insert(protocol::Hash::of(&leftover), leftover);
    cluster.restart("tracker");
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn a_registration_confirms_what_it_lists() {
    let mut cluster = Cluster::new(5);
    let copies = "1".parse().unwrap();
    cluster.start_tracker(distribution::TrackerConfig { copies, ..tracker_config() });
    cluster.start_torrent("t1");
    cluster.settle();
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionEnded).to(&client("t1")).nth(Nth::First(1))];
    cluster.put_random(1);
    cluster.run_for(Duration::from_millis(100));
    // The gap shows with the next change, and the torrent's registration is the last one.
    cluster.put(Vec::new());
    cluster.settle();
}

fn with_copies(seed: u64, copies: &str, torrents: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(seed);
    let copies = copies.parse().unwrap();
    cluster.start_tracker(distribution::TrackerConfig { copies, ..tracker_config() });
    torrents.iter().for_each(|torrent| cluster.start_torrent(torrent));
    cluster.settle();
    cluster
}

#[test]
fn what_a_holder_confirmed_before_the_upload_lets_nothing_go() {
    let mut cluster = with_copies(6, "1", &["t1"]);
    let bytes = cluster.rng.content(3000);
    let file = cluster.put(bytes.clone());
    cluster.settle();
    cluster.crash("t1");
    let mut rng = cluster.rng.clone();
    cluster.torrent_node_mut("t1").disk = TorrentNode::empty_disk(&mut rng);
    cluster.put(bytes);
    assert_eq!(
        cluster.tracker_node().disk.volume.fragments.len(),
        3,
        "they were accepted after the holder's last word"
    );
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
}

#[test]
fn a_copy_at_every_torrent_means_those_too_that_may_come_back() {
    let mut cluster = with_copies(7, "all", &["t1", "t2", "t3"]);
    let unheard = |torrent| Rule::lose(EventKind::ClientHeartbeat).from(&client(torrent));
    cluster.broker.faults.rules = vec![unheard("t2"), unheard("t3")];
    cluster.put_random(2);
    cluster.run_for(Duration::from_secs(1));
    ["t2", "t3"].into_iter().for_each(|torrent| cluster.crash(torrent));
    cluster.broker.faults.rules.clear();
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(cluster.tracker().view().clients().len(), 1);
    assert_eq!(cluster.tracker_node().disk.volume.fragments.len(), 2, "t1 alone has confirmed");
    cluster.run_for(Duration::from_secs(30));
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty(), "the others had their time");
}

#[test]
pub fn own_bytes_of_a_file_that_only_a_torrent_remembers_stay_until_it_is_back() {
    let mut cluster = Cluster::with_torrents(41, &["t1"]);
    // The torrent learns of the file and gets nothing of it.
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionDelivered)];
    let file = cluster.put_random(3);
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.torrent_node("t1").disk.volume.view.file(&file).is_some());
    assert!(cluster.torrent_node("t1").disk.volume.fragments.is_empty());
    cluster.crash("t1");
    cluster.crash("tracker");
    // The tracker's database is lost, the bytes are not.
    cluster.tracker_node_mut().disk.volume.view = distribution::view::View::new();
    cluster.broker.faults.rules.clear();
    cluster.restart("tracker");
    cluster.run_for(Duration::from_secs(20));
    // That its view is not empty any more does not bring back what it has forgotten.
    let other = cluster.put_random(2);
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.run_for(Duration::from_secs(20));
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
    assert_eq!(cluster.tracker().view().fewest_holders(&other), Some(1));
}

#[test]
fn once_everybody_had_time_to_come_back_what_no_file_needs_goes() {
    let mut cluster = Cluster::with_torrents(42, &["t1"]);
    cluster.crash("tracker");
    let leftover = bytes::Bytes::from_static(b"of an upload that did not end");
    cluster.tracker_node_mut().disk.volume.fragments.insert(protocol::Hash::of(&leftover), leftover);
    cluster.restart("tracker");
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.tracker_node().disk.memory.may_have_forgotten);
    cluster.settle();
    cluster.run_for(tracker_config().repair_after + Duration::from_secs(30));
    assert!(!cluster.tracker_node().disk.memory.may_have_forgotten);
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}
