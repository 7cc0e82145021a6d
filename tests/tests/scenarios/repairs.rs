//! Repair: copies that are gone are made again, from the copies that are left.

use std::time::Duration;

use distribution::TrackerInput;
use distribution::tracker::FetchError;
use mds_tests::sim::{Cluster, FRAGMENT_SIZE_BYTES, Fate, Rule, TorrentNode, Writes, client, tracker_config};
use protocol::event::TrackerEvent;
use protocol::{ClientId, EventKind, Hash, Heard};

/// Longer than `repair_after` and a lease.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

fn distributed(seed: u64, torrents: &[&str], fragments: usize) -> (Cluster, Hash) {
    let mut cluster = Cluster::with_torrents(seed, torrents);
    let file = cluster.put_random(fragments);
    cluster.settle();
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
    (cluster, file)
}

/// Four torrents, a file of one fragment, the fragment, and the three that hold it.
fn with_three_copies_of_a_fragment(seed: u64) -> (Cluster, Hash, Hash, Vec<ClientId>) {
    let config = distribution::TrackerConfig { copies: "3".parse().unwrap(), ..tracker_config() };
    let mut cluster = Cluster::new(seed);
    cluster.start_tracker(config);
    ["t1", "t2", "t3", "t4"].into_iter().for_each(|id| cluster.start_torrent(id));
    cluster.settle();
    let file = cluster.put_random(1);
    cluster.settle();
    let (fragment, _) = cluster.tracker().view().fragments().next().unwrap();
    let holders = cluster.tracker().view().holders(&fragment).cloned().collect();
    (cluster, file, fragment, holders)
}

fn fewest(cluster: &Cluster, file: &Hash) -> usize {
    cluster.tracker().view().fewest_holders(file).unwrap()
}

#[test]
pub fn what_a_dead_torrent_held_gets_new_holders_once_it_is_gone_for_long_enough() {
    let (mut cluster, file) = distributed(1, &["t1", "t2", "t3"], 30);
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.crash("t1");
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(fewest(&cluster, &file), 1);
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), started, "it may come back yet");
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(fewest(&cluster, &file), 2);
    cluster.settle();
    let view = cluster.tracker().view();
    assert_eq!(view.client(&client("t2")).unwrap().fragments, 30);
    assert_eq!(view.client(&client("t3")).unwrap().fragments, 30);
}

#[test]
pub fn a_torrent_that_comes_back_in_time_causes_no_repair() {
    let (mut cluster, file) = distributed(2, &["t1", "t2", "t3"], 30);
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.crash("t1");
    cluster.run_for(Duration::from_secs(30));
    cluster.restart("t1");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), started);
}

#[test]
fn what_a_torrent_that_comes_back_late_holds_besides_enough_others_is_trimmed() {
    let (mut cluster, file) = distributed(3, &["t1", "t2", "t3"], 30);
    cluster.crash("t1");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
    assert!(cluster.torrent_node("t1").disk.volume.fragments.is_empty());
    assert_eq!(cluster.tracker().view().client(&client("t1")).unwrap().fragments, 0);
}

#[test]
fn what_an_inventory_misses_is_repaired_at_once() {
    let (mut cluster, file) = distributed(4, &["t1", "t2", "t3"], 30);
    cluster.crash("t1");
    let mut rng = cluster.rng.clone();
    cluster.torrent_node_mut("t1").disk = TorrentNode::empty_disk(&mut rng);
    cluster.restart("t1");
    cluster.run_for(Duration::from_secs(8));
    assert_eq!(fewest(&cluster, &file), 2, "nobody waits for what was wiped");
    cluster.settle();
}

#[test]
fn the_fewest_copies_are_repaired_first() {
    let config = distribution::TrackerConfig { copies: "3".parse().unwrap(), ..tracker_config() };
    let mut cluster = Cluster::new(5);
    cluster.start_tracker(config);
    ["t1", "t2", "t3", "t4", "t5"].into_iter().for_each(|id| cluster.start_torrent(id));
    cluster.settle();
    let file = cluster.put_random(200);
    cluster.settle();
    let before = cluster.tracker().view().clone();
    let fragments: Vec<Hash> = before.fragments().map(|(hash, _)| hash).collect();
    let is_gone = |holder: &&protocol::ClientId| matches!(holder.as_str(), "t1" | "t2");
    let left = |hash: &Hash| 3 - before.holders(hash).filter(is_gone).count();
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.crash("t1");
    cluster.crash("t2");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 3);
    let repaired = cluster.heard().filter_map(|(_, heard)| match heard {
        Heard::Tracker { event: TrackerEvent::FragmentDistributionStarted(started), .. } => {
            Some(started.hash)
        }
        Heard::Tracker { .. } | Heard::Torrent { .. } => None,
    });
    let repaired: Vec<usize> = repaired.skip(started).map(|hash| left(&hash)).collect();
    let lonely = fragments.iter().filter(|hash| left(hash) == 1).count();
    assert!(lonely > 10 && repaired.len() > lonely);
    // They are fetched in that order; some that were fetched together change places.
    let late = repaired.iter().skip(lonely + 16).filter(|left| **left == 1).count();
    assert_eq!(late, 0, "{repaired:?}");
}

