//! Tracker Server Startup and Goodbye, Torrent Server Startup, and at most one tracker.

use std::time::Duration;

use bytes::Bytes;
use mds_tests::sim::{Cluster, Node, Nth, Outcome, Publication, Rule, TrackerNode, client, tracker_config};
use protocol::event::TrackerEvent;
use protocol::{Epoch, EventKind, Heard};

#[test]
fn tracker_startup_standard_procedure() {
    let mut cluster = Cluster::new(1);
    cluster.start_tracker(tracker_config());
    cluster.run_for(Duration::from_secs(1));
    let subscriptions = cluster.broker.subscriptions(&cluster.tracker_id());
    for topic in [
        "clients/join/requested",
        "clients/join/succeeded",
        "clients/join/failed",
        "clients/goodbye",
        "fragments/distribution/requested",
        "fragments/distribution/obtained",
        "fragments/distribution/failed",
    ] {
        assert!(subscriptions.contains(topic), "{topic}");
        assert!(subscriptions.contains(&format!("{topic}/+")), "{topic}/+");
    }
    assert_eq!(cluster.broker.trace.len(), 1, "nothing but the hello is said");
    let hello = cluster.broker.retained("tracker/hello").expect("the hello is retained");
    assert_eq!(hello.kind, Some(EventKind::TrackerHello));
}

#[test]
fn unregistered_torrents_that_were_there_before_the_tracker_join_when_it_starts() {
    let mut cluster = Cluster::new(2);
    cluster.start_torrent("t1");
    cluster.start_spec_torrent("s1");
    cluster.run_for(Duration::from_secs(30));
    cluster.start_tracker(tracker_config());
    let started = cluster.now;
    cluster.run_until("both are registered", |cluster| cluster.tracker().view().clients().len() == 2);
    assert!(cluster.now.since(started) < Duration::from_secs(1));
    cluster.settle();
}

#[test]
fn tracker_goodbye_standard_procedure() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    let file = cluster.put_random(2);
    cluster.settle();
    cluster.shut_down("tracker");
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.broker.retained("tracker/goodbye").is_some());
    for torrent in ["t1", "t2"] {
        let torrent = cluster.torrent(torrent);
        assert!(!torrent.is_registered());
        assert!(!torrent.tracker_is_online());
        assert!(torrent.view().file(&file).is_some(), "it keeps its view");
        assert_eq!(torrent.stored().len(), 2, "it keeps its fragments");
    }
    let asked = cluster.said(EventKind::ClientJoinRequested);
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.said(EventKind::ClientJoinRequested), asked, "they wait for the next hello");
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn the_will_of_a_tracker_that_crashed_says_goodbye_for_it() {
    let mut cluster = Cluster::with_torrents(4, &["t1"]);
    cluster.crash("tracker");
    cluster.run_for(Duration::from_secs(1));
    assert!(!cluster.torrent("t1").is_registered());
}

#[test]
fn a_tracker_that_is_online_answers_the_probe_of_one_that_starts_by_saying_its_hello_to_all() {
    let mut cluster = Cluster::with_torrents(30, &["t1"]);
    let (tracker, prober) = (cluster.tracker_id(), client("probe-1"));
    let hellos = |cluster: &Cluster| {
        let trace = cluster.broker.trace.iter();
        trace.filter(|message| message.from == tracker && message.topic == "tracker/hello").count()
    };
    let before = hellos(&cluster);
    let probe = br#"{"EventId":"5b0c6f1e-8a94-4c3b-9d7e-2f4a1b3c0001","Probe":""}"#;
    let probe = Publication {
        topic: "tracker/hello/probe-1".to_owned(),
        payload: Bytes::from_static(probe),
        retain: false,
    };
    cluster.publish(&prober, vec![probe]);
    cluster.run_for(Duration::from_millis(500));
    assert_eq!(hellos(&cluster), before + 1);

    // What it says to one torrent comes back as well, and is nobody else's.
    let hello = cluster.broker.retained("tracker/hello").unwrap().payload.clone();
    let to_one = Publication { topic: "tracker/hello/t1".to_owned(), payload: hello, retain: false };
    cluster.publish(&tracker, vec![to_one]);
    cluster.run_for(Duration::from_millis(500));
    assert_eq!(hellos(&cluster), before + 1);
    assert_eq!(cluster.tracker_node().stepped_down, None);
    assert!(cluster.torrent("t1").is_registered());
}

#[test]
fn torrent_startup_standard_procedure() {
    let cluster = Cluster::with_torrents(5, &["t1"]);
    let subscriptions = cluster.broker.subscriptions(&client("t1"));
    for topic in [
        "tracker/hello",
        "tracker/goodbye",
        "clients/join/accepted",
        "clients/join/denied",
        "clients/registered",
        "clients/goodbye",
        "files/info",
        "fragments/distribution/started",
        "fragments/distribution/delivered",
        "fragments/distribution/ended",
    ] {
        assert!(subscriptions.contains(topic), "{topic}");
    }
    assert!(cluster.torrent("t1").is_registered());
}

