//! Any event may be lost, doubled or late: all views become equal, nothing stays staged, nothing is lost.

use std::time::Duration;

use mds_tests::sim::{Cluster, Fate, NATS, Nth, Order, Rule, client, tracker_config};
use protocol::EventKind;

/// A life with everything in it: torrents that join, leave and crash, files before, between and after.
fn a_day(cluster: &mut Cluster) {
    cluster.put_random(3);
    cluster.run_for(Duration::from_millis(30));
    cluster.start_torrent("t4");
    cluster.put_random(3);
    cluster.run_for(Duration::from_secs(1));
    cluster.crash("t1");
    cluster.put_random(3);
    cluster.run_for(Duration::from_secs(2));
    cluster.restart("t1");
    cluster.run_for(Duration::from_secs(1));
    cluster.shut_down("t2");
    cluster.put_random(2);
    cluster.run_for(Duration::from_secs(5));
    cluster.restart("t2");
    cluster.settle();
    assert!(cluster.uploads().values().all(|content| {
        let view = cluster.tracker().view();
        content.fragments().keys().all(|fragment| view.holder_count(fragment) >= 1)
    }));
}

#[test]
fn each_event_is_lost_once_or_thrice_to_each_of_its_listeners() {
    for kind in EventKind::ALL {
        for nth in [Nth::Only(1), Nth::Only(2), Nth::First(3)] {
            for listener in ["t1", "t3", "tracker"] {
                let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
                cluster.broker.faults.rules = vec![Rule::lose(*kind).to(&client(listener)).nth(nth)];
                a_day(&mut cluster);
            }
        }
    }
}

#[test]
fn each_event_is_lost_to_everybody_for_a_while() {
    for kind in EventKind::ALL {
        let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
        cluster.broker.faults.rules = vec![Rule::lose(*kind).nth(Nth::First(10))];
        a_day(&mut cluster);
    }
}

#[test]
fn everything_is_doubled() {
    for (seed, wait) in [(3, 0), (4, 5), (5, 700), (6, 4_000)] {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2", "t3"]);
        let doubled = Rule::new(Fate::Duplicate(Duration::from_millis(wait)));
        cluster.broker.faults.rules = vec![doubled];
        a_day(&mut cluster);
    }
}

#[test]
pub fn nobody_hears_twice_what_two_of_its_subscriptions_would_fit() {
    let mut cluster = Cluster::new(8);
    cluster.broker.behave(NATS);
    cluster.start_tracker(tracker_config());
    cluster.start_torrent("t1");
    cluster.start_torrent("t2");
    a_day(&mut cluster);
    assert_eq!(cluster.broker.overlapped, 0);
}

#[test]
fn each_event_is_late() {
    for kind in EventKind::ALL {
        for wait in [2, 9, 16] {
            let mut cluster = Cluster::with_torrents(7, &["t1", "t2", "t3"]);
            let late = Rule::new(Fate::Delay(Duration::from_secs(wait))).of(*kind).nth(Nth::First(5));
            cluster.broker.faults.rules = vec![late];
            a_day(&mut cluster);
        }
    }
}

#[test]
fn everything_comes_in_any_order() {
    for seed in 8..18 {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2", "t3"]);
        cluster.broker.order = Order::Any;
        cluster.broker.latency = Duration::from_millis(200);
        a_day(&mut cluster);
    }
}

#[test]
fn a_seed_replays_exactly() {
    let run = |seed| {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2", "t3"]);
        cluster.broker.order = Order::Any;
        cluster.broker.latency = Duration::from_millis(50);
        a_day(&mut cluster);
        (cluster.now, cluster.steps, cluster.broker.trace)
    };
    assert_eq!(run(18), run(18));
    assert_ne!(run(18).2, run(19).2);
}
