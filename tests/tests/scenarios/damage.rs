//! Fragments that go bad on a torrent's disk: it stops telling of them, the view stops naming it, and it gets them again.

use std::time::Duration;

use distribution::torrent::Notice;
use mds_tests::sim::{Cluster, Fate, Nth, Rule, Writes, client};
use protocol::event::TorrentEvent;
use protocol::{EventKind, Hash, Heard};

/// Whether the tracker names the torrent as a holder.
fn is_named(cluster: &Cluster, id: &str, fragment: &Hash) -> bool {
    cluster.tracker().view().holds(&client(id), fragment)
}

/// What each request to join of this torrent listed.
fn listed(cluster: &Cluster, id: &str) -> Vec<Vec<Hash>> {
    let requests = cluster.heard().filter(|(from, _)| **from == client(id));
    let listed = requests.filter_map(|(_, heard)| match heard {
        Heard::Torrent { event: TorrentEvent::ClientJoinRequested(request), .. } => {
            Some(request.stored_fragments.into_keys().collect())
        }
        Heard::Torrent { .. } | Heard::Tracker { .. } => None,
    });
    listed.collect()
}

fn fragments(cluster: &Cluster, file: &Hash) -> Vec<Hash> {
    cluster.tracker().view().file(file).unwrap().fragments.to_vec()
}

#[test]
fn a_torrent_whose_fragment_went_bad_is_no_longer_named_as_its_holder() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2"]);
    let file = cluster.put_random(4);
    cluster.settle();
    let bad = fragments(&cluster, &file)[1];
    let joins = listed(&cluster, "t1").len();
    cluster.damage("t1", &[bad]);
    assert!(cluster.torrent_node("t1").notices.contains(&Notice::Damaged(vec![bad])));
    let started = cluster.now;
    cluster.run_until("t1 is not named", |cluster| !is_named(cluster, "t1", &bad));
    assert!(cluster.now.since(started) < Duration::from_secs(1), "it is told at once");
    cluster.run_until("t2 knows it", |cluster| !cluster.torrent("t2").view().holds(&client("t1"), &bad));
    cluster.settle();
    let lists = listed(&cluster, "t1");
    assert_eq!((lists.len(), lists[joins].len()), (joins + 1, 3), "one more join, without it");
    assert!(is_named(&cluster, "t2", &bad), "the good copy counts");
    assert!(is_named(&cluster, "t1", &bad), "and is where the new one comes from");
    assert!(cluster.torrent_node("t1").disk.volume.fragments.contains_key(&bad));
}

#[test]
fn damage_that_is_reported_twice_is_told_once() {
    let mut cluster = Cluster::with_torrents(2, &["t1", "t2"]);
    let file = cluster.put_random(2);
    cluster.settle();
    let bad = fragments(&cluster, &file)[0];
    let joins = listed(&cluster, "t1").len();
    cluster.damage("t1", &[bad]);
    cluster.damage("t1", &[bad, Hash::of(b"never here")]);
    cluster.settle();
    cluster.damage("t1", &[Hash::of(b"never here")]);
    cluster.settle();
    assert_eq!(listed(&cluster, "t1").len(), joins + 1);
    let is_told = |notice: &&Notice| matches!(notice, Notice::Damaged(_));
    assert_eq!(cluster.torrent_node("t1").notices.iter().filter(is_told).count(), 1);
}

#[test]
fn a_staged_fragment_that_went_bad_is_brought_again_while_the_tracker_has_its_bytes() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    let ended = Rule::lose(EventKind::FragmentDistributionEnded).to(&client("t1")).nth(Nth::First(1));
    cluster.broker.faults.rules = vec![ended];
    let file = cluster.put_random(1);
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(cluster.torrent("t1").staged_count(), 1);
    let bad = fragments(&cluster, &file)[0];
    cluster.damage("t1", &[bad]);
    assert_eq!(cluster.torrent("t1").staged_count(), 0);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.torrent_node("t1").disk.volume.fragments.contains_key(&bad));
}

#[test]
fn a_fragment_that_goes_bad_before_its_distribution_has_ended_does_not_count() {
    let mut cluster = Cluster::with_torrents(4, &["t1", "t2"]);
    // t1 has it, and the attempt waits for t2.
    cluster.torrent_node_mut("t2").writes = Writes::Within(Duration::from_secs(3));
    let file = cluster.put_random(1);
    cluster.run_until("t1 has it staged", |cluster| cluster.torrent("t1").staged_count() == 1);
    let bad = fragments(&cluster, &file)[0];
    cluster.damage("t1", &[bad]);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert_eq!(cluster.places_of(&bad), 2);
}