#[test]
fn a_hello_that_the_broker_forgot_is_repeated() {
    let mut cluster = Cluster::new(6);
    cluster.start_tracker(tracker_config());
    cluster.run_for(Duration::from_secs(1));
    cluster.broker.forget_retained();
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::ClientJoinRequested).nth(Nth::First(1))];
    cluster.start_torrent("t1");
    let started = cluster.now;
    cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
    assert!(cluster.now.since(started) < Duration::from_secs(25), "{:?}", cluster.now.since(started));
}

#[test]
pub fn a_second_tracker_of_a_higher_epoch_makes_the_first_step_down() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2"]);
    let second = client("tracker-2");
    let mut node = TrackerNode::new(&second, cluster.topics(), tracker_config());
    node.disk.epoch = Epoch(5);
    cluster.add(&second, Node::Tracker(Box::new(node)));
    cluster.run_for(Duration::from_secs(30));
    assert!(cluster.tracker_node().stepped_down.is_some_and(|epoch| epoch > Epoch(5)));
    assert!(cluster.torrent("t1").is_registered());
    assert_eq!(cluster.torrent_node("t1").disk.remembered.epoch, Epoch(6));
    let hellos =
        |cluster: &Cluster| cluster.heard().filter(|(from, _)| **from == cluster.tracker_id()).count();
    let before = hellos(&cluster);
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(hellos(&cluster), before, "it says nothing more");
}

#[test]
pub fn a_second_tracker_of_a_lower_epoch_is_overruled() {
    let mut cluster = Cluster::with_torrents(8, &["t1"]);
    cluster.tracker_node_mut().disk.epoch = Epoch(9);
    cluster.cut("tracker");
    cluster.connect(&cluster.tracker_id());
    cluster.settle();
    let told = cluster.torrent_node("t1").notices.len();
    let second = client("tracker-2");
    let mut node = TrackerNode::new(&second, cluster.topics(), tracker_config());
    node.start(&mut cluster.rng);
    // It has not seen the retained hello, and takes an epoch of its own.
    cluster.broker.forget_retained();
    cluster.add(&second, Node::Tracker(Box::new(node)));
    cluster.run_for(Duration::from_secs(12));
    let stepped_down = cluster.nodes().any(|(id, node)| match node {
        Node::Tracker(node) => *id == second && node.stepped_down.is_some(),
        Node::Torrent(_) | Node::SpecTracker(_) | Node::SpecTorrent(_) => false,
    });
    assert!(stepped_down);
    assert_eq!(cluster.tracker_node().stepped_down, None);
    assert!(cluster.torrent("t1").is_registered());
    assert_eq!(cluster.torrent_node("t1").notices.len(), told, "it did not listen to it, nor join again");
}

#[test]
pub fn a_tracker_whose_hello_does_not_come_back_stops_deciding() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    let id = cluster.tracker_id();
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::TrackerHello).to(&id)];
    cluster.run_for(Duration::from_secs(16));
    let revision = cluster.tracker().view().revision();
    assert!(cluster.tracker().is_fenced());
    let content = mds_tests::sim::Content::new(vec![1; 10], 1024);
    let request = cluster.upload(content.clone());
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(_))));
    cluster.crash("t2");
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(cluster.tracker().view().revision(), revision, "it changes nothing");
    cluster.broker.faults.rules.clear();
    cluster.run_for(Duration::from_secs(11));
    assert!(!cluster.tracker().is_fenced());
    let ended = cluster.heard().filter(|(_, heard)| {
        matches!(heard, Heard::Tracker { event: TrackerEvent::ClientUnregistered(gone), .. }
            if gone.client_identifier == client("t1"))
    });
    assert_eq!(ended.count(), 0, "its own deafness ends no lease");
    cluster.restart("t2");
    cluster.settle();
    let request = cluster.upload(content);
    assert_eq!(cluster.outcome(request), Some(&Outcome::Accepted));
    cluster.settle();
}

#[test]
fn a_tracker_that_is_not_connected_accepts_nothing() {
    let mut cluster = Cluster::with_torrents(10, &["t1", "t2"]);
    cluster.cut("tracker");
    let request = cluster.upload(mds_tests::sim::Content::new(vec![1; 10], 1024));
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(_))));
    cluster.connect(&cluster.tracker_id());
    cluster.settle();
}

