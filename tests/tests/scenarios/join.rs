//! Client Join: the standard procedure and its alternatives.

use std::time::Duration;

use distribution::limits::TrackerLimits;
use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Fate, Nth, Rule, Writes, client, tracker_config};
use protocol::event::{TorrentEvent, TrackerEvent};
use protocol::{EventKind, Heard, Incarnation};

/// The kinds of a conversation, in the order in which they were said.
fn conversation(cluster: &Cluster) -> Vec<EventKind> {
    let of_joins = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::ClientJoinRequested
                | EventKind::ClientJoinAccepted
                | EventKind::ClientJoinDenied
                | EventKind::ClientJoinSucceeded
                | EventKind::ClientJoinFailed
                | EventKind::ClientRegistered
        )
    };
    cluster.broker.trace.iter().filter_map(|message| message.kind).filter(of_joins).collect()
}

const STANDARD: [EventKind; 4] = [
    EventKind::ClientJoinRequested,
    EventKind::ClientJoinAccepted,
    EventKind::ClientJoinSucceeded,
    EventKind::ClientRegistered,
];

#[test]
fn client_join_standard_procedure() {
    let cluster = Cluster::with_torrents(1, &["t1"]);
    assert_eq!(conversation(&cluster), STANDARD);
    assert!(cluster.torrent_node("t1").notices.contains(&Notice::Registered));
}

#[test]
fn a_joining_torrent_gets_the_view_as_it_is_and_the_others_hear_of_it() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2"]);
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.start_torrent("t3");
    cluster.settle();
    assert!(cluster.torrent("t3").view().file(&file).is_some());
    assert_eq!(cluster.torrent("t1").view().clients().len(), 3);
}

fn joins_within(mut cluster: Cluster, rule: Rule, limit: Duration) -> Cluster {
    cluster.broker.faults.rules.push(rule);
    cluster.start_torrent("t1");
    let started = cluster.now;
    cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
    assert!(cluster.now.since(started) < limit, "{:?}", cluster.now.since(started));
    cluster.settle();
    cluster
}

fn tracker_alone(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.start_tracker(tracker_config());
    cluster.run_for(Duration::from_secs(1));
    cluster
}

#[test]
fn client_join_alternative_1_the_request_gets_lost() {
    let rule = Rule::lose(EventKind::ClientJoinRequested).nth(Nth::First(1));
    let cluster = joins_within(tracker_alone(3), rule, Duration::from_secs(12));
    assert!(cluster.torrent_node("t1").notices.contains(&Notice::NoAnswer));
}

#[test]
fn client_join_alternative_2_the_answer_gets_lost() {
    let rule = Rule::lose(EventKind::ClientJoinAccepted).nth(Nth::First(1));
    let cluster = joins_within(tracker_alone(4), rule, Duration::from_secs(12));
    assert_eq!(cluster.said(EventKind::ClientJoinAccepted), 2);
}

#[test]
fn client_join_alternative_4_the_confirmation_gets_lost() {
    let rule = Rule::lose(EventKind::ClientJoinSucceeded).nth(Nth::First(1));
    let cluster = joins_within(tracker_alone(5), rule, Duration::from_secs(12));
    assert_eq!(cluster.said(EventKind::ClientRegistered), 1);
}

#[test]
fn the_registration_gets_lost_on_its_way_to_the_torrent() {
    let rule = Rule::lose(EventKind::ClientRegistered).nth(Nth::First(1));
    let cluster = joins_within(tracker_alone(6), rule, Duration::from_secs(12));
    assert_eq!(cluster.said(EventKind::ClientRegistered), 2);
}

#[test]
fn each_wait_grows_while_nobody_answers() {
    let mut cluster = tracker_alone(7);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::ClientJoinRequested), Rule::lose(EventKind::TrackerHello)];
    cluster.start_torrent("t1");
    cluster.run_for(Duration::from_secs(200));
    let asked: Vec<u64> = cluster
        .broker
        .trace
        .iter()
        .filter(|message| message.kind == Some(EventKind::ClientJoinRequested))
        .map(|message| message.at.0)
        .collect();
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 4, "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 70_000), "{waits:?}");
}

