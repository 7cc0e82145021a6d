//! Deleting a file: its fragments go, and do not come back.

use std::time::Duration;

use distribution::{RequestId, RequestRefused, TrackerInput};
use mds_tests::sim::{
    Cluster, Content, FRAGMENT_SIZE_BYTES, Fate, Nth, Outcome, Rule, Writes, client, tracker_config,
};
use protocol::{EventKind, Hash};

fn bytes_everywhere(cluster: &Cluster) -> usize {
    let torrents = cluster.torrent_nodes().map(|(_, node)| node.disk.volume.fragments.len());
    torrents.sum::<usize>() + cluster.tracker_node().disk.volume.fragments.len()
}

#[test]
fn a_file_is_deleted_with_the_fragments_that_nothing_else_uses() {
    let mut cluster = Cluster::with_torrents(1, &["t1", "t2", "t3"]);
    let shared = cluster.rng.content(4 * 1024);
    let kept = cluster.put(shared.clone());
    let other: Vec<u8> = shared.iter().copied().chain(cluster.rng.content(6 * 1024)).collect();
    let file = cluster.put(other);
    cluster.settle();
    assert_eq!(bytes_everywhere(&cluster), 20);
    cluster.remove(file);
    cluster.settle();
    assert_eq!(bytes_everywhere(&cluster), 8);
    assert_eq!(cluster.torrent("t1").view().files().keys().collect::<Vec<_>>(), [&kept]);
}

#[test]
fn what_is_deleted_and_uploaded_again_during_a_join_does_not_count_as_held() {
    let config = distribution::TrackerConfig { copies: "1".parse().unwrap(), ..tracker_config() };
    let mut cluster = Cluster::new(20);
    cluster.start_tracker(config);
    cluster.start_torrent("t1");
    cluster.settle();
    let bytes = cluster.rng.content(10 * 1024);
    let file = cluster.put(bytes.clone());
    cluster.settle();
    cluster.crash("t1");
    let late = Rule::new(Fate::Delay(Duration::from_secs(3))).of(EventKind::ClientJoinSucceeded);
    cluster.broker.faults.rules.push(late);
    cluster.restart("t1");
    // The answer counts what t1 lists; by the time it is confirmed t1 has been told to delete that.
    cluster.run_for(Duration::from_secs(1));
    cluster.remove(file);
    cluster.put(bytes);
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(1));
}

#[test]
pub fn a_torrent_that_was_away_does_not_bring_a_deleted_file_back() {
    for tracker_restarts in [false, true] {
        let mut cluster = Cluster::with_torrents(2, &["t1", "t2", "t3"]);
        let file = cluster.put_random(10);
        cluster.settle();
        cluster.crash("t1");
        cluster.run_for(Duration::from_secs(60));
        cluster.remove(file);
        if tracker_restarts {
            cluster.crash("tracker");
            cluster.restart("tracker");
        }
        cluster.run_for(Duration::from_secs(60));
        cluster.restart("t1");
        cluster.settle();
        assert!(cluster.tracker().view().files().is_empty());
        assert_eq!(cluster.tracker().view().fragment_count(), 0);
        assert_eq!(bytes_everywhere(&cluster), 0);
    }
}

#[test]
pub fn even_one_that_has_forgotten_which_file_its_fragments_were_of() {
    let mut cluster = Cluster::with_torrents(3, &["t1", "t2"]);
    let file = cluster.put_random(10);
    cluster.settle();
    cluster.crash("t1");
    cluster.torrent_node_mut("t1").disk.volume.view = distribution::view::View::new();
    cluster.run_for(Duration::from_secs(20));
    cluster.remove(file);
    cluster.run_for(Duration::from_secs(5));
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(bytes_everywhere(&cluster), 0);
}

#[test]
fn a_file_that_is_deleted_while_it_is_distributed_leaves_nothing_behind() {
    for milliseconds in [0, 2, 5, 10, 50, 200, 1000] {
        let mut cluster = Cluster::with_torrents(4, &["t1", "t2", "t3"]);
        cluster.torrent_node_mut("t1").writes = Writes::Within(Duration::from_millis(100));
        let file = cluster.put_random(60);
        cluster.run_for(Duration::from_millis(milliseconds));
        cluster.remove(file);
        cluster.settle();
        assert_eq!(bytes_everywhere(&cluster), 0, "deleted after {milliseconds} ms");
        assert_eq!(cluster.tracker().view().fragment_count(), 0);
    }
}

