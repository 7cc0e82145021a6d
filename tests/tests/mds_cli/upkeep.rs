//! What keeps files safe, and ends them: repair, deletion, emptied torrents.

use mds_tests::needs_mosquitto;
use mds_tests::wait::until;
use serde_json::{Value, json};

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Network};

const FRAGMENTS: usize = 24;

impl Network {
    /// Whether each fragment of the file has exactly two of these holders.
    async fn is_held_by(&self, file: &str, holders: &[&str]) -> bool {
        let info = self.mds().args(["info", file, "--json"]).run().await.json();
        let fragments = info["fragments"].as_array().unwrap();
        fragments.iter().all(|fragment| {
            let held = fragment["holders"].as_array().unwrap();
            held.len() == 2 && held.iter().all(|id| holders.contains(&id.as_str().unwrap()))
        })
    }

    async fn peer(&self, id: &str) -> Value {
        let peers = self.mds().args(["peers", "--json"]).run().await.json();
        peers.as_array().unwrap().iter().find(|peer| peer["id"] == id).cloned().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copies_of_a_torrent_that_is_killed_are_made_again() {
    needs_mosquitto!();
    let mut network = Network::start_with(3, &["--repair-after", "1s"]).await;
    let content = bytes(FRAGMENTS * FRAGMENT_BYTES, 1);
    let file = network.put(&network.write("map", &content)).await;
    network.torrents[0].kill();
    until("t1 is suspect at once", async || network.peer("t1").await["state"] != "registered").await;
    until("two copies without t1", async || network.is_held_by(&file, &["t2", "t3"]).await).await;
    until("all is well", async || network.mds().arg("status").run().await.code == Some(0)).await;
    network.tracker.kill();
    network.torrents[1].kill();
    let left = network.torrents[2].endpoint().await;
    let got = network.mds().args(["get", &file, "-o", "copy", "--endpoint", &left]).run().await;
    got.succeeded();
    assert_eq!(digest(&std::fs::read(network.path("copy")).unwrap()), file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deleted_everywhere_and_does_not_come_back() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let content = bytes(FRAGMENTS * FRAGMENT_BYTES, 2);
    let file = network.put(&network.write("old", &content)).await;
    let kept = network.put(&network.write("kept", &content[..FRAGMENT_BYTES])).await;
    network.torrents[1].stop().await;
    let removed = network.mds().args(["rm", "old"]).run().await;
    assert_eq!(removed.succeeded(), format!("{file}  old\n"));
    let left: Vec<Value> =
        network.mds().args(["ls", "--json"]).run().await.json().as_array().unwrap().clone();
    assert_eq!(left.iter().map(|file| file["digest"].as_str().unwrap()).collect::<Vec<_>>(), [&kept]);
    until("t1 deletes it", async || network.peer("t1").await["fragments"] == 1).await;

    let again = network.mds().args(["rm", &file, "--json"]).run().await;
    assert_eq!(again.failed(3), "FILE_NOT_FOUND");
    let another = network.write("another", b"short");
    network.mds().arg("put").arg(&another).run().await.succeeded();
    network.restart_torrent(1);
    until("t2 is back", async || network.peer("t2").await["state"] == "registered").await;
    until("t2 deletes it", async || network.peer("t2").await["fragments"].as_u64() <= Some(2)).await;
    assert_eq!(network.mds().args(["ls", "--json"]).run().await.json().as_array().unwrap().len(), 2);

    let some = network.mds().args(["rm", "another", "nothing", "nobody", "--json"]).run().await;
    assert_eq!(some.failed(7), "PARTLY_DONE");
    assert!(some.stderr.contains("nothing") && some.stderr.contains("nobody"), "{}", some.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_that_was_emptied_can_go_and_nothing_lacks_a_copy() {
    needs_mosquitto!();
    let mut network = Network::start(3).await;
    let content = bytes(FRAGMENTS * FRAGMENT_BYTES, 3);
    let file = network.put(&network.write("map", &content)).await;
    let unknown = network.mds().args(["drain", "t9", "--json"]).run().await;
    assert_eq!(unknown.failed(3), "SERVER_NOT_FOUND");
    let drained = network.mds().args(["drain", "t1", "--json"]).run().await.json();
    assert_eq!(drained, json!({"id": "t1", "draining": true, "remaining_fragments": 0}));
    assert_eq!(network.peer("t1").await["draining"], true);
    network.torrents[0].stop().await;
    until("it has gone", async || network.peer("t1").await["state"] == "unregistered").await;
    assert!(network.is_held_by(&file, &["t2", "t3"]).await);
    assert_eq!(network.mds().arg("status").run().await.code, Some(0));
    let undone = network.mds().args(["drain", "--undo", "t1"]).run().await;
    assert_eq!(undone.succeeded(), "t1 is in service again\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_is_waited_for_on_a_torrent_that_is_to_go() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    network.mds().args(["drain", "t1"]).run().await.succeeded();
    network.write("map", &bytes(FRAGMENTS * FRAGMENT_BYTES, 4));
    let put = network.mds().args(["put", "map", "--wait", "all", "--json"]).run().await.json();
    assert_eq!(put[0]["copies"], 1);
}
