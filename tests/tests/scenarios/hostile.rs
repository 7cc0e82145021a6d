//! What somebody who means harm says, in the middle of work.

use std::time::Duration;

use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Publication, client};
use protocol::hostile::payloads;

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
