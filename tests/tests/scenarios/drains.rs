//! Drain: a torrent is emptied before it leaves for good.

use std::time::Duration;

use mds_tests::sim::{Cluster, TrackerDisk, client, tracker_config};
use protocol::EventKind;

#[test]
fn what_a_torrent_holds_alone_is_copied_before_it_may_go() {
    let config = distribution::TrackerConfig { copies: "1".parse().unwrap(), ..tracker_config() };
    let mut cluster = Cluster::new(1);
    cluster.start_tracker(config);
    ["t1", "t2", "t3"].into_iter().for_each(|id| cluster.start_torrent(id));
    cluster.settle();
    let file = cluster.put_random(60);
    cluster.settle();
    let held = cluster.tracker().view().client(&client("t1")).unwrap().fragments;
    assert!(held > 5);
    cluster.drain("t1", true);
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(usize::try_from(held).unwrap()));
    cluster.settle();
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(0));
    cluster.shut_down("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
}

#[test]
fn a_torrent_that_is_emptied_gets_nothing_new_also_after_a_restart_of_the_tracker() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
    cluster.drain("t1", true);
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    cluster.put_random(30);
    cluster.settle();
    assert_eq!(cluster.tracker().view().client(&client("t1")).unwrap().fragments, 0);
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(0));
}

#[test]
fn a_torrent_whose_fragments_are_not_known_may_not_go() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2", "t3"]);
    cluster.put_random(30);
    cluster.settle();
    cluster.crash("t2");
    cluster.crash("t3");
    cluster.run_for(Duration::from_secs(15));
    cluster.drain("t1", true);
    assert_ne!(cluster.tracker().drain_remaining(&client("t1")), Some(0));
    cluster.cut("t1");
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.run_for(Duration::from_secs(15));
    assert_ne!(
        cluster.tracker().drain_remaining(&client("t1")),
        Some(0),
        "nobody has told yet what is where"
    );
    ["t2", "t3"].into_iter().for_each(|id| cluster.restart(id));
    cluster.connect(&client("t1"));
    cluster.settle();
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(0));
}

#[test]
fn a_drain_that_is_called_off_puts_the_torrent_back_into_service() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    let file = cluster.put_random(10);
    cluster.settle();
    cluster.drain("t1", true);
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(10), "nobody else is there");
    cluster.drain("t1", false);
    cluster.settle();
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), None);
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 10);
}

#[test]
fn with_a_copy_everywhere_a_torrent_that_is_emptied_is_not_one_of_them() {
    let config = distribution::TrackerConfig { copies: distribution::Copies::All, ..tracker_config() };
    let mut cluster = Cluster::new(4);
    cluster.start_tracker(config);
    ["t1", "t2", "t3"].into_iter().for_each(|id| cluster.start_torrent(id));
    cluster.settle();
    cluster.drain("t1", true);
    let file = cluster.put_random(10);
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    cluster.drain("t1", false);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(3));
}

#[test]
fn a_torrent_of_which_a_tracker_without_memory_knows_nothing_yet_is_not_taken_for_empty() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    cluster.put_random(10);
    cluster.settle();
    cluster.crash("t1");
    let tracker = cluster.tracker_id();
    cluster.crash(tracker.as_str());
    cluster.tracker_node_mut().disk = TrackerDisk::default();
    cluster.restart(tracker.as_str());
    cluster.drain("t1", true);
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), None, "it is not drained");
    cluster.restart("t1");
    cluster.settle();
    cluster.drain("t1", true);
    assert_eq!(cluster.tracker().drain_remaining(&client("t1")), Some(10));
}
