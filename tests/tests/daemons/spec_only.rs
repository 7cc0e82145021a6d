//! Participants that know nothing but the specification, beside ours, both ways.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::io::Cursor;

use mds_tests::client::Client;
use mds_tests::recorder::{Record, Recorder};
use mds_tests::spec_only::{Answer, SpecTorrent, SpecTracker, TorrentOptions};
use mds_tests::specification::{Issuer, sha256};

use crate::support::{Server, Service, content, recorded_site};

const FRAGMENT_SIZE: usize = 4096;

fn fragments_of(bytes: &[u8]) -> BTreeSet<String> {
    bytes.chunks(FRAGMENT_SIZE).map(sha256).collect()
}

fn is_end_with(record: &Record, receiver: &str) -> bool {
    record.is("FragmentDistributionEnded") && record.texts("Receivers").contains(&receiver)
}

#[tokio::test]
async fn a_spec_only_torrent_joins_our_tracker_gets_fragments_and_is_unregistered_by_its_goodbye() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, 1, &["--copies", "2", "--fragment-size", "4096"]).await;
    let tracker = &service.tracker.client;

    let old = SpecTorrent::start(broker.address(), TorrentOptions::new("old")).await;
    assert_eq!(old.answer().await, Answer::Registered);
    tracker.counts_torrents(2).await;
    assert_eq!(old.peers(), BTreeSet::from(["t1".to_owned()]));

    let bytes = content(3, 10 * FRAGMENT_SIZE + 1);
    let (fragments, size_bytes) = (fragments_of(&bytes), bytes.len() as u64);
    let digest = tracker.put("for-old.bin", Cursor::new(bytes)).await;
    tracker.counts_copies(&digest, 2).await;
    recorder.hears("an end with the spec-only torrent", 11, |record| is_end_with(record, "old")).await;
    service.torrents[0].client.gives_back(&digest, size_bytes).await;

    old.leave().await;
    let gone = recorder.hears_of("ClientUnregistered", "old").await;
    assert_eq!(gone.text("Reason"), "Leaving");
    tracker.counts_torrents(1).await;

    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_issuers(&["t1", "old"]);
        heard.assert_order(&fragments);
        // To it and by it everything is said where the specification says so.
        let about_it = heard
            .events
            .iter()
            .filter(|record| record.client() == "old" || record.texts("Receivers").contains(&"old"));
        assert!(about_it.clone().count() > 2 + 3 * fragments.len());
        about_it.for_each(|record| assert_eq!(record.direct, None, "{record:?}"));
    });
}

#[tokio::test]
async fn a_spec_only_torrent_whose_connection_breaks_is_unregistered_by_its_last_will() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, 1, &[]).await;
    let old = SpecTorrent::start(broker.address(), TorrentOptions::new("old")).await;
    assert_eq!(old.answer().await, Answer::Registered);
    service.tracker.client.counts_torrents(2).await;
    drop(old);
    recorder.hears_of("ClientGoodbye", "old").await;
    recorder.hears_of("ClientUnregistered", "old").await;
    service.tracker.client.counts_torrents(1).await;
    recorder.look(|heard| heard.assert_all_valid());
}

#[tokio::test]
async fn a_spec_only_torrent_finds_everything_that_was_there_before_it() {
    needs_mosquitto!();
    let (broker, _recorder, site) = recorded_site().await;
    let service = Service::start(site, 1, &["--copies", "all", "--fragment-size", "4096"]).await;
    let bytes = content(4, 3 * FRAGMENT_SIZE);
    let fragments = fragments_of(&bytes);
    let digest = service.tracker.client.put("before.bin", Cursor::new(bytes)).await;
    service.tracker.client.counts_copies(&digest, 1).await;

    let old = SpecTorrent::start(broker.address(), TorrentOptions::new("old")).await;
    assert_eq!(old.answer().await, Answer::Registered);
    assert_eq!(old.files(), BTreeSet::from([digest.clone()]));
    // Whether the tracker still had the bytes when it came is the tracker's business; what comes is right.
    assert!(old.stored().is_subset(&fragments));
    service.tracker.client.counts_torrents(2).await;
}

