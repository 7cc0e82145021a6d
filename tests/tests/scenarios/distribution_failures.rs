//! Fragment Distribution: receivers that fail, are silent, too slow or full, and nobody to take a fragment.

use std::time::Duration;

use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Fate, Message, Nth, Publication, Rule, Writes, client, tracker_config};
use protocol::event::TrackerEvent;
use protocol::{EventKind, Hash, Heard};

fn fragment_of(cluster: &Cluster, file: &Hash) -> Hash {
    cluster.tracker().view().file(file).expect("a file").fragments[0]
}

#[test]
fn a_receiver_that_fails_is_replaced() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    cluster.torrent_node_mut("t1").writes = Writes::Fail;
    let file = cluster.put_random(10);
    cluster.settle();
    assert!(cluster.said(EventKind::FragmentDistributionFailed) > 0);
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.torrent("t1").stored().is_empty());
}

#[test]
fn an_end_without_receivers_changes_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.start_tracker(tracker_config());
    cluster.start_torrent("t1");
    cluster.settle();
    cluster.torrent_node_mut("t1").writes = Writes::Fail;
    let revision = cluster.tracker().view().revision();
    cluster.put_random(1);
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.said(EventKind::FragmentDistributionEnded) > 0);
    assert_eq!(cluster.tracker().view().revision(), revision.next(), "the file alone");
    assert_eq!(cluster.torrent("t1").view().revision(), revision.next());
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::ZERO);
    cluster.run_until("t1 holds it", |cluster| cluster.torrent("t1").stored().len() == 1);
    cluster.settle();
}

#[test]
fn a_receiver_that_is_silent_is_replaced() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2", "t3"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionDelivered).to(&client("t1")).nth(Nth::First(20))];
    let file = cluster.put_random(10);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_torrent_that_asks_for_nothing_is_not_waited_for_longer_than_a_short_window() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2", "t3", "t4"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionStarted).to(&client("t1"))];
    let file = cluster.put_random(10);
    let started = cluster.now;
    cluster
        .run_until("all is distributed", |cluster| cluster.tracker().view().fewest_holders(&file) == Some(2));
    assert!(cluster.now.since(started) < Duration::from_secs(2), "{:?}", cluster.now.since(started));
    cluster.settle();
}

#[test]
fn a_late_obtained_is_answered_and_counts() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2"]);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(15));
    let file = cluster.put_random(8);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.torrent("t1").staged_count(), 0);
}

#[test]
fn a_receiver_that_is_too_slow_is_an_additional_holder_in_the_end() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2", "t3"]);
    let slow = Rule::new(Fate::Delay(Duration::from_secs(14))).of(EventKind::FragmentDistributionObtained);
    cluster.broker.faults.rules = vec![slow.from(&client("t1"))];
    let file = cluster.put_random(10);
    cluster.settle();
    let view = cluster.tracker().view();
    assert!(view.file(&file).unwrap().fragments.iter().all(|fragment| view.holder_count(fragment) >= 2));
}

#[test]
fn a_torrent_without_room_asks_for_nothing() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2"]);
    let mut node = cluster.new_torrent("t3");
    node.setup.capacity_bytes = 3 * 1024;
    cluster.start_torrent_with(node, "t3");
    cluster.settle();
    let file = cluster.put_random(60);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.torrent("t3").used_bytes() <= 3 * 1024);
}

#[test]
fn fewer_torrents_than_copies_leave_the_bytes_with_the_tracker_until_one_more_registers() {
    let mut cluster = Cluster::with_torrents(8, &["t1"]);
    let file = cluster.put_random(10);
    cluster.settle();
    cluster.run_for(Duration::from_secs(300));
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
    assert_eq!(cluster.tracker().undistributed(), 10);
    assert_eq!(cluster.tracker_node().disk.volume.fragments.len(), 10);
    cluster.start_torrent("t2");
    let started = cluster.now;
    cluster.run_until("the second copies are there", |cluster| {
        cluster.tracker().view().fewest_holders(&file) == Some(2)
    });
    assert!(cluster.now.since(started) < Duration::from_secs(2), "{:?}", cluster.now.since(started));
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
}

#[test]
fn a_file_put_before_there_is_any_torrent_is_distributed_when_there_are_some() {
    let mut cluster = Cluster::new(9);
    cluster.start_tracker(tracker_config());
    cluster.run_for(Duration::from_secs(1));
    let file = cluster.put_random(5);
    cluster.run_for(Duration::from_secs(100));
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 0, "there is nobody to ask");
    cluster.start_torrent("t1");
    cluster.start_torrent("t2");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn nobody_asks_and_the_fragment_is_tried_again() {
    let mut cluster = Cluster::with_torrents(10, &["t1", "t2"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::FragmentDistributionStarted).nth(Nth::First(6))];
    let file = cluster.put_random(1);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 4);
}

