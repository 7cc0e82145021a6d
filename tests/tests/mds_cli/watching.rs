//! `mds watch`: what settles in a directory is put, once.

use mds_tests::client::Client;
use mds_tests::needs_mosquitto;
use mds_tests::wait::until;
use serde_json::Value;
use std::fs;

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Mds, Network, Running};

impl Network {
    /// A watch of the directory `maps` that does not wait long.
    fn watch(&self, arguments: &[&str]) -> Running {
        let watch = self.mds().args(["watch", "maps", "--settle", "100ms", "--rescan", "1h"]);
        Running::start(watch.args(arguments))
    }

    /// How files are called in the network, in alphabetic order.
    async fn names(&self) -> Vec<String> {
        let listed: Value = self.mds().args(["ls", "--json"]).run().await.json();
        let files = listed.as_array().unwrap().iter();
        let mut names: Vec<String> = files.map(|file| file["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_settles_in_a_directory_is_put_once() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let before = bytes(FRAGMENT_BYTES + 1, 1);
    network.write("maps/before", &before);
    for left_out in [".hidden", "download.part", ".git/config"] {
        network.write(&format!("maps/{left_out}"), b"not this one");
    }
    let mut watch = network.watch(&[]);
    assert_eq!(watch.line().await, format!("{}  maps/before", digest(&before)));
    network.write("maps/new/one", b"one");
    assert_eq!(watch.line().await, format!("{}  maps/new/one", digest(b"one")));
    // What is moved, touched or deleted changes nothing; what is written anew is another file.
    fs::rename(network.path("maps/new"), network.path("maps/old")).unwrap();
    network.write("maps/before", &before);
    fs::remove_file(network.path("maps/old/one")).unwrap();
    network.write("maps/another", b"two");
    assert_eq!(watch.line().await, format!("{}  maps/another", digest(b"two")));
    let remembered = || fs::read_to_string(network.path("maps/.mds-watch")).unwrap();
    let is_seen = async || remembered().matches("\"maps/before\"").count() == 2;
    until("it has seen that what was touched is the same", is_seen).await;
    assert_eq!(watch.interrupt().await, (Some(0), vec![]));
    assert_eq!(network.names().await, ["maps/another", "maps/before", "maps/new/one"]);

    // The next watch knows what the first has put.
    network.write("maps/third", b"three");
    let mut watch = network.watch(&["--json"]);
    let put: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!((&put["digest"], &put["name"]), (&digest(b"three").into(), &"maps/third".into()));
    assert!(put["path"].as_str().unwrap().ends_with("/maps/third"), "{put}");
    // Unless it was deleted from the network: what comes again then is put again.
    network.mds().args(["rm", "maps/third"]).run().await.succeeded();
    network.write("maps/once-more", b"three");
    let put: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!((&put["digest"], &put["name"]), (&digest(b"three").into(), &"maps/once-more".into()));
    assert_eq!(watch.interrupt().await, (Some(0), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_tracker_is_away_what_settles_waits_for_it() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    fs::create_dir(network.path("maps")).unwrap();
    let torrent = network.torrents[0].endpoint().await;
    let endpoints = format!("{},{torrent}", network.endpoint);
    let mut watch = network.watch(&["--endpoint", &endpoints]);
    network.write("maps/one", b"one");
    assert_eq!(watch.line().await, format!("{}  maps/one", digest(b"one")));

    network.tracker.kill();
    network.write("maps/two", b"two");
    let complaint = watch.complains("tried again in").await;
    assert!(complaint.contains("maps/two"), "{complaint}");
    network.restart_tracker();
    assert_eq!(watch.line().await, format!("{}  maps/two", digest(b"two")));

    network.tracker.kill();
    network.write("maps/three", b"three");
    watch.complains("maps/three").await;
    let (code, put) = watch.interrupt().await;
    assert_eq!((code, put), (Some(130), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_taken_is_told_once_and_holds_up_no_other() {
    needs_mosquitto!();
    let network = Network::start_with(2, &["--max-event-bytes", "120000"]).await;
    // Its description has more fragments than fit into an event.
    network.write("maps/large", &bytes(600 * FRAGMENT_BYTES, 1));
    let mut watch = network.watch(&[]);
    let complaint = watch.complains("maps/large").await;
    assert!(complaint.ends_with("left out until it changes"), "{complaint}");
    network.write("maps/small", b"small");
    assert_eq!(watch.line().await, format!("{}  maps/small", digest(b"small")));
    network.write("maps/large", b"no longer");
    assert_eq!(watch.line().await, format!("{}  maps/large", digest(b"no longer")));
    assert_eq!(watch.interrupt().await, (Some(0), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_is_tried_again_while_others_go_on() {
    needs_mosquitto!();
    let network = Network::start(0).await;
    let torrent = network.site.torrent("t1", &["--capacity", "1000000"]);
    Client::of(&network.endpoint).counts_torrents(1).await;
    network.write("maps/large", &bytes(1_000_001, 1));
    let mut watch = network.watch(&[]);
    let complaint = watch.complains("maps/large").await;
    assert!(complaint.contains("do not fit") && complaint.contains("tried again in"), "{complaint}");
    network.write("maps/small", b"small");
    assert_eq!(watch.line().await, format!("{}  maps/small", digest(b"small")));
    watch.complains("tried again in").await;
    assert_eq!(watch.interrupt().await, (Some(130), vec![]));
    drop(torrent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_watched_is_told_at_once() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    network.write("file", b"x");
    let watch = |path: &str| network.mds().args(["watch", path, "--json"]).run();
    assert_eq!(watch("file").await.failed(2), "NOT_A_DIRECTORY");
    assert_eq!(watch("nothing").await.failed(1), "IO");
    fs::create_dir(network.path("maps")).unwrap();
    let first = network.watch(&[]);
    until("it watches", async || network.path("maps/.mds-watch").exists()).await;
    assert_eq!(watch("maps").await.failed(1), "BUSY");
    first.interrupt().await;
    let nobody =
        Mds::new(network.directory.path()).args(["watch", "maps", "--json", "--endpoint", "127.0.0.1:1"]);
    assert_eq!(nobody.run().await.failed(4), "UNREACHABLE");
}
