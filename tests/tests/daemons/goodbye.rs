//! SIGTERM: goodbye on the bus, open streams are finished, exit code 0. A second signal ends at once.

use mds_tests::needs_mosquitto;
use std::io::Cursor;

use mds_tests::mosquitto::Mosquitto;
use mds_tests::wait::until;

use crate::support::{Service, content, recorded_site};

/// Waits until the broker has seen the client go, and makes sure that it went with a DISCONNECT: then there is no will.
async fn went_in_peace(broker: &Mosquitto, client: &str) {
    let in_peace = format!("Client {client} disconnected.");
    let broken =
        [format!("Client {client} closed its connection."), format!("Socket error on client {client}")];
    until("the broker sees the client go", async || {
        let log = broker.log();
        assert!(!broken.iter().any(|line| log.contains(line)), "{client} just hung up:\n{log}");
        log.contains(&in_peace)
    })
    .await;
}

#[tokio::test]
async fn on_sigterm_both_daemons_say_goodbye_once_and_end_with_code_0() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 2, &[]).await;

    service.torrents[0].daemon.stop().await;
    went_in_peace(&broker, "t1").await;
    let unregistered = recorder.hears_of("ClientUnregistered", "t1").await;
    assert_eq!(unregistered.text("Reason"), "Leaving");
    service.tracker.client.counts_torrents(1).await;

    service.tracker.daemon.stop().await;
    went_in_peace(&broker, "tracker").await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    // Another client's goodbye comes after whatever the broker had to say for the first two.
    service.torrents[1].daemon.stop().await;
    recorder.hears_of("ClientGoodbye", "t2").await;

    recorder.look(|heard| {
        heard.assert_all_valid();
        let of = |name: &'static str| heard.events.iter().filter(move |record| record.is(name));
        let goodbyes: Vec<_> = of("ClientGoodbye").filter(|goodbye| goodbye.client() == "t1").collect();
        // One goodbye, on its two topics.
        let topics: Vec<_> = goodbyes.iter().map(|goodbye| goodbye.direct.as_deref()).collect();
        assert_eq!(topics, [None, Some("t1")]);
        assert_eq!(goodbyes[0].properties, goodbyes[1].properties);
        assert_eq!(goodbyes[0].text("Reason"), "Leaving");
        let goodbyes: Vec<_> = of("TrackerGoodbye").collect();
        let hello = of("TrackerHello").find(|hello| !hello.properties.contains_key("Probe")).unwrap();
        assert_eq!(goodbyes.len(), 1);
        assert_eq!(goodbyes[0].text("Instance"), hello.text("Instance"));
    });
}

/// More than fits between a daemon and a client that does not read.
const LARGE: usize = 20 << 20;

#[tokio::test]
async fn an_open_stream_is_finished_before_a_daemon_ends() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 1, &["--copies", "1"]).await;
    let digest = service.tracker.client.put("large.bin", Cursor::new(content(14, LARGE))).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    let torrent = &mut service.torrents[0];

    let mut stream = torrent.client.open_file(&digest).await.unwrap();
    torrent.daemon.terminate();
    recorder.hears_of("ClientGoodbye", "t1").await;
    let mut size_bytes = 0;
    while let Some(message) = stream.message().await.unwrap() {
        size_bytes += message.data.len();
    }
    assert_eq!(size_bytes, LARGE);
    assert_eq!(torrent.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_daemon_at_once() {
    needs_mosquitto!();
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 1, &["--copies", "1"]).await;
    let digest = service.tracker.client.put("large.bin", Cursor::new(content(15, LARGE))).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    let torrent = &mut service.torrents[0];

    // A stream that nobody reads holds it up.
    let _stream = torrent.client.open_file(&digest).await.unwrap();
    torrent.daemon.terminate();
    recorder.hears_of("ClientGoodbye", "t1").await;
    assert!(torrent.daemon.is_running());
    torrent.daemon.terminate();
    assert_eq!(torrent.daemon.exit_code().await, Some(1));
    assert!(torrent.daemon.output().contains("ended at once by a second signal"));
}