#[test]
fn a_receiver_that_crashes_before_it_obtained_is_replaced() {
    let mut cluster = Cluster::with_torrents(11, &["t1", "t2", "t3"]);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(5));
    let file = cluster.put_random(20);
    cluster.run_for(Duration::from_millis(30));
    cluster.crash("t1");
    cluster.run_until("its lease ends", |cluster| cluster.tracker().view().clients().len() == 2);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_torrent_that_loses_its_disk_after_it_obtained_does_not_count() {
    let mut cluster = Cluster::with_torrents(12, &["t1", "t2"]);
    // t2 never answers, so the distribution stays open when t1 comes back with nothing.
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionObtained).from(&client("t2")).nth(Nth::First(1))];
    let file = cluster.put_random(1);
    let fragment = fragment_of(&cluster, &file);
    cluster.run_until("t1 obtained", |cluster| cluster.torrent("t1").staged_count() == 1);
    cluster.run_for(Duration::from_millis(50));
    cluster.crash("t1");
    let empty = mds_tests::sim::TorrentNode::empty_disk(&mut cluster.rng);
    cluster.torrent_node_mut("t1").disk = empty;
    cluster.restart("t1");
    cluster.settle();
    assert!(cluster.torrent_node("t1").disk.volume.fragments.contains_key(&fragment));
    assert!(cluster.torrent_node("t2").disk.volume.fragments.contains_key(&fragment));
    let counted_on =
        |notice: &Notice| matches!(notice, Notice::Unregistered(why) if why.contains("counts on"));
    assert!(!cluster.torrent_node("t1").notices.iter().any(counted_on), "nobody counted on it");
}

#[test]
pub fn a_lost_obtained_is_said_again_with_the_next_heartbeats() {
    let mut cluster = Cluster::with_torrents(14, &["t1", "t2"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionObtained).from(&client("t1")).nth(Nth::First(1))];
    let file = cluster.put_random(1);
    let started = cluster.now;
    cluster.run_until("both hold it", |cluster| cluster.tracker().view().fewest_holders(&file) == Some(2));
    assert!(cluster.now.since(started) < Duration::from_secs(7), "{:?}", cluster.now.since(started));
    cluster.settle();
}

#[test]
pub fn an_obtained_that_is_said_again_by_a_holder_is_answered_and_changes_nothing() {
    let mut cluster = Cluster::with_torrents(15, &["t1", "t2"]);
    cluster.put_random(1);
    cluster.settle();
    let is_obtained = |message: &&Message| {
        message.kind == Some(EventKind::FragmentDistributionObtained) && message.from == client("t1")
    };
    let again = cluster.broker.trace.iter().find(is_obtained).cloned().expect("t1 obtained it");
    let revision = cluster.tracker().view().revision();
    let publication = Publication { topic: again.topic, payload: again.payload, retain: false };
    cluster.publish(&client("t1"), vec![publication]);
    cluster.run_for(Duration::from_millis(50));
    let answers: Vec<_> = cluster
        .heard()
        .filter_map(|(_, heard)| match heard {
            Heard::Tracker { envelope, event: TrackerEvent::FragmentDistributionEnded(ended), .. } => {
                Some((envelope.revision, envelope.in_reply_to.is_some(), ended.receivers.len()))
            }
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .collect();
    assert_eq!(answers, [(Some(revision), false, 2), (None, true, 1)]);
    cluster.settle();
}

#[test]
fn own_bytes_that_cannot_be_read_stop_their_distribution_alone() {
    let mut cluster = Cluster::with_torrents(13, &["t1", "t2"]);
    let file = cluster.put_random(3);
    let fragment = fragment_of(&cluster, &file);
    cluster.tracker_node_mut().disk.volume.fragments.remove(&fragment);
    cluster.run_for(Duration::from_secs(60));
    let view = cluster.tracker().view();
    assert_eq!(view.holder_count(&fragment), 0);
    assert_eq!(cluster.tracker().undistributed(), 0);
    let others = view.file(&file).unwrap().fragments.iter().filter(|other| **other != fragment);
    assert!(others.clone().count() == 2 && others.clone().all(|other| view.holder_count(other) == 2));
    assert!(cluster.torrent("t1").view() == view);
}

#[test]
pub fn an_obtained_of_before_the_disk_was_lost_does_not_count() {
    let mut cluster = Cluster::new(16);
    let copies = "1".parse().unwrap();
    cluster.start_tracker(distribution::TrackerConfig { copies, ..tracker_config() });
    cluster.start_torrent("t1");
    cluster.settle();
    let late = Rule::new(Fate::Delay(Duration::from_secs(3)));
    cluster.broker.faults.rules = vec![late.of(EventKind::FragmentDistributionObtained).nth(Nth::First(1))];
    let file = cluster.put_random(1);
    cluster.run_until("t1 obtained", |cluster| cluster.torrent("t1").staged_count() == 1);
    cluster.crash("t1");
    let empty = mds_tests::sim::TorrentNode::empty_disk(&mut cluster.rng);
    cluster.torrent_node_mut("t1").disk = empty;
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(8));
    cluster.restart("t1");
    let fragment = fragment_of(&cluster, &file);
    let end = cluster.now + Duration::from_secs(20);
    while cluster.now < end {
        let is_named = cluster.tracker().view().holds(&client("t1"), &fragment);
        let is_there = cluster.torrent_node("t1").disk.volume.fragments.contains_key(&fragment);
        assert!(is_there || !is_named, "it is named for what was on its former disk");
        cluster.step();
    }
    cluster.settle();
}