#[test]
fn events_of_an_earlier_epoch_are_fenced() {
    let mut cluster = Cluster::with_torrents(11, &["t1", "t2"]);
    let id = cluster.tracker_id();
    cluster.put_random(3);
    cluster.settle();
    let old: Vec<_> = cluster.broker.trace.iter().filter(|message| message.from == id).cloned().collect();
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    let revision = cluster.tracker().view().revision();
    for message in old {
        if message.kind != Some(EventKind::TrackerHello) {
            let (topic, payload) = (message.topic, message.payload);
            cluster.publish(&id, vec![mds_tests::sim::Publication { topic, payload, retain: false }]);
        }
    }
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.torrent("t1").view().revision(), revision);
    assert!(cluster.torrent("t1").view() == cluster.tracker().view());
    assert!(cluster.torrent("t1").is_registered() && cluster.torrent("t2").is_registered());
}

#[test]
fn after_a_restart_everybody_joins_again_and_nothing_is_distributed_twice() {
    let mut cluster = Cluster::with_torrents(12, &["t1", "t2", "t3"]);
    let file = cluster.put_random(20);
    cluster.run_for(Duration::from_millis(20));
    let delivered_once = |cluster: &Cluster| cluster.said(EventKind::FragmentDistributionStarted);
    cluster.settle();
    let started = delivered_once(&cluster);
    cluster.crash("tracker");
    cluster.run_for(Duration::from_secs(3));
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(delivered_once(&cluster), started);
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.tracker().view().clients().len(), 3);
}

#[test]
fn a_tracker_that_crashes_before_it_let_go_of_its_bytes_distributes_only_what_lacks_holders() {
    let mut cluster = Cluster::with_torrents(13, &["t1", "t2", "t3"]);
    let file = cluster.put_random(40);
    cluster
        .run_until("half is distributed", |cluster| cluster.said(EventKind::FragmentDistributionEnded) >= 20);
    let ended = cluster.said(EventKind::FragmentDistributionEnded);
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    assert!(!cluster.tracker_node().disk.volume.fragments.is_empty());
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    let again = cluster.said(EventKind::FragmentDistributionStarted) - started;
    assert!(again <= 40 - ended, "{again} of {} were started again", 40 - ended);
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_connection_that_flaps_starts_nothing_twice() {
    let mut cluster = Cluster::with_torrents(14, &["t1", "t2", "t3"]);
    cluster.put_random(40);
    cluster.run_for(Duration::from_millis(30));
    for _ in 0..3 {
        cluster.cut("tracker");
        cluster.connect(&cluster.tracker_id());
        cluster.run_for(Duration::from_millis(1));
    }
    cluster.settle();
}

#[test]
fn a_tracker_that_lost_its_disk_goes_on_above_the_epoch_that_torrents_saw_and_adopts_what_they_have() {
    let mut cluster = Cluster::with_torrents(15, &["t1", "t2", "t3"]);
    let file = cluster.put_random(10);
    cluster.settle();
    for _ in 0..5 {
        cluster.crash("tracker");
        cluster.restart("tracker");
        cluster.settle();
    }
    cluster.crash("tracker");
    cluster.tracker_node_mut().disk = Default::default();
    cluster.broker.forget_retained();
    cluster.restart("tracker");
    cluster.settle();
    assert!(cluster.tracker_node().disk.epoch > Epoch(5));
    assert!(cluster.tracker().view().file(&file).is_some());
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
pub fn the_will_of_an_earlier_connection_is_not_the_goodbye_of_this_one() {
    let mut cluster = Cluster::with_torrents(16, &["t1"]);
    let id = cluster.tracker_id();
    let old = cluster.heard().find_map(|(_, heard)| match heard {
        Heard::Tracker { envelope, event: TrackerEvent::TrackerHello(_), .. } => Some(envelope),
        Heard::Tracker { .. } | Heard::Torrent { .. } => None,
    });
    cluster.cut("tracker");
    cluster.connect(&id);
    cluster.settle();
    let goodbye = TrackerEvent::from(protocol::event::TrackerGoodbye {});
    let payload = protocol::encode_tracker(&old.expect("a hello"), &goodbye);
    let publication = mds_tests::sim::Publication { topic: "tracker/goodbye".into(), payload, retain: true };
    cluster.publish(&id, vec![publication]);
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.torrent("t1").is_registered());
}

#[test]
fn an_epoch_that_no_tracker_comes_to_is_not_believed() {
    let mut cluster = Cluster::with_torrents(15, &["t1"]);
    let own = remembered(&cluster).epoch;
    let envelope = protocol::event::TrackerEnvelope {
        event_id: protocol::EventId(uuid::Uuid::from_u128(1)),
        epoch: Some(Epoch(i64::MAX as u64)),
        instance: Some(protocol::InstanceId(uuid::Uuid::from_u128(2))),
        revision: None,
        in_reply_to: None,
    };
    let hello = TrackerEvent::from(protocol::event::TrackerHello::default());
    let payload = protocol::encode_tracker(&envelope, &hello);
    let publication = Publication { topic: "tracker/hello".into(), payload, retain: false };
    cluster.publish(&client("stranger"), vec![publication]);
    let file = cluster.put_random(2);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
    assert_eq!(cluster.tracker_node().stepped_down, None);
    assert_eq!(remembered(&cluster).epoch, own);
}

/// A tracker that has lost its disk, on a broker that has forgotten the one before it: it cannot know that there was one.
fn start_without_memory(cluster: &mut Cluster) {
    cluster.broker.forget_retained();
    cluster.tracker_node_mut().disk = Default::default();
    cluster.restart("tracker");
}

/// (epoch, instance) of the tracker that t1 has seen last.
fn remembered(cluster: &Cluster) -> distribution::torrent::RememberedTracker {
    cluster.torrent_node("t1").disk.remembered
}

#[test]
pub fn a_tracker_that_never_heard_of_another_with_its_epoch_goes_on_above_it() {
    let mut was_lower = 0;
    for seed in 20..28 {
        let mut cluster = Cluster::with_torrents(seed, &["t1"]);
        let before = remembered(&cluster);
        cluster.crash("tracker");
        cluster.run_for(Duration::from_secs(1));
        start_without_memory(&mut cluster);
        let hello = cluster.heard().last().map(|(_, heard)| heard);
        let Some(Heard::Tracker { envelope, .. }) = hello else { panic!("no hello") };
        assert_eq!(envelope.epoch, Some(before.epoch), "both are the first that they know of");
        was_lower += usize::from(envelope.instance < before.instance);
        cluster.run_until("t1 is registered", |cluster| cluster.torrent("t1").is_registered());
        cluster.settle();
    }
    assert!((1..8).contains(&was_lower), "{was_lower}");
}

#[test]
fn a_torrent_whose_tracker_ended_without_a_goodbye_goes_over_to_one_that_says_hello() {
    let mut cluster = Cluster::with_torrents(28, &["t1"]);
    let id = cluster.tracker_id();
    for _ in 0..2 {
        cluster.cut("tracker");
        cluster.connect(&id);
        cluster.settle();
    }
    let before = remembered(&cluster);
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::TrackerGoodbye)];
    cluster.crash("tracker");
    start_without_memory(&mut cluster);
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.torrent("t1").is_registered(), "its tracker may be slow");
    assert_eq!(remembered(&cluster), before);
    cluster.run_until("it has gone over", |cluster| remembered(cluster) > before);
    cluster.settle();
}

