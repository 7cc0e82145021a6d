//! There is at most one tracker: a second one ends, takes over, or stands by.

use std::collections::BTreeSet;
use std::io::Cursor;

use endpoint::client::Cluster;
use mds_tests::client::agree;
use mds_tests::daemons::Site;
use mds_tests::http::get;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::mqtt::{Message, Session};
use mds_tests::needs_mosquitto;
use mds_tests::recorder::Recorder;
use mds_tests::recorder::checks::connections;
use mds_tests::wait::until;
use protocol::EndpointUri;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::{Server, Service, content, recorded_site};

/// The connections of trackers that have said hello.
fn trackers(recorder: &Recorder) -> BTreeSet<(i64, String)> {
    recorder.look(|heard| {
        let hellos = heard.events.iter().filter(|record| record.is("TrackerHello"));
        hellos.filter_map(|hello| Some((hello.number("Epoch")?, hello.text("Instance").to_owned()))).collect()
    })
}

#[tokio::test]
async fn a_second_tracker_ends_with_code_5_and_the_first_does_not_notice() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 1, &["--copies", "1"]).await;
    let before = trackers(&recorder);
    assert_eq!(before.len(), 1);

    let mut second = service.site.tracker("second", &[]);
    assert_eq!(second.exit_code().await, Some(5));
    let (_, instance) = before.first().unwrap();
    for named in ["another tracker is online", instance, "--takeover", "--standby"] {
        assert!(second.output().contains(named), "{named}: {}", second.output());
    }

    let digest = service.tracker.client.put("after.bin", Cursor::new(content(7, 1000))).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    assert_eq!(trackers(&recorder), before);
    let connections = connections(&broker.log());
    assert_eq!((connections["tracker"], connections["t1"]), (1, 1));
    let registrations = recorder.count(|record| record.is("ClientRegistered"));
    assert_eq!(registrations, 1, "nobody had to join again");
    recorder.look(|heard| heard.assert_all_valid());
}

/// A session of somebody who may write wherever the tracker does.
async fn meddler(broker: &Mosquitto) -> (Session, UnboundedReceiver<Message>) {
    Session::open(broker.address(), "meddler", &[], None).await
}

#[tokio::test]
async fn a_second_tracker_ends_with_code_5_where_the_broker_has_kept_nothing_that_tells_of_the_first() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 1, &["--copies", "1"]).await;
    let (mut meddler, _inbox) = meddler(&broker).await;
    // An empty payload is how a retained message is deleted.
    meddler.publish("tracker/hello", "", true).await;
    meddler.all_acknowledged().await;

    let mut second = service.site.tracker("second", &[]);
    assert_eq!(second.exit_code().await, Some(5), "{}", second.output());
    assert!(second.output().contains("another tracker is online"), "{}", second.output());
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    assert_eq!(trackers(&recorder).len(), 1);
    assert_eq!(connections(&broker.log())["tracker"], 1);
}

#[tokio::test]
async fn a_hello_of_its_own_that_a_broker_has_kept_for_long_keeps_no_tracker_away() {
    needs_mosquitto!();
    let (broker, _recorder, site) = recorded_site().await;
    let (_listener, mut inbox) =
        Session::open(broker.address(), "listener", &["tracker/hello".to_owned()], None).await;
    let mut hellos = Vec::new();
    for _ in 0..3 {
        let mut tracker = Server::of(site.tracker("tracker", &[])).await;
        hellos.push(inbox.recv().await.unwrap());
        tracker.daemon.stop().await;
    }
    // As a node of a cluster that comes back with what it knew before it died.
    let (mut meddler, _inbox) = meddler(&broker).await;
    meddler.publish("tracker/hello", hellos[0].payload.clone(), true).await;
    meddler.all_acknowledged().await;
    let mut tracker = Server::of(site.tracker("tracker", &[])).await;
    tracker.daemon.says("online").await;
    let mut second = site.tracker("second", &[]);
    assert_eq!(second.exit_code().await, Some(5), "{}", second.output());
}

