//! Somebody dies in the middle of a distribution: the others go on, and what was promised is kept.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::io::Cursor;

use mds_tests::client::agree;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::recorder::{Record, Recorder};
use mds_tests::wait::until;

use crate::support::{Server, Service, content, recorded_site};

const FRAGMENT_SIZE: usize = 4096;
const FRAGMENTS: usize = 500;
/// A few at a time, so that the middle lasts.
const SLOWLY: [&str; 6] = ["--copies", "2", "--fragment-size", "4096", "--fragments-in-flight", "2"];

fn is_end(record: &Record) -> bool {
    record.is("FragmentDistributionEnded") && !record.texts("Receivers").is_empty()
}

/// The fragments whose distribution has ended with somebody who holds them.
fn ended(recorder: &Recorder) -> BTreeSet<String> {
    recorder.look(|heard| {
        let ends = heard.events.iter().filter(|record| is_end(record));
        ends.map(|record| record.text("Hash").to_owned()).collect()
    })
}

/// A service that is in the middle of distributing a file with this digest.
async fn in_the_middle(torrents: usize) -> (Mosquitto, Recorder, Service, String) {
    let (broker, recorder, site) = recorded_site().await;
    let service = Service::start(site, torrents, &SLOWLY).await;
    let bytes = content(18, FRAGMENTS * FRAGMENT_SIZE);
    let digest = service.tracker.client.put("interrupted.bin", Cursor::new(bytes)).await;
    recorder.hears("the end of a distribution", 20, is_end).await;
    assert!(ended(&recorder).len() < FRAGMENTS, "the middle is over too soon");
    (broker, recorder, service, digest)
}

/// Everything has its copies, everybody knows the same, and everybody gives the file back.
async fn completes(service: &Service, digest: &str) {
    service.tracker.client.counts_copies(digest, 2).await;
    service.all_have_joined().await;
    for client in service.clients() {
        client.gives_back(digest, (FRAGMENTS * FRAGMENT_SIZE) as u64).await;
    }
}

#[tokio::test]
async fn a_torrent_that_is_killed_stops_nobody_and_is_a_holder_again_when_it_is_back() {
    needs_mosquitto!();
    let (_broker, recorder, mut service, digest) = in_the_middle(3).await;
    service.torrents[2].daemon.kill();
    until("every fragment has a holder", async || ended(&recorder).len() == FRAGMENTS).await;

    service.torrents[2] = Server::of(service.site.torrent("t3", &[])).await;
    let request = recorder
        .hears("a join of t3", 2, |record| record.is("ClientJoinRequested") && record.client() == "t3")
        .await;
    let kept = request.properties["StoredFragments"].as_object().unwrap().len();
    assert!(kept > 0, "it tells what it has kept");
    completes(&service, &digest).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
        heard.assert_issuers(&["t1", "t2", "t3"]);
    });
}

#[tokio::test]
async fn a_torrent_that_leaves_hands_nothing_over_and_comes_back_with_its_fragments() {
    needs_mosquitto!();
    let (_broker, recorder, mut service, digest) = in_the_middle(3).await;
    service.torrents[0].daemon.stop().await;
    until("every fragment has a holder", async || ended(&recorder).len() == FRAGMENTS).await;

    service.torrents[0] = Server::of(service.site.torrent("t1", &[])).await;
    let request = recorder
        .hears("a join of t1", 2, |record| record.is("ClientJoinRequested") && record.client() == "t1")
        .await;
    let kept: BTreeSet<&String> = request.properties["StoredFragments"].as_object().unwrap().keys().collect();
    assert!(!kept.is_empty());
    completes(&service, &digest).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        // What it had it is not given again.
        let deliveries = heard.events.iter().filter(|record| record.is("FragmentDistributionDelivered"));
        for fragment in &kept {
            let of_it = deliveries.clone().filter(|record| record.text("Hash") == *fragment);
            let to_it = of_it.filter(|record| record.texts("Receivers").contains(&"t1"));
            // A delivery goes out on a topic of each receiver.
            let deliveries: BTreeSet<&str> = to_it.map(|record| record.text("EventId")).collect();
            assert_eq!(deliveries.len(), 1, "{fragment}");
        }
    });
}

#[tokio::test]
async fn a_tracker_that_is_killed_finishes_its_work_when_it_is_back() {
    needs_mosquitto!();
    let (_broker, recorder, mut service, digest) = in_the_middle(2).await;
    service.tracker.daemon.kill();
    recorder.hears("the tracker's last will", 1, |record| record.is("TrackerGoodbye")).await;
    assert!(ended(&recorder).len() < FRAGMENTS);
    // Without it what is there can be read.
    let file = service.torrents[0].client.file(&digest).await.unwrap();
    assert_eq!(file.size_bytes, i64::try_from(FRAGMENTS * FRAGMENT_SIZE).unwrap());

    service.tracker = Server::of(service.site.tracker("tracker", &SLOWLY)).await;
    completes(&service, &digest).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
        heard.assert_issuers(&["t1", "t2"]);
        let epochs: BTreeSet<i64> = heard.events.iter().filter_map(|record| record.number("Epoch")).collect();
        assert_eq!(epochs, BTreeSet::from([1, 2]));
    });
}

#[tokio::test]
async fn a_broker_that_dies_and_forgets_everything_costs_time_and_nothing_else() {
    needs_mosquitto!();
    let (mut broker, recorder, mut service, digest) = in_the_middle(3).await;
    broker.restart();
    completes(&service, &digest).await;
    for server in std::iter::once(&mut service.tracker).chain(&mut service.torrents) {
        assert!(server.daemon.is_running());
    }
    assert_eq!(service.tracker.daemon.count_in_output("online"), 2);
    recorder.look(|heard| heard.assert_all_valid());
    agree(&service.clients()).await;
}