#[test]
fn a_deleted_file_that_is_uploaded_again_is_there_again() {
    let mut cluster = Cluster::with_torrents(5, &["t1", "t2", "t3"]);
    let bytes = cluster.rng.content(10 * 1024);
    let file = cluster.put(bytes.clone());
    cluster.settle();
    cluster.crash("t1");
    cluster.remove(file);
    cluster.put(bytes);
    cluster.run_for(Duration::from_secs(5));
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
}

#[test]
fn a_lost_or_late_removal_is_made_up_for() {
    for fate in [Fate::Drop, Fate::Delay(Duration::from_secs(2))] {
        let mut cluster = Cluster::with_torrents(6, &["t1", "t2"]);
        let file = cluster.put_random(10);
        cluster.settle();
        cluster.broker.faults.rules =
            vec![Rule::new(fate).of(EventKind::FileRemoved).to(&client("t2")).nth(Nth::First(1))];
        cluster.remove(file);
        cluster.settle();
        assert_eq!(bytes_everywhere(&cluster), 0);
    }
}

#[test]
fn a_torrent_that_joins_while_the_file_is_deleted_does_not_bring_it_back() {
    let mut cluster = Cluster::with_torrents(7, &["t1", "t2"]);
    let file = cluster.put_random(10);
    cluster.settle();
    // The tracker has lost its memory: t1 and t2 bring the file back, each on its own.
    cluster.crash("tracker");
    cluster.tracker_node_mut().disk = Default::default();
    let late = Rule::new(Fate::Delay(Duration::from_secs(3))).of(EventKind::ClientJoinSucceeded);
    cluster.broker.faults.rules = vec![late.from(&client("t2")).nth(Nth::First(1))];
    cluster.restart("tracker");
    cluster.run_until("the file is known again", |cluster| cluster.tracker().view().file(&file).is_some());
    assert!(!cluster.torrent("t2").is_registered());
    cluster.remove(file);
    cluster.broker.faults.rules.clear();
    cluster.settle();
    assert!(cluster.tracker().view().files().is_empty());
    assert_eq!(bytes_everywhere(&cluster), 0);
}

#[test]
fn what_is_not_there_cannot_be_deleted() {
    let mut cluster = Cluster::with_torrents(8, &["t1"]);
    let request = cluster.ask_to_remove(Hash::of(b"nothing"));
    assert!(matches!(cluster.outcome(request), Some(Outcome::Refused(_))));
    let file = cluster.put_random(1);
    cluster.cut("tracker");
    let request = cluster.ask_to_remove(file);
    let Some(Outcome::Refused(why)) = cluster.outcome(request) else { panic!("it is not in charge") };
    assert_eq!(*why, RequestRefused::NotInCharge.to_string());
    let id = cluster.tracker_id();
    cluster.connect(&id);
    cluster.settle();
    assert!(cluster.tracker().view().file(&file).is_some());
}

#[test]
fn a_torrent_of_the_specification_is_told_when_it_joins() {
    let mut cluster = Cluster::with_torrents(9, &["t1"]);
    cluster.start_spec_torrent("s1");
    cluster.settle();
    let file = cluster.put_random(5);
    cluster.settle();
    assert_eq!(cluster.spec_torrent("s1").stored.len(), 5);
    cluster.remove(file);
    cluster.settle();
    cluster.cut("s1");
    cluster.run_for(Duration::from_secs(1));
    cluster.connect(&client("s1"));
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.spec_torrent("s1").stored.len(), 0);
}

#[test]
pub fn what_another_tracker_accepted_meanwhile_stays_although_it_was_deleted_before() {
    let mut cluster = Cluster::with_torrents(31, &["t1", "t2"]);
    let content = Content::new(vec![7; 3000], FRAGMENT_SIZE_BYTES);
    let file = content.hash();
    cluster.upload(content.clone());
    cluster.settle();
    cluster.remove(file);
    cluster.settle();
    // Another tracker on another disk takes over, and is given the file.
    cluster.crash("tracker");
    let disk = std::mem::take(&mut cluster.tracker_node_mut().disk);
    cluster.restart("tracker");
    cluster.settle();
    cluster.upload(content);
    cluster.settle();
    // The first comes back.
    cluster.crash("tracker");
    cluster.tracker_node_mut().disk = disk;
    cluster.restart("tracker");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&file), Some(2));
    assert!(cluster.tracker().view().orders().tombstones.files().is_empty());
}