#[test]
pub fn a_doubled_request_is_answered_again_with_the_same_answer() {
    let rule = Rule::new(Fate::Duplicate(Duration::ZERO)).of(EventKind::ClientJoinRequested);
    let mut cluster = tracker_alone(8);
    cluster.broker.latency = Duration::ZERO;
    cluster.broker.faults.rules = vec![rule, Rule::lose(EventKind::ClientJoinAccepted).nth(Nth::Only(1))];
    cluster.start_torrent("t1");
    let started = cluster.now;
    cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
    assert!(cluster.now.since(started) < Duration::from_secs(1), "the second answer was enough");
    let answers: Vec<_> = cluster
        .heard()
        .filter_map(|(_, heard)| match heard {
            Heard::Tracker { envelope, event: TrackerEvent::ClientJoinAccepted(_), .. } => Some(envelope),
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .collect();
    assert_eq!(answers[0], answers[1]);
    cluster.settle();
}

#[test]
pub fn an_answer_to_an_earlier_request_is_not_taken_for_the_answer_to_this_one() {
    // The first answer comes when the second request is under way; what it says is outdated.
    let late =
        |kind, nth, wait| Rule::new(Fate::Delay(Duration::from_secs(wait))).of(kind).nth(Nth::Only(nth));
    let mut cluster = tracker_alone(9);
    cluster.broker.faults.rules =
        vec![late(EventKind::ClientJoinAccepted, 1, 12), late(EventKind::ClientJoinRequested, 2, 3)];
    cluster.start_torrent("t1");
    let started = cluster.now;
    cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
    assert!(cluster.now.since(started) < Duration::from_secs(16), "{:?}", cluster.now.since(started));
    cluster.settle();
}

#[test]
fn a_stale_request_that_arrives_before_the_confirmation_of_a_later_one_changes_nothing() {
    let late = |kind, wait| Rule::new(Fate::Delay(Duration::from_millis(wait))).of(kind).nth(Nth::Only(1));
    let mut cluster = tracker_alone(10);
    cluster.broker.latency = Duration::ZERO;
    // The first request arrives when the second was answered and its confirmation is on the way.
    cluster.broker.faults.rules =
        vec![late(EventKind::ClientJoinRequested, 12_050), late(EventKind::ClientJoinSucceeded, 2_000)];
    cluster.start_torrent("t1");
    cluster.settle();
}

#[test]
fn several_torrents_join_at_once() {
    let torrents = ["t1", "t2", "t3", "t4", "t5"];
    let mut cluster = tracker_alone(11);
    for torrent in torrents {
        cluster.start_torrent(torrent);
    }
    cluster.settle();
    assert_eq!(cluster.tracker().view().clients().len(), 5);
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 5, "each asks once");
}

#[test]
fn a_torrent_joins_while_fragments_are_distributed() {
    let mut cluster = Cluster::with_torrents(12, &["t1", "t2"]);
    let file = cluster.put_random(100);
    cluster.run_for(Duration::from_millis(20));
    cluster.start_torrent("t3");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), 3, "each asks once");
}

#[test]
fn a_newer_incarnation_replaces_the_registration_of_an_older_one() {
    let mut cluster = Cluster::with_torrents(13, &["t1", "t2"]);
    cluster.put_random(4);
    cluster.settle();
    // The broker has not noticed that it is gone: no will.
    cluster.torrent_node_mut("t1").crash();
    cluster.broker.disconnect(&client("t1"));
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.torrent_node("t1").disk.incarnation, Incarnation(2));
    assert_eq!(cluster.torrent("t1").stored().len(), 4);
    assert_eq!(cluster.said(EventKind::ClientUnregistered), 0);
}

#[test]
pub fn what_an_older_incarnation_said_late_is_ignored() {
    let mut cluster = Cluster::with_torrents(14, &["t1", "t2"]);
    let said: Vec<_> =
        cluster.broker.trace.iter().filter(|message| message.from == client("t1")).cloned().collect();
    cluster.torrent_node_mut("t1").crash();
    cluster.restart("t1");
    cluster.settle();
    let revision = cluster.tracker().view().revision();
    let answers = cluster.said(EventKind::ClientJoinAccepted);
    for message in said {
        let (topic, payload) = (message.topic, message.payload);
        cluster.publish(&client("t1"), vec![mds_tests::sim::Publication { topic, payload, retain: false }]);
    }
    cluster.run_for(Duration::from_secs(15));
    assert_eq!(cluster.tracker().view().revision(), revision);
    assert_eq!(cluster.said(EventKind::ClientJoinAccepted), answers);
    assert!(cluster.torrent("t1").is_registered());
}

