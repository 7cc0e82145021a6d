//! A stranger publishes whatever comes to its mind on every topic: nobody dies, nobody reconnects, work goes on.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::io::Cursor;

use mds_tests::client::agree;
use mds_tests::mqtt::Session;
use mds_tests::recorder::checks::connections;
use mds_tests::wait::until;

use crate::support::{Service, TORRENTS, content, recorded_site};

#[tokio::test]
async fn three_thousand_hostile_payloads_on_all_topics_change_nothing_and_stop_nothing() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 3, &["--copies", "2", "--fragment-size", "16384"]).await;
    let payloads = protocol::hostile::payloads();
    assert!(payloads.len() >= 3000, "{}", payloads.len());
    let topics: BTreeSet<&str> = payloads.iter().map(|(topic, _)| topic.as_str()).collect();
    for event in mds_tests::specification::EVENTS {
        assert!(topics.contains(event.topic), "nothing for {}", event.topic);
    }

    let size = 400 * 16384;
    let digest = service.tracker.client.put("meanwhile.bin", Cursor::new(content(16, size))).await;
    let (mut stranger, _inbox) = Session::open(broker.address(), "stranger", &[], None).await;
    for (topic, payload) in payloads {
        stranger.publish(&topic, payload, false).await;
    }
    stranger.all_acknowledged().await;

    service.tracker.client.counts_copies(&digest, 2).await;
    let after = service.tracker.client.put("after.bin", Cursor::new(content(17, 20_000))).await;
    service.tracker.client.counts_copies(&after, 2).await;
    agree(&service.clients()).await;
    for client in service.clients() {
        client.gives_back(&digest, size as u64).await;
        let network = client.network().await.unwrap();
        assert_eq!(network.health.unwrap().files, 2);
        let servers = client.servers().await;
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, TORRENTS.map(|id| format!("servers/{id}")));
    }

    let connections = connections(&broker.log());
    for (server, name) in
        std::iter::once(&mut service.tracker).chain(&mut service.torrents).zip(["tracker", "t1", "t2", "t3"])
    {
        assert!(server.daemon.is_running(), "{name}");
        assert_eq!(connections[name], 1, "{name}");
    }
    // Ours have joined once, at the start, and nobody else ever did.
    let registered = |name: &'static str| {
        recorder.count(|record| {
            record.is("ClientRegistered") && record.client() == name && record.number("Epoch") == Some(1)
        })
    };
    assert_eq!(TORRENTS.map(registered), [1; 3]);
}

#[tokio::test]
async fn somebody_in_the_trackers_place_kills_no_torrent_and_costs_no_stored_byte() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 2, &["--copies", "2", "--fragment-size", "16384"]).await;
    let size = 20 * 16384;
    let digest = service.tracker.client.put("kept.bin", Cursor::new(content(21, size))).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    let fragments = service.tracker.client.fragments(&digest).await;
    let fragments: Vec<String> = fragments.into_iter().map(|fragment| fragment.digest).collect();

    let (mut stranger, _inbox) = Session::open(broker.address(), "stranger", &[], None).await;
    for (topic, payload) in protocol::hostile::impersonations() {
        stranger.publish(&topic, payload, false).await;
    }
    stranger.all_acknowledged().await;
    // The highest epoch there is has spoken: the tracker gives way, and says so.
    assert_eq!(service.tracker.daemon.exit_code().await, Some(5));
    // A hello that nobody has said yet makes them ask once more, behind all that.
    let hello = r#"{"EventId":"00000000-0000-4000-8000-00000000abcd"}"#;
    stranger.publish("tracker/hello", hello, false).await;
    let asks_after_it = |id: &str| {
        recorder.look(|heard| {
            let after = heard.events.iter().skip_while(|record| !record.text("EventId").ends_with("abcd"));
            after.skip(1).any(|record| record.is("ClientJoinRequested") && record.client() == id)
        })
    };
    until("both torrents ask to join again", async || asks_after_it("t1") && asks_after_it("t2")).await;
    for server in &mut service.torrents {
        assert_eq!(server.client.held(fragments.clone()).await, fragments.len());
        assert!(server.daemon.is_running());
    }
}
