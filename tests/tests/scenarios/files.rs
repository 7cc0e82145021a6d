//! Publish File Info.

use std::time::Duration;

use mds_tests::sim::{Cluster, Content, FRAGMENT_SIZE_BYTES, Nth, Outcome, Rule, client};
use protocol::EventKind;

#[test]
fn publish_file_info_standard_procedure() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    let file = cluster.put_random(3);
    cluster.run_for(Duration::from_millis(20));
    for torrent in ["t1", "t2", "t3"] {
        let info = cluster.torrent(torrent).view().file(&file).expect("everybody knows the file");
        assert_eq!(info.size_bytes, 3 * 1024);
    }
    assert_eq!(cluster.said(EventKind::FileInfoPublished), 1);
    cluster.settle();
}

#[test]
fn a_torrent_that_missed_the_last_file_learns_of_it() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
    cluster.broker.faults.rules =
        vec![Rule::lose(EventKind::FileInfoPublished).to(&client("t3")).nth(Nth::First(1))];
    let file = cluster.put(Vec::new());
    assert!(cluster.torrent("t3").view().file(&file).is_none());
    let started = cluster.now;
    cluster.run_until("t3 knows the file", |cluster| cluster.torrent("t3").view().file(&file).is_some());
    assert!(cluster.now.since(started) < Duration::from_secs(10), "{:?}", cluster.now.since(started));
    cluster.settle();
}

#[test]
fn a_known_file_that_is_refused_because_the_broker_is_gone_leaves_no_bytes_behind() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    let content = Content::new(vec![1; 3000], FRAGMENT_SIZE_BYTES);
    cluster.upload(content.clone());
    cluster.settle();
    cluster.cut("tracker");
    let request = cluster.upload(content);
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(_))));
    cluster.connect(&cluster.tracker_id());
    cluster.settle();
}
