//! A stranger publishes whatever comes to its mind on every topic: nobody dies, nobody reconnects, work goes on.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::io::Cursor;

use mds_tests::client::agree;
use mds_tests::mqtt::Session;
use mds_tests::recorder::checks::connections;

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
