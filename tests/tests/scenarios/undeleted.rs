//! A disk that does not delete what it is told to: too full even for that, say.

use std::time::Duration;

use mds_tests::sim::{Cluster, Rule, Writes, client};
use protocol::EventKind;

fn bytes_of(cluster: &Cluster, torrent: &str) -> usize {
    cluster.torrent_node(torrent).disk.volume.fragments.len()
}

/// The file is deleted, and the disk of t1 does not let go of it the first time.
fn with_a_file_that_t1_did_not_delete(seed: u64, torrents: &[&str], content: &bytes::Bytes) -> Cluster {
    let mut cluster = Cluster::with_torrents(seed, torrents);
    let file = cluster.put(content.clone());
    cluster.settle();
    assert!(bytes_of(&cluster, "t1") > 0);
    cluster.torrent_node_mut("t1").writes = Writes::Fail;
    cluster.remove(file);
    cluster.run_for(Duration::from_millis(300));
    assert!(bytes_of(&cluster, "t1") > 0, "the disk has deleted it");
    assert_eq!(cluster.torrent("t1").stored_count(), 0);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_millis(2));
    cluster
}

fn content() -> bytes::Bytes {
    (0..10 * 1024).map(|at: u32| u8::try_from(at / 1024).unwrap_or(0)).collect()
}

#[test]
pub fn what_a_torrent_could_not_delete_is_deleted_later() {
    let mut cluster = with_a_file_that_t1_did_not_delete(1, &["t1", "t2"], &content());
    cluster.run_for(Duration::from_secs(3));
    assert_eq!(bytes_of(&cluster, "t1"), 0);
}

#[test]
fn a_torrent_that_is_away_meanwhile_deletes_it_when_it_is_back() {
    let mut cluster = with_a_file_that_t1_did_not_delete(2, &["t1", "t2"], &content());
    cluster.cut("t1");
    cluster.run_for(Duration::from_secs(20));
    assert!(bytes_of(&cluster, "t1") > 0, "whether it is needed by now it does not know");
    cluster.connect(&client("t1"));
    cluster.run_for(Duration::from_secs(70));
    assert_eq!(bytes_of(&cluster, "t1"), 0);
}

#[test]
fn what_is_distributed_again_by_then_stays() {
    let mut cluster = with_a_file_that_t1_did_not_delete(3, &["t1", "t2"], &content());
    let file = cluster.put(content());
    cluster.run_for(Duration::from_secs(10));
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(bytes_of(&cluster, "t1") > 0);
}

#[test]
fn what_a_file_needs_by_then_is_held_again_or_ordered_anew() {
    let mut cluster = with_a_file_that_t1_did_not_delete(4, &["t1", "t2", "t3"], &content());
    let file = cluster.put(content());
    cluster.run_for(Duration::from_secs(10));
    cluster.settle();
    let tracker = cluster.tracker().view();
    assert!(tracker.fewest_holders(&file) >= Some(2));
    let volume = &cluster.torrent_node("t1").disk.volume;
    let unknown = volume.fragments.keys().find(|fragment| !tracker.holds(&client("t1"), fragment));
    assert_eq!(unknown, None, "t1 has it, and nobody knows");
}

#[test]
pub fn what_the_tracker_could_not_delete_is_deleted_later() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2"]);
    let file = cluster.put(content());
    cluster.tracker_node_mut().is_full = true;
    cluster
        .run_until("it is distributed", |cluster| cluster.tracker().view().fewest_holders(&file) == Some(2));
    cluster.run_for(Duration::from_secs(15));
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn what_the_tracker_accepts_again_by_then_stays_until_it_has_its_copies() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
    for torrent in ["t1", "t2"] {
        cluster.cut(torrent);
    }
    let file = cluster.put(content());
    cluster.tracker_node_mut().is_full = true;
    cluster.remove(file);
    assert!(!cluster.tracker_node().disk.volume.fragments.is_empty(), "the disk has deleted it");
    cluster.tracker_node_mut().is_full = false;
    cluster.put(content());
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.tracker_node().disk.volume.fragments.len(), 10, "nobody else has it");
    for torrent in ["t1", "t2"] {
        cluster.connect(&client(torrent));
    }
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn what_is_stored_and_deleted_again_by_then_is_not_taken_for_undeleted() {
    let mut cluster = with_a_file_that_t1_did_not_delete(7, &["t1", "t2"], &content());
    let file = cluster.put(content());
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.torrent("t1").stored_count(), 10);
    cluster.remove(file);
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(bytes_of(&cluster, "t1"), 0);
    // The file is known again and comes to nobody: what t1 holds is compared with its disk after every step.
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionDelivered)];
    cluster.put(content());
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.torrent("t1").stored_count(), 0);
}
