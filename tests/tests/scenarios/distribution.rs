//! Fragment Distribution: the diagram, and odd files.

use std::time::Duration;

use distribution::limits::{SPARE_CANDIDATES, TrackerLimits};
use distribution::{Copies, TrackerConfig};
use mds_tests::sim::{Cluster, Content, FRAGMENT_SIZE_BYTES, MOSQUITTO, Outcome, tracker_config};
use protocol::event::{TorrentEvent, TrackerEvent};
use protocol::{EventKind, Heard};

#[test]
fn fragment_distribution_standard_procedure() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2"]);
    let from = cluster.broker.trace.len();
    cluster.put(vec![1; 100]);
    cluster.settle();
    let kinds: Vec<EventKind> = cluster.broker.trace[from..]
        .iter()
        .filter_map(|message| message.kind)
        .filter(|kind| kind.is_specified() && *kind != EventKind::TrackerHello)
        .collect();
    assert_eq!(
        kinds,
        [
            EventKind::FileInfoPublished,
            EventKind::FragmentDistributionStarted,
            EventKind::FragmentDistributionRequested,
            EventKind::FragmentDistributionRequested,
            EventKind::FragmentDistributionDelivered,
            EventKind::FragmentDistributionObtained,
            EventKind::FragmentDistributionObtained,
            EventKind::FragmentDistributionEnded,
        ]
    );
}

#[test]
fn every_fragment_has_as_many_holders_as_there_should_be_copies() {
    for copies in ["1", "2", "3", "all"] {
        let mut cluster = Cluster::new(2);
        let copies: Copies = copies.parse().unwrap();
        cluster.start_tracker(distribution::TrackerConfig { copies, ..tracker_config() });
        for torrent in ["t1", "t2", "t3", "t4"] {
            cluster.start_torrent(torrent);
        }
        cluster.settle();
        let file = cluster.put_random(50);
        cluster.settle();
        let view = cluster.tracker().view();
        for fragment in view.file(&file).unwrap().fragments.iter() {
            assert_eq!(view.holder_count(fragment), copies.target(4), "{copies}");
        }
    }
}

#[test]
fn fragments_spread_over_all_torrents() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2", "t3", "t4"]);
    cluster.put_random(200);
    cluster.settle();
    for torrent in ["t1", "t2", "t3", "t4"] {
        let stored = cluster.torrent(torrent).stored().len();
        assert!((80..=120).contains(&stored), "{torrent} holds {stored} of 400");
    }
}

#[test]
fn many_fragments_are_in_flight_at_once_but_not_too_many() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2", "t3"]);
    cluster.put_random(300);
    cluster.settle();
    let (mut in_flight, mut most) = (0_usize, 0);
    for (_, heard) in cluster.heard() {
        let Heard::Tracker { event, .. } = heard else { continue };
        if event.kind() == EventKind::FragmentDistributionStarted {
            in_flight += 1;
        } else if event.kind() == EventKind::FragmentDistributionEnded {
            in_flight -= 1;
        }
        most = most.max(in_flight);
    }
    assert_eq!(most, TrackerLimits::default().window(2 + SPARE_CANDIDATES));
}

#[test]
pub fn a_broker_that_keeps_a_thousand_messages_for_a_subscriber_drops_none() {
    let mut cluster = Cluster::new(13);
    cluster.broker.behave(MOSQUITTO);
    let mut config = TrackerConfig { copies: "3".parse().unwrap(), ..tracker_config() };
    config.limits.fragments_in_flight = 1000;
    cluster.start_tracker(config);
    for torrent in ["t1", "t2", "t3", "t4", "t5", "t6"] {
        cluster.start_torrent(torrent);
    }
    cluster.settle();
    cluster.put_random(1000);
    cluster.settle();
    assert_eq!(cluster.broker.overflowed, 0);
}

