//! How long it takes until all is well again, in the time of the machines: their own waits and those of the protocol, on a bus that takes a
//! few milliseconds. `tests/tests/daemons/recovery.rs` prints what real daemons take.

use std::time::Duration;

use distribution::time::Moment;
use distribution::tracker::MemberState;
use mds_tests::sim::{Cluster, client, tracker_config};
use protocol::Hash;

/// 100 MiB in the default fragment size.
const FRAGMENTS: usize = 400;
const TORRENTS: [&str; 4] = ["t1", "t2", "t3", "t4"];

fn distributed(seed: u64) -> (Cluster, Hash) {
    let mut cluster = Cluster::with_torrents(seed, &TORRENTS);
    let file = cluster.put_random(FRAGMENTS);
    cluster.settle();
    (cluster, file)
}

/// How long until that is so.
fn time_until(cluster: &mut Cluster, what: &str, done: impl FnMut(&Cluster) -> bool) -> Duration {
    let began: Moment = cluster.now;
    cluster.run_until(what, done);
    cluster.now.since(began)
}

fn state(cluster: &Cluster, torrent: &str) -> Option<MemberState> {
    let mut members = cluster.tracker().members();
    members.find(|(id, _)| **id == client(torrent)).map(|(_, member)| member.state)
}

fn all_registered(cluster: &Cluster) -> bool {
    TORRENTS.iter().all(|torrent| cluster.torrent(torrent).is_registered())
}

#[test]
fn a_holder_that_is_killed_is_suspect_at_once_and_its_copies_are_made_again_in_time() {
    let (mut cluster, file) = distributed(1);
    let config = tracker_config();
    cluster.crash("t1");
    let suspect =
        time_until(&mut cluster, "suspect", |cluster| state(cluster, "t1") == Some(MemberState::Suspect));
    assert!(suspect < Duration::from_millis(100), "{suspect:?}");
    let unregistered = time_until(&mut cluster, "unregistered", |cluster| {
        state(cluster, "t1") == Some(MemberState::Unregistered)
    });
    assert!(unregistered <= config.rhythm.lease, "{unregistered:?}");
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
    let repaired = time_until(&mut cluster, "two copies again", |cluster| {
        cluster.tracker().view().fewest_holders(&file) == Some(2)
    });
    assert!(repaired <= config.repair_after + Duration::from_secs(10), "{repaired:?}");
}

#[test]
fn after_the_loss_of_the_broker_and_of_what_it_kept_all_are_registered_in_time() {
    let (mut cluster, _) = distributed(2);
    let everybody: Vec<_> = cluster.nodes().map(|(id, _)| id.clone()).collect();
    cluster.restart_broker(false);
    // Longer than the longest wait between two attempts to connect.
    cluster.run_for(Duration::from_secs(30));
    everybody.iter().for_each(|id| cluster.connect(id));
    let registered = time_until(&mut cluster, "all registered", all_registered);
    assert!(registered <= Duration::from_secs(10), "with 20 s between attempts 30 s in all: {registered:?}");
}

#[test]
fn a_tracker_that_was_killed_distributes_in_time_also_where_a_torrent_stays_away() {
    let (mut cluster, _) = distributed(3);
    let began = cluster.put_random(FRAGMENTS);
    cluster.run_for(Duration::from_millis(20));
    assert!(cluster.tracker().undistributed() > 0);
    cluster.crash("tracker");
    cluster.crash("t1");
    cluster.run_for(Duration::from_secs(3));
    cluster.restart("tracker");
    let before = cluster.said(protocol::EventKind::FragmentDistributionEnded);
    let first = time_until(&mut cluster, "the first has ended", |cluster| {
        cluster.said(protocol::EventKind::FragmentDistributionEnded) > before
    });
    assert!(first <= Duration::from_secs(15), "{first:?}");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&began), Some(2));
}