/// What is the same however tracker and torrents found each other: fragments are obtained, wrong bytes are refused, the rest is served.
async fn obtains_refuses_and_serves(
    tracker: &SpecTracker,
    torrents: &[(&str, &Client)],
    recorder: &Recorder,
) {
    let names: BTreeSet<String> = torrents.iter().map(|(name, _)| (*name).to_owned()).collect();
    let good = content(5, 3 * FRAGMENT_SIZE + 7);
    let (digest, fragments) = tracker.put(&good).await;
    for fragment in &fragments {
        assert_eq!(tracker.ended(fragment).await, (names.clone(), BTreeSet::new()));
    }

    let spoilt = content(6, 2 * FRAGMENT_SIZE);
    let bad = sha256(&spoilt[FRAGMENT_SIZE..]);
    tracker.falsify(&bad);
    let (spoilt_digest, spoilt_fragments) = tracker.put(&spoilt).await;
    assert_eq!(tracker.ended(&spoilt_fragments[0]).await, (names.clone(), BTreeSet::new()));
    assert_eq!(tracker.ended(&bad).await, (BTreeSet::new(), names.clone()));

    for (name, client) in torrents {
        client.gives_back(&digest, good.len() as u64).await;
        assert_eq!(client.held(vec![bad.clone(), spoilt_fragments[0].clone()]).await, 1, "{name}");
        assert!(client.read_digest(&spoilt_digest).await.is_err(), "{name}");
        let failed = recorder.hears_of("FragmentDistributionFailed", name).await;
        assert_eq!(failed.text("Hash"), bad);
        assert_ne!(failed.text("Reason"), "");
    }
}

/// Towards a tracker that announces nothing our torrents say nothing but what the specification has.
fn assert_only_the_specification_is_spoken(recorder: &Recorder) {
    recorder.look(|heard| {
        let are_false = |problem: &String| problem.contains("are not what it says");
        assert!(heard.invalid.iter().all(are_false), "{:#?}", heard.invalid);
        for record in &heard.events {
            let is_ours =
                ["ClientHeartbeat", "ClientUnregistered", "FileRemoved"].contains(&record.event.name);
            assert!(!is_ours && record.direct.is_none(), "{record:?}");
            let names_itself = record.event.issuer == Issuer::Tracker || !record.client().is_empty();
            assert!(names_itself, "{record:?}");
        }
    });
}

#[tokio::test]
async fn our_torrents_work_under_a_spec_only_tracker_that_was_there_before_them() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let tracker = SpecTracker::start(broker.address(), FRAGMENT_SIZE, 2).await;
    // Nobody hears it, and nobody keeps it.
    tracker.say_hello().await;
    recorder.hears("the hello", 1, |record| record.is("TrackerHello")).await;
    let mut one = Server::of(site.torrent("t1", &[])).await;
    let mut two = Server::of(site.torrent("t2", &[])).await;
    tracker.registers(2).await;
    obtains_refuses_and_serves(&tracker, &[("t1", &one.client), ("t2", &two.client)], &recorder).await;

    one.daemon.stop().await;
    tracker.registers(1).await;
    two.daemon.stop().await;
    tracker.registers(0).await;
    assert_only_the_specification_is_spoken(&recorder);
}

#[tokio::test]
async fn our_torrent_works_under_a_spec_only_tracker_that_comes_after_it_and_comes_again() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let torrent = Server::of(site.torrent("t1", &[])).await;
    // It asks although it has heard nobody, and nobody answers.
    recorder.hears_of("ClientJoinRequested", "t1").await;
    let tracker = SpecTracker::start(broker.address(), FRAGMENT_SIZE, 2).await;
    tracker.say_hello().await;
    tracker.registers(1).await;
    obtains_refuses_and_serves(&tracker, &[("t1", &torrent.client)], &recorder).await;

    tracker.say_goodbye().await;
    tracker.registers(0).await;
    tracker.say_hello().await;
    tracker.registers(1).await;
    let again = recorder.hears("a join", 3, |record| record.is("ClientJoinRequested")).await;
    let stored = again.properties["StoredFragments"].as_object().unwrap();
    assert_eq!(stored.len(), 4 + 1, "its inventory is what it stores");
    assert_only_the_specification_is_spoken(&recorder);
}
