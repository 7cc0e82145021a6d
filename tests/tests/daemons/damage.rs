//! A bit flips on the disk of a running daemon: the bytes are never served, the daemon finds it and says so, and gets a good copy.

use std::io::Cursor;

use endpoint::client::CallError;
use endpoint::proto::ErrorReason;
use mds_tests::needs_mosquitto;
use mds_tests::recorder::{Record, Recorder};
use mds_tests::wait::until;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use crate::support::{Server, Service, content, recorded_site};

const FRAGMENT_SIZE: usize = 16_384;
const FRAGMENTS: usize = 12;
const OF_TRACKER: [&str; 4] = ["--copies", "2", "--fragment-size", "16384"];

fn fragment(content: &[u8], index: usize) -> (String, &[u8]) {
    let bytes = &content[index * FRAGMENT_SIZE..(index + 1) * FRAGMENT_SIZE];
    (mds_tests::specification::hex(&Sha256::digest(bytes)), bytes)
}

fn reason(status: &Status) -> Option<ErrorReason> {
    CallError::new(&"grpc://a:1".parse().unwrap(), status).reason
}

/// Waits until the torrent has joined without this fragment, and all have been told.
async fn is_given_up(recorder: &Recorder, id: &str, digest: &str) {
    let is_without = |record: &Record, fragments: &serde_json::Value| {
        // A request lists them with their sizes, a registration without.
        let of_request = fragments.as_object().into_iter().flatten().map(|(digest, _)| digest.as_str());
        let of_registration = fragments.as_array().into_iter().flatten().filter_map(|held| held.as_str());
        let held: Vec<&str> = of_request.chain(of_registration).collect();
        record.client() == id && !held.is_empty() && !held.contains(&digest)
    };
    recorder
        .hears("a join without the fragment", 1, |record| {
            record.is("ClientJoinRequested") && is_without(record, &record.properties["StoredFragments"])
        })
        .await;
    recorder
        .hears("a registration without the fragment", 1, |record| {
            record.is("ClientRegistered") && is_without(record, &record.properties["Info"]["StoredFragments"])
        })
        .await;
}

/// Whoever is asked gives the file as it was put.
async fn all_give_back(service: &Service, digest: &str) {
    for client in service.clients() {
        client.gives_back(digest, (FRAGMENTS * FRAGMENT_SIZE) as u64).await;
    }
}

/// The torrent that had the damaged copy has a good one.
async fn is_repaired(service: &Service, torrent: usize, file: &str, digest: &str, bytes: &[u8]) {
    service.tracker.client.counts_copies(file, 2).await;
    let read = service.torrents[torrent].client.read_fragment(digest).await.unwrap();
    assert!(read == bytes);
}

#[tokio::test]
async fn a_flipped_bit_is_never_served_and_the_torrent_is_no_longer_a_holder() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 2, &OF_TRACKER).await;
    let bytes = content(31, FRAGMENTS * FRAGMENT_SIZE);
    let digest = service.tracker.client.put("rots.bin", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    let (bad, of_bad) = fragment(&bytes, 5);
    service.site.flip_a_bit("t1", of_bad);

    let status = service.torrents[0].client.read_fragment(&bad).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::DataLoss, Some(ErrorReason::StoredBytesDamaged)));
    is_given_up(&recorder, "t1", &bad).await;
    is_repaired(&service, 0, &digest, &bad, of_bad).await;
    all_give_back(&service, &digest).await;
    assert_eq!(service.torrents[0].daemon.count_in_output("no longer served"), 1);

    // A restart does not bring the damaged one back.
    service.torrents[0].daemon.stop().await;
    service.torrents[0] = Server::of(service.site.torrent("t1", &[])).await;
    service.all_have_joined().await;
    is_repaired(&service, 0, &digest, &bad, of_bad).await;
    all_give_back(&service, &digest).await;
    recorder.look(|heard| heard.assert_all_valid());
}

#[tokio::test]
async fn a_flipped_bit_that_nobody_reads_is_found_by_the_scrub() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 2, &OF_TRACKER).await;
    let bytes = content(32, FRAGMENTS * FRAGMENT_SIZE);
    let digest = service.tracker.client.put("rots.bin", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    service.torrents[0].daemon.stop().await;
    let (bad, of_bad) = fragment(&bytes, 7);
    service.site.flip_a_bit("t1", of_bad);

    let hasty = ["--scrub-rate", "100000000", "--scrub-interval", "0s"];
    service.torrents[0] = Server::of(service.site.torrent("t1", &hasty)).await;
    service.torrents[0].daemon.says("no longer served").await;
    is_given_up(&recorder, "t1", &bad).await;
    service.all_have_joined().await;
    is_repaired(&service, 0, &digest, &bad, of_bad).await;
    all_give_back(&service, &digest).await;
    // It ends at once, whatever it is reading.
    service.torrents[0].daemon.stop().await;
}

#[tokio::test]
async fn a_tracker_whose_own_bytes_went_bad_does_not_count_on_them() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let hasty = ["--scrub-rate", "100000000", "--scrub-interval", "0s"];
    let mut service = Service::start(site, 0, &[&OF_TRACKER[..], &hasty].concat()).await;
    // No torrent had to wait for that.
    until("the tracker is connected", async || {
        service.tracker.client.network().await.is_some_and(|network| network.broker_connected)
    })
    .await;
    let bytes = content(33, FRAGMENTS * FRAGMENT_SIZE);
    let digest = service.tracker.client.put("rots.bin", Cursor::new(bytes.clone())).await;
    let (bad, of_bad) = fragment(&bytes, 3);
    service.site.flip_a_bit("tracker", of_bad);
    service.tracker.daemon.says("no longer served").await;
    until("the tracker knows that the file is not whole", async || {
        let file = service.tracker.client.file(&digest).await;
        file.is_some_and(|file| file.state() == endpoint::proto::FileState::Unavailable)
    })
    .await;
    let status = service.tracker.client.read_fragment(&bad).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(service.tracker.client.read_digest(&digest).await.is_err());
    assert!(service.tracker.daemon.is_running());
}
