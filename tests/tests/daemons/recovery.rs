//! How long it takes until everything is as it was. What it took is printed, not asserted: docs/reliability.md has the figures, from
//! `cargo test -p mds-tests --test daemons recovery -- --nocapture --test-threads 1`.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::time::Instant;

use endpoint::proto::ServerState;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::recorder::{Record, Recorder};
use mds_tests::wait::until;

use crate::support::{Server, Service, content, recorded_site};

const MEBIBYTES: usize = 100;

fn measured(what: &str, since: Instant) {
    eprintln!("MEASURED {what}: {:.2} s", since.elapsed().as_secs_f32());
}

/// A service of three torrents with a file of 100 MB in two copies.
async fn with_a_large_file(of_tracker: &[&str]) -> (Mosquitto, Recorder, Service, String) {
    let (broker, recorder, site) = recorded_site().await;
    let all = [&["--copies", "2"], of_tracker].concat();
    let service = Service::start(site, 3, &all).await;
    let digest = service.tracker.client.put("large.bin", Cursor::new(content(31, MEBIBYTES << 20))).await;
    is_settled(&service, &digest).await;
    (broker, recorder, service, digest)
}

/// Waits until the file has its copies and the tracker, whom the holders have confirmed them, has let go of its own.
async fn is_settled(service: &Service, digest: &str) {
    service.tracker.client.counts_copies(digest, 2).await;
    let fragments = fragments_of(service, digest).await;
    until("the tracker has let go of its own copies", async || {
        service.tracker.client.held(fragments.iter().cloned().collect()).await == 0
    })
    .await;
}

impl Service {
    async fn is_in_state(&self, id: &str, state: ServerState) {
        let what = format!("{id} is {state:?}");
        until(&what, async || {
            let servers = self.tracker.client.servers().await;
            servers.iter().any(|server| server.name == format!("servers/{id}") && server.state() == state)
        })
        .await;
    }
}

/// The distributions that were started for these fragments.
fn starts(recorder: &Recorder, fragments: &BTreeSet<String>) -> usize {
    let is_of_them = |record: &Record| fragments.contains(record.text("Hash"));
    recorder.count(|record| record.is("FragmentDistributionStarted") && is_of_them(record))
}

async fn fragments_of(service: &Service, digest: &str) -> BTreeSet<String> {
    let fragments = service.tracker.client.fragments(digest).await;
    fragments.iter().map(|fragment| fragment.digest.trim_start_matches("sha256:").to_owned()).collect()
}

#[tokio::test]
async fn a_holder_that_is_killed_is_suspect_at_once_gone_with_its_lease_and_then_replaced() {
    needs_mosquitto!();
    let (_broker, recorder, mut service, digest) = with_a_large_file(&["--repair-after", "2s"]).await;
    let fragments = fragments_of(&service, &digest).await;
    let before = starts(&recorder, &fragments);
    let unregistered = |record: &Record| record.is("ClientUnregistered") && record.client() == "t1";

    service.torrents[0].daemon.kill();
    let killed = Instant::now();
    service.is_in_state("t1", ServerState::Suspect).await;
    measured("a holder was killed; suspect", killed);
    assert_eq!(recorder.count(unregistered), 0, "its lease lasts");
    assert_eq!(starts(&recorder, &fragments), before, "nothing is repaired before its lease ends");

    let end = recorder.hears("the end of its lease", 1, unregistered).await;
    measured("a holder was killed; unregistered", killed);
    let gone = Instant::now();
    assert_eq!(end.text("Reason"), "LeaseExpired");
    service.tracker.client.counts_copies(&digest, 2).await;
    measured("full copies of 100 MiB, with repair_after = 2 s, after its lease ended", gone);
    assert!(starts(&recorder, &fragments) > before);
    service.torrents.remove(0);
    service.all_have_joined().await;
    for torrent in &service.torrents {
        torrent.client.gives_back(&digest, (MEBIBYTES << 20) as u64).await;
    }
}

/// A holder dies and is back, before or after its lease has ended, and nothing is copied again.
async fn is_back_in_time(with_lease_ended: bool) {
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 3, &["--copies", "2", "--fragment-size", "65536"]).await;
    let digest = service.tracker.client.put("kept.bin", Cursor::new(content(32, 8 << 20))).await;
    is_settled(&service, &digest).await;
    let fragments = fragments_of(&service, &digest).await;
    let before = starts(&recorder, &fragments);

    service.torrents[0].daemon.kill();
    service.is_in_state("t1", ServerState::Suspect).await;
    if with_lease_ended {
        recorder.hears_of("ClientUnregistered", "t1").await;
    }
    service.torrents[0] = Server::of(service.site.torrent("t1", &[])).await;
    service.all_have_joined().await;
    service.tracker.client.counts_copies(&digest, 2).await;
    // What is put in later comes after any repair that there was to be.
    let later = service.tracker.client.put("later.bin", Cursor::new(content(33, 1000))).await;
    service.tracker.client.counts_copies(&later, 2).await;
    assert_eq!(starts(&recorder, &fragments), before);
    service.torrents[0].client.gives_back(&digest, 8 << 20).await;
}