#[test]
pub fn what_it_said_before_it_joined_again_is_ignored() {
    let mut cluster = Cluster::with_torrents(18, &["t1", "t2"]);
    let content = cluster.rng.content(3 * 1024);
    let file = cluster.put(content.clone());
    cluster.settle();
    let said = cluster.broker.trace.iter().filter(|message| message.from == client("t1"));
    let obtained: Vec<_> = said
        .filter(|message| message.kind == Some(EventKind::FragmentDistributionObtained))
        .map(|message| (message.topic.clone(), message.payload.clone()))
        .collect();
    assert_eq!(obtained.len(), 3);
    cluster.remove(file);
    cluster.settle();
    cluster.cut("t1");
    cluster.run_for(Duration::from_secs(1));
    cluster.connect(&client("t1"));
    cluster.settle();
    // The same fragments again, which do not come to t1. What it said of them then comes once more.
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionDelivered).to(&client("t1"))];
    cluster.put(content);
    cluster.run_for(Duration::from_millis(100));
    for (topic, payload) in obtained {
        cluster.publish(&client("t1"), vec![mds_tests::sim::Publication { topic, payload, retain: false }]);
    }
    cluster.run_for(Duration::from_millis(50));
    assert!(cluster.tracker().view().inventory(&client("t1")).is_empty());
    cluster.broker.faults.rules.clear();
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn no_more_torrents_than_allowed_join_at_once() {
    let mut cluster = Cluster::new(15);
    let mut config = tracker_config();
    config.limits = TrackerLimits { pending_joins: 1, ..TrackerLimits::default() };
    cluster.start_tracker(config);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::ClientJoinSucceeded).from(&client("t1")).nth(Nth::First(1))];
    cluster.start_torrent("t1");
    cluster.run_for(Duration::from_secs(2));
    cluster.start_torrent("t2");
    cluster.run_for(Duration::from_secs(2));
    let is_told = |notice: &Notice| matches!(notice, Notice::Denied(reason) if reason.contains("Other"));
    assert!(cluster.torrent_node("t2").notices.iter().any(is_told));
    cluster.settle();
    assert_eq!(cluster.tracker().view().clients().len(), 2);
}

#[test]
fn a_torrent_says_why_it_cannot_take_over_the_view() {
    let mut cluster = Cluster::new(16);
    let mut config = tracker_config();
    config.fragment_size_bytes = 1 << 20;
    cluster.start_tracker(config);
    cluster.run_for(Duration::from_secs(1));
    cluster.start_torrent("t1");
    cluster.settle();
    let failed = cluster.heard().filter(|(_, heard)| {
        matches!(heard, Heard::Torrent { event: TorrentEvent::ClientJoinFailed(_), .. })
    });
    assert_eq!(failed.count(), 0, "a fresh torrent takes any fragment size");
    assert_eq!(cluster.torrent("t1").view().fragment_size_bytes(), Some(1 << 20));
}

#[test]
fn what_became_durable_after_the_request_is_told_all_the_same() {
    let mut cluster = Cluster::with_torrents(17, &["t1", "t2"]);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(2));
    cluster.broker.latency = Duration::ZERO;
    cluster.put_random(1);
    cluster.run_until("t1 is writing", |cluster| cluster.torrent_node("t1").is_writing());
    // The torrent asks before its writes have ended, and is registered after.
    let late = Rule::new(Fate::Delay(Duration::from_secs(3))).of(EventKind::ClientJoinSucceeded);
    cluster.broker.faults.rules = vec![late];
    cluster.cut("t1");
    cluster.connect(&client("t1"));
    cluster.settle();
    let asked = cluster.heard().filter(|(from, heard)| {
        **from == client("t1")
            && matches!(heard, Heard::Torrent { event: TorrentEvent::ClientJoinRequested(_), .. })
    });
    assert_eq!(asked.count(), 2, "no inventory had to be set right");
    assert_eq!(cluster.said(EventKind::FragmentDistributionDelivered), 1, "no bytes had to come again");
}

#[test]
pub fn the_confirmation_of_a_later_answer_does_not_confirm_the_inventory_of_a_stale_request() {
    let mut cluster = Cluster::with_torrents(18, &["t1", "t2"]);
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(5));
    cluster.broker.latency = Duration::ZERO;
    let file = cluster.put_random(1);
    cluster.run_until("t1 is writing", |cluster| cluster.torrent_node("t1").is_writing());
    let late = |kind, wait| Rule::new(Fate::Delay(Duration::from_millis(wait))).of(kind).nth(Nth::Only(1));
    // The request of before the write arrives between the answer to the next request and its confirmation.
    cluster.broker.faults.rules =
        vec![late(EventKind::ClientJoinRequested, 12_000), late(EventKind::ClientJoinSucceeded, 3_000)];
    cluster.cut("t1");
    cluster.connect(&client("t1"));
    cluster.settle();
    let fragment = cluster.tracker().view().file(&file).unwrap().fragments[0];
    let registrations = cluster.heard().filter_map(|(_, heard)| match heard {
        Heard::Tracker { event: TrackerEvent::ClientRegistered(registered), .. } => Some(registered),
        Heard::Tracker { .. } | Heard::Torrent { .. } => None,
    });
    let of_t1: Vec<_> =
        registrations.filter(|registered| registered.client_identifier == client("t1")).collect();
    assert!(of_t1.len() > 1);
    assert!(of_t1[1..].iter().all(|registered| registered.info.stored_fragments.contains(&fragment)));
}