#[test]
fn a_tracker_that_restarts_waits_for_those_who_were_registered_before() {
    let (mut cluster, file) = distributed(6, &["t1", "t2", "t3"], 30);
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.crash("tracker");
    cluster.crash("t1");
    cluster.restart("tracker");
    cluster.run_for(Duration::from_secs(25));
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), started);
    cluster.run_for(LONG_ENOUGH);
    assert_eq!(fewest(&cluster, &file), 2);
    cluster.settle();
}

#[test]
fn a_tracker_that_dies_during_a_repair_takes_it_up_again() {
    let (mut cluster, file) = distributed(7, &["t1", "t2", "t3"], 100);
    cluster.crash("t1");
    cluster.run_until("a repair is under way", |cluster| {
        !cluster.tracker_node().disk.volume.fragments.is_empty()
    });
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
}

#[test]
fn with_nobody_left_to_take_a_copy_nothing_is_fetched_until_somebody_comes() {
    let (mut cluster, file) = distributed(8, &["t1", "t2"], 20);
    cluster.crash("t1");
    cluster.run_for(LONG_ENOUGH);
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty(), "the tracker is no torrent");
    assert_eq!(cluster.tracker().repairs_pending(), 20);
    cluster.start_torrent("t3");
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
    assert_eq!(cluster.tracker().view().client(&client("t3")).unwrap().fragments, 20);
}

#[test]
fn what_everybody_had_lost_is_repaired_like_all_else_once_it_was_uploaded_again() {
    let mut cluster = Cluster::with_torrents(23, &["t1", "t2", "t3", "t4", "t5"]);
    let bytes = cluster.rng.content(1000);
    let file = cluster.put(bytes.clone());
    cluster.settle();
    let holders = |cluster: &Cluster| -> Vec<ClientId> {
        let fragment = cluster.tracker().view().file(&file).unwrap().fragments[0];
        cluster.tracker().view().holders(&fragment).cloned().collect()
    };
    for holder in holders(&cluster) {
        cluster.crash(holder.as_str());
    }
    cluster.run_for(LONG_ENOUGH);
    assert_eq!(cluster.tracker().repairs_pending(), 1, "nobody has it");
    assert_eq!(cluster.put(bytes), file);
    cluster.settle();
    assert_eq!(cluster.tracker().repairs_pending(), 0);
    let holder = holders(&cluster).pop().unwrap();
    cluster.crash(holder.as_str());
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
}

#[test]
fn with_a_copy_everywhere_a_torrent_that_comes_gets_everything() {
    let config = distribution::TrackerConfig { copies: distribution::Copies::All, ..tracker_config() };
    let mut cluster = Cluster::new(9);
    cluster.start_tracker(config);
    cluster.start_torrent("t1");
    cluster.start_torrent("t2");
    cluster.settle();
    let file = cluster.put_random(20);
    cluster.settle();
    cluster.start_torrent("t3");
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 3);
    cluster.shut_down("t3");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    cluster.restart("t3");
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 3);
    assert_eq!(cluster.torrent_node("t3").disk.volume.fragments.len(), 20, "nothing is trimmed");
}

#[test]
fn a_holder_that_has_lost_a_fragment_is_asked_to_join_again_and_another_gives_it() {
    let (mut cluster, file, fragment, holders) = with_three_copies_of_a_fragment(10);
    // Somebody's disk is not what its machine believes.
    let wrong = bytes::Bytes::from(vec![7; FRAGMENT_SIZE_BYTES as usize]);
    cluster.torrent_node_mut(holders[0].as_str()).disk.volume.fragments.insert(fragment, wrong);
    cluster.crash(holders[1].as_str());
    cluster.run_for(LONG_ENOUGH);
    assert_eq!(fewest(&cluster, &file), 3);
    let is_right = |node: &TorrentNode| {
        node.disk.volume.fragments.get(&fragment).is_some_and(|data| Hash::of(data) == fragment)
    };
    let right =
        cluster.torrent_nodes().filter(|(_, node)| node.running().is_some() && is_right(node)).count();
    assert_eq!(right, 2, "the third copy is the wrong one");
}

#[test]
fn what_one_torrent_alone_brings_to_a_tracker_without_memory_is_repaired() {
    let (mut cluster, file) = distributed(20, &["t1", "t2"], 10);
    ["t1", "t2"].into_iter().for_each(|torrent| cluster.crash(torrent));
    cluster.crash("tracker");
    cluster.tracker_node_mut().disk = Default::default();
    cluster.start_torrent("t3");
    cluster.restart("tracker");
    cluster.run_for(LONG_ENOUGH);
    assert!(cluster.tracker().view().file(&file).is_none());
    cluster.restart("t1");
    cluster.run_until("there are two copies", |cluster| {
        cluster.tracker().view().fewest_holders(&file) == Some(2)
    });
}