#[tokio::test]
async fn a_tracker_that_takes_over_ends_the_first_with_code_5_and_learns_what_the_torrents_have() {
    needs_mosquitto!();
    let (broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 1, &["--copies", "1", "--fragment-size", "4096"]).await;
    let bytes = content(8, 50_000);
    let digest = service.tracker.client.put("kept.bin", Cursor::new(bytes)).await;
    service.tracker.client.counts_copies(&digest, 1).await;

    let arguments = ["--takeover", "--copies", "1", "--fragment-size", "4096"];
    let second = Server::of(service.site.tracker("second", &arguments)).await;
    assert_eq!(service.tracker.daemon.exit_code().await, Some(5));
    assert!(service.tracker.daemon.output().contains("another tracker"), "it says why");
    second.client.counts_torrents(1).await;
    second.client.gives_back(&digest, 50_000).await;
    agree(&[second.client.clone(), service.torrents[0].client.clone()]).await;

    assert_eq!(connections(&broker.log())["tracker"], 2, "nobody fights for the place");
    let epochs: Vec<i64> = trackers(&recorder).into_iter().map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs, [1, 2]);
    recorder.look(|heard| heard.assert_all_valid());
}

/// A tracker stands by until the first one goes; then it is the tracker.
async fn stands_by(first_goes: impl AsyncFnOnce(&mut Server)) {
    let (_broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 1, &["--copies", "1"]).await;
    let mut second = Server::of(service.site.tracker("second", &["--standby", "--copies", "1"])).await;
    second.daemon.says("standing by").await;
    let http = second.daemon.http().await;
    let why_not = "not ready: another tracker is online; standing by\n";
    until("it says why it is not ready", async || get(&http, "/readyz").await.text() == why_not).await;
    // Whom a user names first does not matter.
    let before = service.tracker.client.put("before.bin", Cursor::new(content(8, 1000))).await;
    let mut both = Vec::new();
    for tracker in [&mut second, &mut service.tracker] {
        both.push(format!("grpc://{}", tracker.daemon.endpoint().await).parse::<EndpointUri>().unwrap());
    }
    let cluster = Cluster::connect(both.clone()).await.unwrap();
    assert_eq!(cluster.servers().await.unwrap().len(), 1);
    assert_eq!(cluster.tracker().await.unwrap().0, both[1]);
    assert_eq!(cluster.endpoints()[0], both[1]);
    cluster.file(&before.parse().unwrap()).await.unwrap();
    assert!(service.tracker.daemon.is_running());
    assert_eq!(trackers(&recorder).len(), 1);

    first_goes(&mut service.tracker).await;
    second.client.counts_torrents(1).await;
    let digest = second.client.put("after.bin", Cursor::new(content(9, 1000))).await;
    second.client.counts_copies(&digest, 1).await;
    let epochs: Vec<i64> = trackers(&recorder).into_iter().map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs, [1, 2]);
    recorder.look(|heard| heard.assert_all_valid());
}

#[tokio::test]
async fn a_tracker_on_standby_takes_over_after_a_goodbye() {
    needs_mosquitto!();
    stands_by(async |first| first.daemon.stop().await).await;
}

#[tokio::test]
async fn a_tracker_on_standby_takes_over_after_a_crash() {
    needs_mosquitto!();
    stands_by(async |first| first.daemon.kill()).await;
}

#[tokio::test]
async fn a_tracker_on_standby_that_reaches_a_restarted_broker_first_waits_for_the_other_one() {
    needs_mosquitto!();
    for keeps in [false, true] {
        let mut broker = if keeps { Mosquitto::start_with_memory() } else { Mosquitto::start() };
        let mut first = Server::of(Site::new(broker.url()).tracker("first", &["--copies", "1"])).await;
        first.daemon.says("epoch=1").await;
        let mut second =
            Server::of(Site::new(broker.url()).tracker("second", &["--standby", "--copies", "1"])).await;
        second.daemon.says("another tracker is online; standing by").await;

        first.daemon.pause();
        // A broker that is asked to end publishes the Last Wills first: one that keeps its state then tells of a goodbye.
        broker.stop();
        broker.restart();
        second.daemon.says("may be on its way back; standing by").await;
        first.daemon.resume();
        first.daemon.says("epoch=2").await;
        // It may have heard of that goodbye and begun to take over, before there was no broker: what counts is that it is not in charge.
        assert_eq!(second.daemon.count_in_output("epoch="), 0, "{}", second.daemon.output());
        assert!(first.daemon.is_running(), "{}", first.daemon.output());

        first.daemon.stop().await;
        second.daemon.says("epoch=3").await;
    }
}
