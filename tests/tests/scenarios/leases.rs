//! Client Goodbye, Last Wills, heartbeats and leases.

use std::time::Duration;

use mds_tests::sim::{Cluster, Fate, Nth, Publication, Rule, client};
use protocol::event::{ClientHeartbeat, TorrentEnvelope, TorrentEvent, TrackerEvent, UnregisteredReason};
use protocol::{EventId, EventKind, Hash, Heard, Incarnation, InstanceId, Revision};
use uuid::Uuid;

/// Why torrents were unregistered, in order.
fn reasons(cluster: &Cluster) -> Vec<UnregisteredReason> {
    cluster
        .heard()
        .filter_map(|(_, heard)| match heard {
            Heard::Tracker { event: TrackerEvent::ClientUnregistered(gone), .. } => Some(gone.reason),
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .collect()
}

#[test]
fn client_goodbye_standard_procedure() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    cluster.put_random(4);
    cluster.settle();
    cluster.shut_down("t1");
    cluster.run_for(Duration::from_millis(20));
    assert_eq!(reasons(&cluster), [UnregisteredReason::Leaving]);
    assert!(cluster.tracker().view().client(&client("t1")).is_none());
    assert!(cluster.torrent("t2").view().client(&client("t1")).is_none());
    cluster.settle();
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().clients().len(), 3);
}

#[test]
fn a_lost_connection_makes_a_torrent_suspect_and_the_end_of_its_lease_unregisters_it() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
    cluster.crash("t1");
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.torrent("t2").is_suspect(&client("t1")));
    assert!(cluster.tracker().view().client(&client("t1")).is_some(), "not yet");
    cluster.put_random(10);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.tracker().view().client(&client("t1")).unwrap().fragments, 0, "it gets nothing");
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(reasons(&cluster), [UnregisteredReason::LeaseExpired]);
    cluster.settle();
    assert!(!cluster.torrent("t2").is_suspect(&client("t1")));
}

#[test]
pub fn a_wall_clock_that_is_set_back_prolongs_no_lease() {
    let mut cluster = Cluster::with_torrents(14, &["t1", "t2"]);
    cluster.run_for(Duration::from_secs(200));
    let tracker = cluster.tracker_id();
    cluster.set_wall_clock_back(&tracker, Duration::from_secs(100));
    cluster.torrent_node_mut("t1").crash();
    cluster.run_for(Duration::from_secs(14));
    assert_eq!(reasons(&cluster), [UnregisteredReason::LeaseExpired]);
}

#[test]
pub fn a_torrent_that_is_silent_without_a_will_loses_its_lease() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    cluster.torrent_node_mut("t1").crash();
    cluster.run_for(Duration::from_secs(14));
    assert_eq!(reasons(&cluster), [UnregisteredReason::LeaseExpired]);
}

#[test]
fn whose_return_a_peer_did_not_hear_of_is_not_taken_for_lost_for_ever() {
    let mut cluster = Cluster::with_torrents(15, &["t1", "t2", "t3"]);
    cluster.put_random(6);
    cluster.settle();
    cluster.crash("t1");
    cluster.run_until("t2 knows", |cluster| cluster.torrent("t2").is_suspect(&client("t1")));
    // It joins again, and the tracker's answer says nothing of who came back before it.
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::ClientRegistered).to(&client("t2")).nth(Nth::First(1))];
    cluster.restart("t1");
    cluster.settle();
    assert!(!cluster.torrent("t2").is_suspect(&client("t1")));
}

#[test]
fn a_goodbye_that_comes_after_the_return_is_forgotten() {
    let mut cluster = Cluster::with_torrents(16, &["t1", "t2"]);
    let late = Fate::Delay(Duration::from_secs(30));
    cluster.broker.faults.rules = vec![Rule::new(late).of(EventKind::ClientGoodbye).to(&client("t2"))];
    cluster.cut("t1");
    cluster.connect(&client("t1"));
    cluster.run_until("it comes", |cluster| cluster.torrent("t2").is_suspect(&client("t1")));
    cluster.settle();
    assert!(!cluster.torrent("t2").is_suspect(&client("t1")));
}

#[test]
fn who_is_gone_is_suspect_until_it_is_unregistered() {
    let mut cluster = Cluster::with_torrents(17, &["t1", "t2"]);
    let is_registered = |cluster: &Cluster| cluster.torrent("t2").view().client(&client("t1")).is_some();
    cluster.crash("t1");
    cluster.run_until("t2 knows", |cluster| cluster.torrent("t2").is_suspect(&client("t1")));
    while is_registered(&cluster) {
        assert!(cluster.torrent("t2").is_suspect(&client("t1")));
        cluster.step();
    }
}

#[test]
fn a_flap_shorter_than_the_lease_unregisters_nobody_and_repairs_nothing() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2", "t3"]);
    cluster.put_random(6);
    cluster.settle();
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.cut("t1");
    cluster.run_for(Duration::from_secs(4));
    cluster.connect(&client("t1"));
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), started);
}

#[test]
fn what_a_torrent_held_that_is_gone_while_the_tracker_has_the_bytes_is_distributed_again() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2", "t3"]);
    let file = cluster.put_random(10);
    cluster
        .run_until("all is distributed", |cluster| cluster.tracker().view().fewest_holders(&file) == Some(2));
    assert!(!cluster.tracker_node().disk.volume.fragments.is_empty());
    cluster.shut_down("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_torrent_that_the_tracker_does_not_know_is_told_to_join() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
    let lost = [EventKind::ClientHeartbeat, EventKind::ClientUnregistered];
    cluster.broker.faults.rules = lost.map(|kind| Rule::lose(kind).nth(Nth::First(8))).to_vec();
    cluster.run_until("t1 has lost its lease", |cluster| {
        cluster.tracker().view().client(&client("t1")).is_none()
    });
    cluster.settle();
    assert_eq!(cluster.tracker().view().clients().len(), 2);
}