#[test]
fn those_who_come_back_to_a_tracker_without_memory_cause_no_repair() {
    let (mut cluster, file) = distributed(21, &["t1", "t2", "t3"], 10);
    let started = cluster.said(EventKind::FragmentDistributionStarted);
    cluster.crash("tracker");
    cluster.tracker_node_mut().disk = Default::default();
    cluster.restart("tracker");
    cluster.run_for(LONG_ENOUGH);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 2);
    assert_eq!(cluster.said(EventKind::FragmentDistributionStarted), started);
}

#[test]
fn a_holder_that_tells_of_itself_late_is_the_source_of_a_repair_that_had_none() {
    let mut cluster = Cluster::with_torrents(22, &["t1", "t2"]);
    cluster.torrent_node_mut("t2").writes = Writes::Fail;
    let late = Rule::new(Fate::Delay(Duration::from_secs(1)));
    cluster.broker.faults.rules = vec![late.of(EventKind::FragmentDistributionObtained)];
    let file = cluster.put_random(1);
    cluster.run_until("t1 has it", |cluster| cluster.torrent("t1").staged_count() == 1);
    let fragment = cluster.tracker().view().file(&file).unwrap().fragments[0];
    let (now, id) = (cluster.now, cluster.tracker_id());
    let node = cluster.tracker_node_mut();
    node.disk.volume.fragments.clear();
    let said = node.input(TrackerInput::FragmentUnreadable { fragment }, now);
    cluster.publish(&id, said);
    assert_eq!(cluster.tracker().repairs_pending(), 1, "nobody is known to have it");
    cluster.torrent_node_mut("t2").writes = Writes::Within(Duration::from_millis(2));
    cluster.run_until("there are two copies", |cluster| fewest(cluster, &file) == 2);
    cluster.settle();
}

#[test]
fn fewer_torrents_than_copies_do_not_hold_up_what_can_be_repaired() {
    let mut cluster = Cluster::new(23);
    let config = distribution::TrackerConfig { copies: "3".parse().unwrap(), ..tracker_config() };
    cluster.start_tracker(config);
    ["t1", "t2", "t3"].into_iter().for_each(|id| cluster.start_torrent(id));
    cluster.settle();
    let file = cluster.put_random(200);
    cluster.settle();
    cluster.crash("t3");
    cluster.crash("t2");
    let mut rng = cluster.rng.clone();
    cluster.torrent_node_mut("t2").disk = TorrentNode::empty_disk(&mut rng);
    cluster.restart("t2");
    cluster.run_for(3 * LONG_ENOUGH);
    assert_eq!(fewest(&cluster, &file), 2, "as many as there are");
    assert!(cluster.tracker_node().disk.volume.fragments.is_empty(), "nothing more can be done with them");
    assert_eq!(cluster.tracker().repairs_pending(), 200);
    cluster.start_torrent("t4");
    cluster.run_until("there are three copies", |cluster| fewest(cluster, &file) == 3);
    cluster.settle();
}

/// A cluster in which a fragment of three copies has lost one, and the tracker has just asked somebody for it; and the file.
fn fetching(seed: u64) -> (Cluster, Hash) {
    let (mut cluster, file, _, holders) = with_three_copies_of_a_fragment(seed);
    cluster.crash(holders[0].as_str());
    cluster.run_until("a fetch", |cluster| !cluster.tracker_node().fetches.is_empty());
    (cluster, file)
}

#[test]
fn a_late_failure_of_somebody_else_does_not_end_a_fetch() {
    let (mut cluster, file) = fetching(15);
    let (fragment, _) = cluster.tracker().view().fragments().next().unwrap();
    let asked = cluster.tracker_node().fetches[0].source.clone();
    let is_other = |holder: &&ClientId| **holder != asked;
    let other = cluster.tracker().view().holders(&fragment).find(is_other).unwrap().clone();
    let now = cluster.local(&cluster.tracker_id());
    let mut fails = |source| {
        let result = Err(FetchError::Unreachable);
        cluster.tracker_node_mut().input(TrackerInput::Fetched { fragment, source, result }, now);
        cluster.tracker_node().fetches.len()
    };
    assert_eq!(fails(other), 1, "the fetch goes on");
    assert_eq!(fails(asked), 2, "another is asked");
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 3);
}

#[test]
fn a_source_that_stands_still_is_given_up_for_another() {
    let (mut cluster, file) = fetching(16);
    let asked = cluster.tracker_node().fetches[0].source.clone();
    cluster.pause(&asked);
    cluster.run_for(LONG_ENOUGH);
    assert_eq!(fewest(&cluster, &file), 2, "the torrents that are left");
    cluster.resume(&asked);
    cluster.settle();
    assert_eq!(fewest(&cluster, &file), 3);
}
