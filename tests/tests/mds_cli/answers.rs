//! What the tool answers: tables, JSON, exit codes.

use mds_tests::needs_mosquitto;
use serde_json::{Value, json};

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Mds, Network};

/// The fields of an object.
fn fields(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_described_as_the_contract_says() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let content = bytes(FRAGMENT_BYTES + 1, 1);
    let path = network.write("map", &content);
    let put = network.mds().args(["put", "--json", "--wait", "2"]).arg(&path).run().await.json();
    let file = digest(&content);
    let known = json!({
        "digest": file, "size_bytes": content.len(), "name": "map", "state": "healthy", "copies": 2, "target_copies": 2,
        "fragment_count": 2,
    });
    let mut with_stored_name = known.clone();
    with_stored_name["stored_name"] = "map".into();
    assert_eq!(put, json!([with_stored_name]));
    assert_eq!(network.mds().args(["ls", "ma", "--json"]).run().await.json(), json!([known]));
    assert_eq!(network.mds().args(["ls", "nothing", "--json"]).run().await.json(), json!([]));

    let info = network.mds().args(["info", &format!("sha256:{file}"), "--json"]).run().await;
    let fragment = |from: usize, to: usize| json!({"digest": digest(&content[from..to]), "size_bytes": to - from, "offset_bytes": from, "holders": ["t1", "t2"]});
    let mut described = info.json();
    let mut fragments = described.as_object_mut().unwrap().remove("fragments").unwrap();
    for fragment in fragments.as_array_mut().unwrap() {
        fragment["holders"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    assert_eq!(described, known);
    assert_eq!(fragments, json!([fragment(0, FRAGMENT_BYTES), fragment(FRAGMENT_BYTES, FRAGMENT_BYTES + 1)]));

    let got = network.mds().args(["get", "map", "-o", "copy", "--json"]).run().await.json();
    assert_eq!((&got["digest"], &got["path"]), (&json!(file), &json!("copy")));

    // Another daemon says the same.
    let endpoint = network.torrents[0].endpoint().await;
    let there =
        Mds::new(network.directory.path()).args(["ls", "--json", "--endpoint", &endpoint]).run().await;
    assert_eq!(there.json(), json!([known]));
}

#[tokio::test(flavor = "multi_thread")]
async fn torrents_and_the_whole_are_described_as_the_contract_says() {
    needs_mosquitto!();
    let network = Network::start(3).await;
    network.put(&network.write("map", &bytes(8 * FRAGMENT_BYTES, 1))).await;
    let peers = network.mds().args(["peers", "--json"]).run().await.json();
    let expected = [
        "capacity_bytes",
        "draining",
        "endpoints",
        "fragments",
        "id",
        "last_seen",
        "state",
        "used_bytes",
        "zone",
    ];
    let peers = peers.as_array().unwrap();
    assert_eq!(peers.len(), 3);
    for peer in peers {
        let mut found = fields(peer);
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(peer["state"], "registered");
    }
    let held: u64 = peers.iter().filter_map(|peer| peer["fragments"].as_u64()).sum();
    assert_eq!(held, 16);
    let holders = network.mds().args(["peers", "map", "--json"]).run().await.json();
    let held: u64 =
        holders.as_array().unwrap().iter().filter_map(|peer| peer["file_fragments"].as_u64()).sum();
    assert_eq!(held, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_is_the_exit_code() {
    needs_mosquitto!();
    let mut network = Network::start(3).await;
    network.put(&network.write("map", &bytes(40 * FRAGMENT_BYTES, 1))).await;
    let status = network.mds().arg("status").run().await;
    assert!(status.succeeded().starts_with("ok"), "{status:?}");

    // Of so many fragments some had both copies on the two that go now.
    let left = network.torrents[0].endpoint().await;
    network.torrents[1].kill();
    network.torrents[2].kill();
    for (endpoint, verdict, code) in [(&network.endpoint, "degraded", 1), (&left, "unavailable", 2)] {
        mds_tests::wait::until(verdict, async || {
            let status = network.mds().args(["status", "--json", "--endpoint", endpoint]).run().await;
            let view: Value = serde_json::from_slice(&status.stdout).unwrap();
            status.code == Some(code) && view["verdict"] == verdict
        })
        .await;
    }
    network.tracker.kill();
    let got = network.mds().args(["get", "map", "-o", "copy", "--endpoint", &left, "--json"]).run().await;
    assert_eq!(got.failed(4), "NO_REACHABLE_HOLDER");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_its_exit_code() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let mds = |arguments: &[&str]| network.mds().args(arguments).arg("--json").run();
    let unknown = digest(b"nobody has put this");
    assert_eq!(mds(&["get", &unknown]).await.failed(3), "FILE_NOT_FOUND");
    assert_eq!(mds(&["info", "no such name"]).await.failed(3), "FILE_NOT_FOUND");
    assert_eq!(mds(&["get"]).await.failed(2), "USAGE");
    assert_eq!(mds(&["info", "sha256:dead"]).await.failed(2), "INVALID_REF");
    assert_eq!(mds(&["gte", "x"]).await.failed(2), "USAGE");
    assert_eq!(mds(&["ls", "--endpoint", "nonsense"]).await.failed(2), "INVALID_ENDPOINT");
    // Nobody listens on port 1.
    assert_eq!(mds(&["status", "--endpoint", "127.0.0.1:1"]).await.failed(4), "UNREACHABLE");
    network.write("map", &bytes(10, 1));
    assert_eq!(mds(&["put", "map", "--wait", "3"]).await.failed(2), "TOO_MANY_COPIES");
    assert_eq!(mds(&["put", "map", "--wait", "2", "--timeout", "300ms"]).await.failed(5), "COPIES_MISSING");
    // It is in the network all the same.
    assert_eq!(mds(&["get", "map", "-o", "copy"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_copies_are_those_that_the_network_makes() {
    needs_mosquitto!();
    // Two copies on three torrents.
    let network = Network::start(3).await;
    network.write("map", &bytes(5 * FRAGMENT_BYTES, 1));
    let put = network.mds().args(["put", "map", "--wait", "all", "--json"]).run().await.json();
    assert_eq!(put[0]["copies"], 2);
    let put = network.mds().args(["put", "map", "--wait", "3", "--json"]).run().await;
    assert_eq!(put.failed(2), "TOO_MANY_COPIES");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_a_prefix_must_be_unique() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let mut digests = Vec::new();
    for seed in 1..=2 {
        let put = network.mds().args(["put", "-", "--name", "twice"]).input(bytes(10, seed)).run().await;
        digests.push(put.succeeded()[..64].to_owned());
    }
    let info = network.mds().args(["info", "twice", "--json"]).run().await;
    assert_eq!(info.failed(2), "AMBIGUOUS_REF");
    for digest in &digests {
        assert!(info.stderr.contains(digest), "{}", info.stderr);
        let info = network.mds().args(["stat", &digest[..9].to_uppercase(), "--json"]).run().await;
        assert_eq!(info.json()["digest"], *digest);
        let info = network.mds().args(["info", &digest[..7]]).run().await;
        assert!(info.code == Some(3) && info.stderr.contains("needs 8 digits or more"), "{}", info.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_one_daemon_does_not_know_a_file_is_not_believed_whatever_it_is_called_by() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let put = network.mds().args(["put", "-", "--name", "map"]).input(bytes(10, 1)).run().await;
    let digest = &put.succeeded()[..64];
    // One of another network knows nothing.
    let ignorant = Network::start(0).await;
    let endpoints = format!("{},{}", ignorant.endpoint, network.endpoint);
    for reference in ["map", &digest[..10], digest] {
        let info = network.mds().args(["info", reference, "--json", "--endpoint", &endpoints]).run().await;
        assert_eq!(info.json()["name"], "map", "{reference}");
    }
    let info = network.mds().args(["info", "mop", "--json", "--endpoint", &endpoints]).run().await;
    assert_eq!(info.failed(3), "FILE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_tables_and_plain_words() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let file = network.put(&network.write("map", &bytes(3 * FRAGMENT_BYTES, 1))).await;
    let listed = network.mds().arg("ls").run().await;
    let expected =
        format!("DIGEST{:60}SIZE       STATE    COPIES  NAME\n{file}  192.0 KiB  healthy  2/2     map\n", "");
    assert_eq!(listed.succeeded(), expected);
    let info = network.mds().args(["info", "map"]).run().await;
    assert!(info.succeeded().contains("███  3 fragments  grpc://"), "{info:?}");
    let peers = network.mds().arg("peers").run().await;
    assert!(
        peers.succeeded().lines().nth(1).is_some_and(|line| line.starts_with("t1  registered")),
        "{peers:?}"
    );
    let failed = network.mds().args(["get", "nothing-of-the-kind"]).run().await;
    assert_eq!(failed.code, Some(3));
    assert!(
        failed.stderr.starts_with("mds: no file is called") && failed.stderr.lines().count() == 1,
        "{failed:?}"
    );
}