#[test]
fn a_file_of_any_length_is_distributed() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2", "t3"]);
    let size = usize::try_from(FRAGMENT_SIZE_BYTES).unwrap();
    let mut files = Vec::new();
    for length in [0, 1, size - 1, size, size + 1, 2 * size, 5 * size + 3] {
        let bytes = cluster.rng.content(length);
        files.push(cluster.put(bytes));
    }
    cluster.settle();
    for file in files {
        let info = cluster.torrent("t1").view().file(&file).expect("it is in the view").clone();
        let copies = cluster.torrent("t1").view().fewest_holders(&file);
        assert_eq!(copies, (info.size_bytes > 0).then_some(2));
    }
}

#[test]
fn a_file_of_equal_fragments_has_one_to_distribute() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
    let file = cluster.put(vec![7; 10 * 1024]);
    cluster.settle();
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 1);
    assert_eq!(cluster.torrent("t1").view().file(&file).unwrap().fragments.len(), 10);
}

#[test]
fn the_same_file_twice_is_distributed_once() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2", "t3"]);
    let bytes = cluster.rng.content(5000);
    let file = cluster.put(bytes.clone());
    assert_eq!(cluster.put(bytes.clone()), file, "while it is under way");
    cluster.settle();
    assert_eq!(cluster.put(bytes), file, "when it is distributed");
    cluster.settle();
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 5);
    let published = cluster.said(EventKind::FileInfoPublished);
    assert_eq!(
        published, 2,
        "once more when it was distributed: its holders confirm that they still have it"
    );
}

#[test]
fn files_may_share_fragments() {
    let mut cluster = Cluster::with_torrents(8, &["t1", "t2", "t3"]);
    let bytes = cluster.rng.content(4096);
    cluster.put(bytes.clone());
    cluster.put([&bytes[..2048], &[1; 10]].concat());
    cluster.settle();
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), 5);
}

#[test]
fn a_file_whose_hash_is_known_with_other_content_is_refused() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    let hash = cluster.put(vec![1; 3000]);
    let other = Content::new(vec![2; 5000], FRAGMENT_SIZE_BYTES);
    let now = cluster.now;
    let request = distribution::RequestId(99);
    cluster.tracker_node_mut().upload(request, hash, other.file().clone(), [], now);
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(_))));
    cluster.settle();
}

#[test]
fn a_file_too_large_for_one_event_is_refused() {
    let mut cluster = Cluster::new(10);
    cluster.start_tracker(distribution::TrackerConfig { max_event_bytes: 2048, ..tracker_config() });
    cluster.run_for(Duration::from_secs(1));
    let bytes = cluster.rng.content(100 * 1024);
    let request = cluster.upload(Content::new(bytes, FRAGMENT_SIZE_BYTES));
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(reason)) if reason.contains("2048")));
}

#[test]
pub fn the_bytes_go_to_few_receivers_directly_and_to_many_at_once() {
    for (torrents, direct) in [(&["t1", "t2"][..], false), (&["t1", "t2", "t3", "t4", "t5", "t6"], true)] {
        let mut cluster = Cluster::with_torrents(11, torrents);
        cluster.put_random(1);
        cluster.settle();
        let deliveries: Vec<bool> = cluster
            .heard()
            .filter_map(|(_, heard)| match heard {
                Heard::Tracker { direct, event: TrackerEvent::FragmentDistributionDelivered(_), .. } => {
                    Some(direct)
                }
                Heard::Tracker { .. } | Heard::Torrent { .. } => None,
            })
            .collect();
        assert_eq!(deliveries, if direct { vec![true, true] } else { vec![false] });
    }
}

#[test]
fn torrents_speak_on_their_own_topics_to_a_tracker_that_listens_there() {
    let mut cluster = Cluster::with_torrents(12, &["t1", "t2"]);
    cluster.put_random(3);
    cluster.settle();
    let on_shared_topics = cluster.heard().filter(|(_, heard)| {
        matches!(heard, Heard::Torrent { direct: false, event, .. }
            if !matches!(event, TorrentEvent::ClientJoinRequested(_)))
    });
    assert_eq!(on_shared_topics.count(), 0);
}
