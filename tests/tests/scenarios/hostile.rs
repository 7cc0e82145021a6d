//! What somebody who means harm says, in the middle of work.

use std::time::Duration;

use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Nth, Publication, Rule, client};
use protocol::event::TrackerEvent;
use protocol::hostile::payloads;
use protocol::{EventKind, Hash, Heard};

fn publication((topic, payload): (String, Vec<u8>)) -> Publication {
    Publication { topic, payload: payload.into(), retain: false }
}

#[test]
fn hostile_payloads_in_the_middle_of_work_change_nothing_and_work_goes_on() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    cluster.put_random(3);
    cluster.settle();
    let mut files = Vec::new();
    for (number, payload) in payloads().into_iter().enumerate() {
        if number % 100 == 0 {
            files.push(cluster.put_random(4));
        }
        cluster.publish(&client("mallory"), vec![publication(payload)]);
        cluster.run_for(Duration::from_millis(1));
    }
    cluster.settle();
    for file in files {
        assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    }
    assert_eq!(cluster.tracker().view().clients().len(), 3);
    assert_eq!(cluster.tracker_node().stepped_down, None);
    for torrent in ["t1", "t2", "t3"] {
        assert_eq!(cluster.torrent_node(torrent).notices, [Notice::Registered], "nobody had to join again");
    }
}

#[test]
pub fn bytes_that_do_not_hash_to_their_name_are_not_stored() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FragmentDistributionDelivered).nth(Nth::First(2))];
    let file = cluster.put_random(1);
    cluster
        .run_until("it is on its way", |cluster| cluster.said(EventKind::FragmentDistributionDelivered) > 0);
    let (envelope, mut delivered) = cluster
        .heard()
        .find_map(|(_, heard)| match heard {
            Heard::Tracker { envelope, event: TrackerEvent::FragmentDistributionDelivered(body), .. } => {
                Some((envelope, body))
            }
            Heard::Tracker { .. } | Heard::Torrent { .. } => None,
        })
        .unwrap();
    delivered.data = vec![0; delivered.data.len()].into();
    let payload = protocol::encode_tracker(&envelope, &delivered.into());
    let topic = cluster.topics().shared(EventKind::FragmentDistributionDelivered);
    cluster.publish(&client("mallory"), vec![Publication { topic, payload, retain: false }]);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    for torrent in ["t1", "t2"] {
        for (hash, data) in &cluster.torrent_node(torrent).disk.volume.fragments {
            assert_eq!(Hash::of(data), *hash, "{torrent}");
        }
    }
}

#[test]
fn hostile_payloads_during_a_join_do_not_keep_a_torrent_out() {
    let mut cluster = Cluster::with_torrents(2, &["t1"]);
    for (number, payload) in payloads().into_iter().enumerate() {
        if number == 500 {
            cluster.start_torrent("t2");
        }
        cluster.publish(&client("mallory"), vec![publication(payload)]);
        cluster.run_for(Duration::from_millis(1));
    }
    cluster.settle();
    assert_eq!(cluster.tracker().view().clients().len(), 2);
}
