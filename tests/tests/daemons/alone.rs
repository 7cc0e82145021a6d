//! Without tracker, without broker: what the daemons left on their own still know, have, and say.

use std::io::Cursor;

use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use tonic::Code;

use crate::support::{Server, Service, content, recorded_site};

const SIZE: usize = 1_000_000;

async fn put(service: &Service) -> String {
    let digest = service.tracker.client.put("alone.bin", Cursor::new(content(7, SIZE))).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    digest
}

#[tokio::test]
async fn torrents_that_end_right_after_a_file_came_know_it_when_they_start_again_alone() {
    needs_mosquitto!();
    let (mut broker, _recorder, site): (Mosquitto, _, _) = recorded_site().await;
    let mut service = Service::start(site, 2, &[]).await;
    let digest = put(&service).await;
    for server in &mut service.torrents {
        // Before a heartbeat would have made it write its view.
        server.daemon.terminate();
    }
    for server in &mut service.torrents {
        assert_eq!(server.daemon.exit_code().await, Some(0));
    }
    service.tracker.daemon.stop().await;
    broker.kill();
    for (number, id) in ["t1", "t2"].into_iter().enumerate() {
        let daemon = service.site.torrent(id, &["--retry-connect"]);
        service.torrents[number] = Server::of(daemon).await;
    }
    for server in &service.torrents {
        server.client.gives_back(&digest, SIZE as u64).await;
    }
}

#[tokio::test]
async fn a_tracker_without_its_broker_asks_the_uploader_to_come_again() {
    needs_mosquitto!();
    let (mut broker, _recorder, site): (Mosquitto, _, _) = recorded_site().await;
    let service = Service::start(site, 1, &[]).await;
    broker.kill();
    let mut tracker = service.tracker.daemon;
    tracker.says("connecting again").await;
    let refused =
        service.tracker.client.try_put("alone.bin", Cursor::new(content(8, SIZE))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}