#[test]
fn the_heartbeat_of_a_stranger_is_answered_by_a_hello_to_it_alone() {
    let mut cluster = Cluster::with_torrents(7, &["t1"]);
    let envelope = TorrentEnvelope {
        event_id: EventId(Uuid::from_u128(1)),
        client_identifier: Some(client("stranger")),
        instance: Some(InstanceId(Uuid::from_u128(2))),
        incarnation: Some(Incarnation(1)),
        registration: None,
        in_reply_to: None,
    };
    let heartbeat = ClientHeartbeat {
        revision: Revision(1),
        digest: Hash::of(b""),
        inventory_digest: Hash::of(b""),
        stored: 0,
        free_bytes: 0,
    };
    let payload = protocol::encode_torrent(&envelope, &TorrentEvent::from(heartbeat));
    let from = cluster.broker.trace.len();
    let publication = Publication { topic: "clients/heartbeat/stranger".into(), payload, retain: false };
    cluster.publish(&client("stranger"), vec![publication]);
    cluster.run_for(Duration::from_millis(50));
    let answers = cluster.broker.trace[from..].iter().filter(|message| message.from == cluster.tracker_id());
    let topics: Vec<&str> = answers.map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["tracker/hello/stranger"]);
}

#[test]
fn the_will_of_an_earlier_connection_that_comes_late_costs_nothing() {
    let mut cluster = Cluster::with_torrents(8, &["t1", "t2"]);
    cluster.broker.faults.rules =
        vec![Rule::new(Fate::Delay(Duration::from_secs(5))).of(EventKind::ClientGoodbye)];
    cluster.crash("t1");
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(reasons(&cluster), []);
    assert!(cluster.torrent("t1").is_registered());
}

#[test]
fn the_goodbye_of_an_earlier_start_does_not_end_a_join() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    cluster.broker.latency = Duration::ZERO;
    // The will arrives between the answer and the confirmation.
    cluster.broker.faults.rules = vec![
        Rule::new(Fate::Delay(Duration::from_millis(500))).of(EventKind::ClientGoodbye),
        Rule::new(Fate::Delay(Duration::from_secs(1))).of(EventKind::ClientJoinSucceeded),
    ];
    cluster.crash("t1");
    cluster.restart("t1");
    let started = cluster.now;
    cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
    assert!(cluster.now.since(started) < Duration::from_secs(2), "{:?}", cluster.now.since(started));
    cluster.settle();
}

#[test]
fn a_torrent_is_alive_as_long_as_it_says_anything() {
    let mut cluster = Cluster::with_torrents(10, &["t1", "t2"]);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::ClientHeartbeat).from(&client("t1"))];
    for _ in 0..10 {
        cluster.put_random(1);
        cluster.run_for(Duration::from_secs(3));
    }
    assert_eq!(reasons(&cluster), []);
}

/// Says a heartbeat in the name of t1 that differs from the true one.
fn heartbeat_of_t1(cluster: &mut Cluster, number: u128, change: impl FnOnce(&mut ClientHeartbeat)) {
    let node = cluster.torrent_node("t1");
    let (view, machine) = (node.machine().view(), node.machine());
    let mut heartbeat = ClientHeartbeat {
        revision: view.revision(),
        digest: view.digest(),
        inventory_digest: view.client(&client("t1")).unwrap().inventory.hash(),
        stored: machine.stored_count(),
        free_bytes: 1,
    };
    change(&mut heartbeat);
    let envelope = TorrentEnvelope {
        event_id: EventId(Uuid::from_u128(number)),
        client_identifier: Some(client("t1")),
        instance: Some(node.disk.instance),
        incarnation: Some(node.disk.incarnation),
        registration: None,
        in_reply_to: None,
    };
    let payload = protocol::encode_torrent(&envelope, &TorrentEvent::from(heartbeat));
    let publication = Publication { topic: "clients/heartbeat/t1".into(), payload, retain: false };
    cluster.publish(&client("t1"), vec![publication]);
    cluster.run_for(Duration::from_millis(100));
}

#[test]
fn a_torrent_with_another_digest_at_the_same_revision_joins_again() {
    let mut cluster = Cluster::with_torrents(11, &["t1", "t2"]);
    heartbeat_of_t1(&mut cluster, 1, |_| {});
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 2);
    heartbeat_of_t1(&mut cluster, 2, |heartbeat| heartbeat.digest = Hash::of(b"another view"));
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3);
    cluster.settle();
}

#[test]
fn a_torrent_that_is_ahead_of_the_tracker_joins_again() {
    let mut cluster = Cluster::with_torrents(12, &["t1", "t2"]);
    heartbeat_of_t1(&mut cluster, 1, |heartbeat| heartbeat.revision = heartbeat.revision.next());
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3);
    cluster.settle();
}

#[test]
fn a_torrent_that_keeps_something_else_than_the_view_says_joins_again() {
    let mut cluster = Cluster::with_torrents(13, &["t1", "t2"]);
    let other = |heartbeat: &mut ClientHeartbeat| heartbeat.inventory_digest = Hash::of(b"forgotten");
    heartbeat_of_t1(&mut cluster, 1, other);
    heartbeat_of_t1(&mut cluster, 1, other);
    assert_eq!(
        cluster.said(EventKind::ClientJoinRequested),
        2,
        "said once, it may just have obtained something"
    );
    heartbeat_of_t1(&mut cluster, 2, other);
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3);
    cluster.settle();
}