#[test]
fn damage_that_is_found_while_the_torrent_joins_is_told_by_the_next_join() {
    for fate in
        [EventKind::ClientJoinRequested, EventKind::ClientJoinAccepted, EventKind::ClientJoinSucceeded]
    {
        let mut cluster = Cluster::with_torrents(5, &["t1", "t2"]);
        let file = cluster.put_random(2);
        cluster.settle();
        let bad = fragments(&cluster, &file)[0];
        let joins = listed(&cluster, "t1").len();
        cluster.broker.faults.rules = vec![Rule::new(Fate::Delay(Duration::from_secs(2))).of(fate)];
        cluster.cut("t1");
        cluster.connect(&client("t1"));
        cluster.run_until("t1 asks", |cluster| listed(cluster, "t1").len() > joins);
        cluster.run_for(Duration::from_secs(1));
        assert!(!cluster.torrent("t1").is_registered(), "{fate:?}");
        cluster.damage("t1", &[bad]);
        cluster.run_until("t1 is not named", |cluster| {
            cluster.torrent("t1").is_registered() && !is_named(cluster, "t1", &bad)
        });
        cluster.settle();
        let lists = listed(&cluster, "t1");
        assert_eq!(lists[joins..].iter().map(Vec::len).collect::<Vec<_>>(), [2, 1], "{fate:?}");
    }
}

#[test]
fn damage_that_is_found_without_a_bus_is_told_when_it_is_back() {
    let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
    let file = cluster.put_random(2);
    cluster.settle();
    let bad = fragments(&cluster, &file)[0];
    cluster.cut("t1");
    cluster.damage("t1", &[bad]);
    assert!(is_named(&cluster, "t1", &bad));
    cluster.connect(&client("t1"));
    cluster.run_until("t1 is not named", |cluster| !is_named(cluster, "t1", &bad));
    cluster.settle();
    assert_eq!(listed(&cluster, "t1").last().unwrap().len(), 1);
}

#[test]
fn what_is_being_stored_again_is_not_given_up_for_the_damage_of_before() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2"]);
    // The tracker keeps its bytes, so it can bring the fragment again.
    cluster.broker.faults.rules = vec![Rule::lose(EventKind::ClientHeartbeat).from(&client("t2"))];
    let file = cluster.put_random(1);
    cluster.run_until("it is distributed", |cluster| {
        cluster.tracker().view().fewest_holders(&file) == Some(2) && cluster.torrent("t1").staged_count() == 0
    });
    let bad = fragments(&cluster, &file)[0];
    cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_secs(2));
    cluster.damage("t1", &[bad]);
    cluster.broker.faults.rules.clear();
    cluster.run_until("t1 is writing", |cluster| cluster.torrent_node("t1").is_writing());
    cluster.damage("t1", &[bad]);
    assert!(cluster.torrent_node("t1").is_writing() && cluster.torrent("t1").is_registered());
    cluster.settle();
    assert!(cluster.torrent_node("t1").disk.volume.fragments.contains_key(&bad));
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_disk_that_fails_piece_by_piece_does_not_keep_the_torrent_from_joining() {
    let mut cluster = Cluster::with_torrents(8, &["t1", "t2"]);
    let file = cluster.put_random(60);
    cluster.settle();
    let all = fragments(&cluster, &file);
    let mut was_registered = 0;
    for bad in &all[..50] {
        cluster.damage("t1", &[*bad]);
        cluster.run_for(Duration::from_millis(2));
        was_registered += usize::from(cluster.torrent("t1").is_registered());
    }
    assert!(was_registered > 0, "it never came to the end of a join");
    cluster.run_until("the last one is told", |cluster| !is_named(cluster, "t1", &all[49]));
    cluster.settle();
    assert!(all[50..].iter().all(|good| is_named(&cluster, "t1", good)));
}

#[test]
pub fn what_a_join_lists_is_proven_only_by_the_heartbeat_after_it() {
    let mut cluster = Cluster::with_torrents(9, &["t1", "t2"]);
    let bytes = cluster.rng.content(1000);
    let file = cluster.put(bytes.clone());
    cluster.settle();
    let bad = fragments(&cluster, &file)[0];
    cluster.crash("t1");
    cluster.restart("t1");
    let joins = listed(&cluster, "t1").len();
    cluster.run_until("t1 lists it", |cluster| listed(cluster, "t1").len() > joins);
    cluster.damage("t1", &[bad]);
    cluster.put(bytes);
    let end = cluster.now + Duration::from_secs(20);
    while cluster.now < end {
        assert!(cluster.places_of(&bad) >= 2, "the tracker let go of its bytes, and t1 has none");
        cluster.step();
    }
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}
