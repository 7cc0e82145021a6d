//! The access list of `docs/protocol.md`: with it a broker sees to it that nobody speaks for another.

use std::fs;
use std::io::Cursor;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use mds_tests::client::agree;
use mds_tests::daemons::Site;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::mqtt::Session;
use mds_tests::needs_mosquitto;
use mds_tests::recorder::Recorder;
use tempfile::TempDir;

use crate::support::{Server, content};

/// The list as the page gives it.
fn documented_list() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")).unwrap();
    let blocks = page.split("```").skip(1).step_by(2);
    let list = blocks.map(str::trim_start).find(|block| block.starts_with("user tracker\n"));
    list.expect("docs/protocol.md has an access list for Mosquitto").to_owned()
}

/// A broker with that list. Every user's password is the user's name; `auditor` may read everything.
fn guarded_broker(directory: &Path) -> Mosquitto {
    let (list, passwords) = (directory.join("acl"), directory.join("passwords"));
    fs::write(&list, documented_list() + "\nuser auditor\ntopic read #\n").unwrap();
    fs::write(&passwords, "tracker:tracker\nt1:t1\nt2:t2\nauditor:auditor\n").unwrap();
    let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status();
    assert!(hashed.expect("the package mosquitto of Debian holds mosquitto_passwd").success());
    Mosquitto::start_with(&format!(
        "allow_anonymous false\nacl_file {}\npassword_file {}\n",
        list.display(),
        passwords.display()
    ))
}

fn url(broker: SocketAddr, user: &str) -> String {
    format!("mqtt://{user}:{user}@{broker}")
}

#[tokio::test]
async fn under_the_documented_access_list_everything_works_and_nobody_speaks_for_another() {
    needs_mosquitto!();
    let directory = TempDir::new().unwrap();
    let broker = guarded_broker(directory.path());
    let address = broker.address();
    let recorder = Recorder::start_as(address, "auditor").await;
    let of_tracker = Site::new(url(address, "tracker"));
    let arguments = ["--copies", "2", "--fragment-size", "4096", "--require-direct"];
    let tracker = Server::of(of_tracker.tracker("tracker", &arguments)).await;
    let (site_1, site_2) = (Site::new(url(address, "t1")), Site::new(url(address, "t2")));
    let mut one = Server::of(site_1.torrent("t1", &[])).await;
    let two = Server::of(site_2.torrent("t2", &[])).await;
    tracker.client.counts_torrents(2).await;

    let digest = tracker.client.put("guarded.bin", Cursor::new(content(19, 50_000))).await;
    tracker.client.counts_copies(&digest, 2).await;
    let clients = [tracker.client.clone(), one.client.clone(), two.client.clone()];
    agree(&clients).await;
    two.client.gives_back(&digest, 50_000).await;

    // With the rights of t2, somebody says t1's goodbye wherever one could.
    let (mut thief, _inbox) = Session::open_as(address, "thief", Some("t2"), &[], None).await;
    let goodbye =
        r#"{"EventId":"5b0c6f1e-8a94-4c3b-9d7e-2f4a1b3c0009","ClientIdentifier":"t1","Reason":"Leaving"}"#;
    for topic in ["clients/goodbye", "clients/goodbye/t1", "clients/goodbye/t2"] {
        thief.publish(topic, goodbye, false).await;
    }
    thief.all_acknowledged().await;
    // What the broker lets through of it is heard, and not believed.
    recorder.hears("a lie", 1, |record| record.is("ClientGoodbye") && record.client() == "t1").await;
    let digest = tracker.client.put("after.bin", Cursor::new(content(20, 5_000))).await;
    tracker.client.counts_copies(&digest, 2).await;
    tracker.client.counts_torrents(2).await;

    // Its own goodbye gets through, on its own topic.
    one.daemon.stop().await;
    recorder.hears_of("ClientUnregistered", "t1").await;
    tracker.client.counts_torrents(1).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        let by_torrents =
            heard.events.iter().filter(|record| record.event.topic.starts_with("clients/join/"));
        by_torrents.for_each(|record| assert!(record.direct.is_some(), "{record:?}"));
        let gone = heard.events.iter().filter(|record| record.is("ClientUnregistered"));
        assert_eq!(gone.count(), 1);
        let goodbyes = heard.events.iter().filter(|record| record.is("ClientGoodbye"));
        let topics: Vec<_> = goodbyes.map(|goodbye| (goodbye.client(), goodbye.direct.as_deref())).collect();
        assert_eq!(topics, [("t1", Some("t2")), ("t1", Some("t1"))], "the shared topic is closed to all");
    });
}