#[tokio::test]
async fn a_torrent_that_is_back_before_its_lease_ends_causes_no_repair() {
    needs_mosquitto!();
    is_back_in_time(false).await;
}

#[tokio::test]
async fn a_torrent_that_is_back_before_repair_after_causes_no_repair() {
    needs_mosquitto!();
    is_back_in_time(true).await;
}

#[tokio::test]
async fn everybody_is_registered_again_after_the_broker_has_lost_its_state() {
    needs_mosquitto!();
    let mut broker = Mosquitto::start();
    let site = mds_tests::daemons::Site::new(broker.url());
    let service = Service::start(site, 3, &[]).await;
    let torrents = || service.torrents.iter().map(|torrent| &torrent.daemon);
    let registrations =
        || torrents().map(|torrent| torrent.count_in_output("registered revision=")).sum::<usize>();
    let before = registrations();
    assert!(before >= 3, "{}", service.torrents[0].daemon.output());

    broker.kill();
    let restarted = Instant::now();
    broker.restart();
    until("all torrents have registered again", async || {
        torrents().all(|torrent| torrent.count_in_output("registered revision=") >= 2)
    })
    .await;
    service.all_have_joined().await;
    measured("the broker has lost its state: all registered again", restarted);
    let digest = service.tracker.client.put("after.bin", Cursor::new(content(34, 100_000))).await;
    service.tracker.client.counts_copies(&digest, 2).await;
}

#[tokio::test]
async fn a_tracker_that_was_killed_distributes_again_soon_after_its_start() {
    needs_mosquitto!();
    let slowly = ["--copies", "2", "--fragment-size", "16384", "--fragments-in-flight", "2"];
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 3, &slowly).await;
    let digest = service.tracker.client.put("large.bin", Cursor::new(content(35, 8 << 20))).await;
    let is_end = |record: &Record| record.is("FragmentDistributionEnded");
    recorder.hears("the end of a distribution", 5, is_end).await;
    service.tracker.daemon.kill();
    recorder.hears("the tracker's last will", 1, |record| record.is("TrackerGoodbye")).await;
    let before = recorder.count(is_end);

    let started = Instant::now();
    let tracker = service.site.tracker("tracker", &slowly);
    recorder.hears("a distribution that has ended since", before + 1, is_end).await;
    measured("a tracker was killed: it distributes again, after its start", started);
    service.tracker = Server::of(tracker).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    service.all_have_joined().await;
}

#[tokio::test]
async fn two_trackers_at_once_lose_nothing_and_end_with_one_view() {
    needs_mosquitto!();
    let settings = ["--copies", "2", "--fragment-size", "16384", "--fragments-in-flight", "2"];
    let takeover = [&settings[..], &["--takeover"]].concat();
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 3, &settings).await;
    let size = 4 << 20;
    let one = service.tracker.client.put("one.bin", Cursor::new(content(36, size))).await;
    let is_end = |record: &Record| record.is("FragmentDistributionEnded");
    recorder.hears("the end of a distribution", 5, is_end).await;

    // The second has an empty disk, and the first is in the middle.
    let second = Server::of(service.site.tracker("second", &takeover)).await;
    second.client.counts_torrents(3).await;
    let other = second.client.put("other.bin", Cursor::new(content(37, size))).await;
    second.client.counts_copies(&other, 2).await;
    assert_eq!(service.tracker.daemon.exit_code().await, Some(5));

    // The first comes back with what was never distributed, and ends the second.
    let mut second =
        std::mem::replace(&mut service.tracker, Server::of(service.site.tracker("tracker", &takeover)).await);
    assert_eq!(second.daemon.exit_code().await, Some(5));
    service.all_have_joined().await;
    for digest in [&one, &other] {
        service.tracker.client.counts_copies(digest, 2).await;
        for client in service.clients() {
            client.gives_back(digest, size as u64).await;
        }
    }
    service.all_have_joined().await;
    recorder.look(|heard| heard.assert_all_valid());
}