/// The other tracker came to the same epoch, and nothing is retained that tells of it. Which of the two has the higher instance is drawn.
#[test]
pub fn it_stays_also_where_only_the_torrents_know_of_the_other_tracker() {
    for seed in 40..46 {
        let mut cluster = Cluster::with_torrents(seed, &["t1", "t2"]);
        let content = Content::new(vec![7; 3000], FRAGMENT_SIZE_BYTES);
        cluster.upload(content.clone());
        cluster.settle();
        cluster.remove(content.hash());
        cluster.settle();
        cluster.crash("tracker");
        let disk = std::mem::take(&mut cluster.tracker_node_mut().disk);
        cluster.restart("tracker");
        cluster.settle();
        cluster.upload(content.clone());
        cluster.settle();
        assert!(cluster.tracker_node().disk.volume.fragments.is_empty());
        cluster.crash("tracker");
        cluster.broker.forget_retained();
        cluster.tracker_node_mut().disk = disk;
        cluster.restart("tracker");
        cluster.settle();
        assert_eq!(cluster.tracker().view().fewest_holders(&content.hash()), Some(2), "seed {seed}");
    }
}

#[test]
fn what_was_deleted_here_stays_deleted_although_the_tracker_before_had_registered_who_still_has_it() {
    let mut cluster = Cluster::with_torrents(48, &["t1", "t2"]);
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.crash("t1");
    cluster.crash("tracker");
    // Another tracker takes over for good.
    cluster.tracker_node_mut().disk = Default::default();
    cluster.restart("tracker");
    cluster.settle();
    cluster.remove(file);
    cluster.run_for(Duration::from_secs(5));
    cluster.restart("t1");
    cluster.settle();
    assert!(cluster.tracker().view().file(&file).is_none());
    assert_eq!(bytes_everywhere(&cluster), 0);
}

#[test]
fn a_torrent_that_does_not_get_in_makes_no_tracker_forget() {
    let mut cluster = Cluster::with_torrents(49, &["t1"]);
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.remove(file);
    cluster.settle();
    let mut stranger = cluster.new_torrent("t2");
    stranger.disk.remembered.registered_by = Some(protocol::InstanceId(uuid::Uuid::from_u128(5)));
    stranger.setup.endpoints = cluster.torrent_node("t1").setup.endpoints.clone();
    cluster.start_torrent_with(stranger, "t2");
    cluster.run_for(Duration::from_secs(20));
    assert!(cluster.said(EventKind::ClientJoinDenied) > 0);
    assert!(cluster.tracker().view().orders().tombstones.files().contains(&file));
}

#[test]
fn a_tracker_that_only_lost_its_connection_forgets_no_deletion() {
    let mut cluster = Cluster::with_torrents(47, &["t1", "t2"]);
    let file = cluster.put_random(3);
    cluster.settle();
    cluster.remove(file);
    cluster.settle();
    let id = cluster.tracker_id();
    for _ in 0..2 {
        cluster.cut("tracker");
        cluster.broker.forget_retained();
        cluster.connect(&id);
        cluster.settle();
    }
    cluster.crash("tracker");
    cluster.restart("tracker");
    cluster.settle();
    assert!(cluster.tracker().view().orders().tombstones.files().contains(&file));
}

#[test]
pub fn what_is_uploaded_while_its_deletion_is_not_carried_out_yet_is_not_deleted() {
    let mut cluster = Cluster::with_torrents(32, &["t1"]);
    cluster.crash("t1");
    // One torrent is away, so the tracker keeps the bytes.
    let content = Content::new(vec![8; 3000], FRAGMENT_SIZE_BYTES);
    cluster.upload(content.clone());
    cluster.tracker_node_mut().gathers = true;
    let now = cluster.local(&cluster.tracker_id());
    let removal = TrackerInput::FileRemovalRequested { request: RequestId(900), hash: content.hash() };
    drop(cluster.tracker_node_mut().input(removal, now));
    assert!(cluster.tracker_node().is_in_turn());
    cluster.upload(content.clone());
    cluster.tracker_node_mut().gathers = false;
    let kept = &cluster.tracker_node().disk.volume.fragments;
    assert!(content.fragments().keys().all(|fragment| kept.contains_key(fragment)));
    cluster.restart("t1");
    cluster.settle();
    assert_eq!(cluster.tracker().view().fewest_holders(&content.hash()), Some(1));
}
