//! `mds events`: each change a line.

use mds_tests::needs_mosquitto;
use serde_json::Value;

use crate::content::digest;
use crate::kit::{Network, Running};

impl Running {
    /// The next event of this kind.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line().await).unwrap();
            if event["kind"] == kind {
                return event;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_they_happen_and_by_another_daemon_if_one_ends() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let old = network.put(&network.write("old", b"old")).await;
    let mut events = Running::start(network.mds().args(["events", "--state", "--json"]));
    let begun = events.event("snapshot_begun").await;
    assert_eq!((&begun["time"], &begun["id"]), (&Value::Null, &Value::Null));
    let present = events.event("file_present").await;
    assert_eq!((&present["id"], &present["file"]["name"]), (&old.into(), &"old".into()));
    events.event("snapshot_ended").await;

    network.put(&network.write("new", b"new")).await;
    let published = events.event("file_published").await;
    assert_eq!(published["id"], digest(b"new"));
    assert!(published["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{published}");
    network.mds().args(["rm", "new"]).run().await.succeeded();
    let removed = events.event("file_removed").await;
    assert_eq!((&removed["id"], removed.get("file")), (&digest(b"new").into(), None));
    network.torrents[1].stop().await;
    assert_eq!(events.event("server_unregistered").await["id"], "t2");

    network.tracker.kill();
    events.event("snapshot_ended").await;
    assert_eq!(events.interrupt().await.0, Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_line_for_each_change() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let mut events = Running::start(network.mds().args(["events", "--state"]));
    let line = events.line().await;
    assert!(line.contains("  server present       t1  registered, 0 fragments, 0 B"), "{line}");
    network.mds().args(["put", "-", "--name", "map"]).input(b"map".to_vec()).run().await.succeeded();
    let line = loop {
        let line = events.line().await;
        if line.contains(" file ") {
            break line;
        }
    };
    assert!(line.contains(&digest(b"map")) && line.ends_with("  map"), "{line}");
    events.interrupt().await;
}