#[test]
fn a_tracker_that_is_silent_for_long_is_not_online() {
    let mut cluster = Cluster::with_torrents(21, &["t1"]);
    assert!(cluster.torrent("t1").tracker_is_online());
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::TrackerGoodbye)];
    cluster.crash("tracker");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.torrent("t1").tracker_is_online(), "nobody said that it is gone");
    cluster.run_for(Duration::from_secs(20));
    assert!(!cluster.torrent("t1").tracker_is_online());
    cluster.broker.faults.rules.clear();
    cluster.restart("tracker");
    cluster.settle();
    assert!(cluster.torrent("t1").tracker_is_online());
}

#[test]
pub fn a_hello_that_another_tracker_overwrote_is_said_again_at_once() {
    let mut cluster = Cluster::with_torrents(29, &["t1"]);
    let id = cluster.tracker_id();
    cluster.cut("tracker");
    cluster.connect(&id);
    cluster.settle();
    let mine = cluster.broker.retained("tracker/hello").unwrap().payload.clone();
    let hellos = cluster.heard().filter_map(|(_, heard)| match heard {
        Heard::Tracker { envelope, event, .. } => Some((envelope, event)),
        Heard::Torrent { .. } => None,
    });
    let (envelope, event) = hellos.into_iter().next().unwrap();
    let payload = protocol::encode_tracker(&envelope, &event);
    let lower = mds_tests::sim::Publication { topic: "tracker/hello".into(), payload, retain: true };
    cluster.publish(&client("tracker-2"), vec![lower]);
    assert_ne!(cluster.broker.retained("tracker/hello").unwrap().payload, mine);
    cluster.run_for(Duration::from_secs(1));
    let retained = cluster.broker.retained("tracker/hello").unwrap().payload.clone();
    let instance = |payload: &[u8]| {
        let heard = protocol::decode(cluster.topics(), &Default::default(), "tracker/hello", payload);
        match heard.unwrap() {
            Heard::Tracker { envelope, .. } => envelope.instance,
            Heard::Torrent { .. } => None,
        }
    };
    assert_eq!(instance(&retained), instance(&mine), "whoever comes now learns who is in charge");
}
