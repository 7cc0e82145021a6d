//! The numbered changes of the view: gaps, reordering, digests.

use std::time::Duration;

use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Fate, Nth, Order, Rule, client};
use protocol::EventKind;

const CHANGES: [EventKind; 3] =
    [EventKind::FileInfoPublished, EventKind::FragmentDistributionEnded, EventKind::ClientRegistered];

#[test]
fn changes_that_overtake_each_other_are_applied_in_order() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    cluster.broker.order = Order::Any;
    cluster.broker.latency = Duration::from_millis(300);
    for _ in 0..5 {
        cluster.put_random(10);
        cluster.run_for(Duration::from_millis(100));
    }
    cluster.settle();
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3, "nobody had to join again");
}

#[test]
fn a_gap_that_does_not_close_makes_the_torrent_join_again() {
    for kind in CHANGES {
        let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
        cluster.broker.faults.rules = vec![Rule::lose(kind).to(&client("t1")).nth(Nth::First(1))];
        cluster.put_random(5);
        cluster.start_torrent("t4");
        cluster.settle();
        cluster.put_random(5);
        cluster.settle();
        let rejoined =
            cluster.torrent_node("t1").notices.iter().filter(|notice| **notice == Notice::Registered);
        assert_eq!(rejoined.count(), 2, "{kind}");
    }
}

#[test]
pub fn the_last_change_gets_lost_and_the_torrent_learns_of_it_all_the_same() {
    for kind in CHANGES {
        let mut cluster = Cluster::with_torrents(3, &["t1", "t2", "t3"]);
        cluster.broker.faults.rules = vec![Rule::lose(kind).to(&client("t1"))];
        if kind == EventKind::ClientRegistered {
            cluster.start_torrent("t4");
        } else {
            // The end of its distribution is the last change, unless it has no fragment.
            cluster.put_random(usize::from(kind == EventKind::FragmentDistributionEnded));
        }
        cluster.run_for(Duration::from_millis(200));
        cluster.broker.faults.rules.clear();
        let started = cluster.now;
        cluster.run_until("t1 has caught up", |cluster| {
            cluster.torrent("t1").view() == cluster.tracker().view() && cluster.torrent("t1").is_registered()
        });
        assert!(cluster.now.since(started) < Duration::from_secs(10), "{kind}");
        cluster.settle();
    }
}

#[test]
fn a_torrent_that_is_behind_and_catching_up_is_left_alone() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2", "t3"]);
    let slow = Rule::new(Fate::Delay(Duration::from_millis(2500)));
    cluster.broker.faults.rules = CHANGES.map(|kind| slow.clone().of(kind).to(&client("t1"))).to_vec();
    for _ in 0..20 {
        cluster.put_random(1);
        cluster.run_for(Duration::from_secs(1));
    }
    cluster.settle();
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3, "nobody had to join again");
}

#[test]
fn a_view_with_another_digest_at_the_same_revision_is_replaced() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2"]);
    cluster.put_random(3);
    cluster.settle();
    // A disk that went back in time behind a machine that did not notice: the view is another, its revision is the same.
    cluster.torrent_node_mut("t1").crash();
    let revision = cluster.torrent_node("t1").disk.volume.view.revision();
    let other = distribution::view::View::new();
    cluster.torrent_node_mut("t1").disk.volume.view = other;
    cluster.torrent_node_mut("t1").disk.volume.view.set_revision(revision);
    cluster.restart("t1");
    cluster.settle();
}

#[test]
pub fn changes_during_a_join_are_not_lost() {
    for seed in 6..26 {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2"]);
        cluster.broker.order = Order::Any;
        cluster.broker.latency = Duration::from_millis(50);
        cluster.start_torrent("t3");
        for _ in 0..20 {
            cluster.put_random(1);
            cluster.run_for(Duration::from_millis(10));
        }
        cluster.settle();
        assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3, "seed {seed}: nobody had to join again");
    }
}

#[test]
fn a_torrent_that_comes_from_a_service_with_higher_revisions_misses_nothing() {
    for seed in 26..36 {
        let mut cluster = Cluster::with_torrents(seed, &["t1"]);
        cluster.broker.order = Order::Any;
        cluster.broker.latency = Duration::from_millis(50);
        let mut node = cluster.new_torrent("t2");
        node.disk.volume.view.set_revision(protocol::Revision(10_000));
        cluster.start_torrent_with(node, "t2");
        for _ in 0..20 {
            cluster.put_random(1);
            cluster.run_for(Duration::from_millis(10));
        }
        cluster.settle();
        assert_eq!(cluster.said(EventKind::ClientJoinRequested), 2, "seed {seed}: nobody had to join again");
    }
}
