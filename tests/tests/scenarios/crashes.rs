//! Crashes at the moments that matter: between a promise and the word that tells of it.

use std::time::Duration;

use mds_tests::sim::{Cluster, Rule, Writes, client};
use protocol::EventKind;

#[test]
fn the_tracker_crashes_after_it_accepted_a_file_and_before_anybody_heard_of_it() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FileInfoPublished), Rule::lose(EventKind::FragmentDistributionStarted)];
    let file = cluster.put_random(5);
    cluster.crash("tracker");
    cluster.broker.faults.rules.clear();
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
pub fn the_tracker_crashes_after_a_change_is_durable_and_before_it_is_told() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionEnded)];
    let file = cluster.put_random(5);
    cluster
        .run_until("a change is durable", |cluster| cluster.said(EventKind::FragmentDistributionEnded) > 2);
    cluster.crash("tracker");
    cluster.broker.faults.rules.clear();
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 5, "what was obtained counts");
}

#[test]
fn the_tracker_crashes_between_a_request_and_its_delivery() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2", "t3"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionDelivered)];
    let file = cluster.put_random(5);
    cluster
        .run_until("it is delivered", |cluster| cluster.said(EventKind::FragmentDistributionDelivered) > 0);
    cluster.crash("tracker");
    cluster.broker.faults.rules.clear();
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
pub fn a_torrent_crashes_after_the_bytes_are_durable_and_before_it_said_so() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2"]);
    let t1 = client("t1");
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionObtained).from(&t1)];
    let file = cluster.put_random(3);
    cluster.run_until("t1 has them", |cluster| cluster.torrent_node("t1").disk.volume.fragments.len() == 3);
    cluster.crash("t1");
    cluster.broker.faults.rules.clear();
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    let delivered = cluster.said(EventKind::FragmentDistributionDelivered);
    assert_eq!(delivered, 3, "they need not come again");
}

#[test]
pub fn wherever_a_torrent_crashes_it_has_what_it_said_it_had() {
    for others in 0..12 {
        let mut cluster = Cluster::with_torrents(14, &["t1", "t2"]);
        let file = cluster.put_random(2);
        cluster
            .run_until("t1 has said so", |cluster| cluster.said(EventKind::FragmentDistributionObtained) > 0);
        cluster.torrent_node_mut("t1").fuse.arm(others);
        cluster.run_until("t1 has crashed", |cluster| !cluster.fallen.is_empty());
        cluster.restart("t1");
        cluster.settle();
        assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
        let delivered = cluster.said(EventKind::FragmentDistributionDelivered);
        assert_eq!(delivered, 2, "nothing need come again after a crash at point {others}");
    }
}

#[test]
fn a_torrent_crashes_while_it_writes() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2"]);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(3));
    let file = cluster.put_random(20);
    cluster.run_until("t1 has some", |cluster| cluster.torrent_node("t1").disk.volume.fragments.len() == 5);
    cluster.crash("t1");
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn everybody_crashes_at_once() {
    for (seed, millis) in [(6, 3), (7, 6), (8, 9), (9, 12), (10, 20), (11, 2_000), (12, 6_000)] {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2", "t3"]);
        let file = cluster.put_random(50);
        cluster.run_for(Duration::from_millis(millis));
        for node in ["tracker", "t1", "t2", "t3"] {
            cluster.crash(node);
        }
        cluster.broker.forget_retained();
        for node in ["t1", "t2", "t3", "tracker"] {
            cluster.restart(node);
        }
        cluster.settle();
        assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2), "after {millis} ms");
    }
}
