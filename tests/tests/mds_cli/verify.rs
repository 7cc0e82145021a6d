//! `mds verify`: damage is found, named and got over.

use mds_tests::needs_mosquitto;
use mds_tests::wait::until;
use serde_json::Value;

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Network, Ran};

/// The JSON answer that came with this exit code.
#[track_caller]
fn answer(ran: &Ran, code: i32) -> Value {
    assert_eq!(ran.code, Some(code), "{} {}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn server<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let servers = answer["servers"].as_array().unwrap();
    servers.iter().find(|server| server["id"] == id).unwrap_or_else(|| panic!("no {id}: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_where_it_is_and_costs_no_file() {
    needs_mosquitto!();
    let mut network = Network::start(3).await;
    let content = bytes(9 * FRAGMENT_BYTES + 7, 41);
    let file = network.put(&network.write("map", &content)).await;
    let other = network.put(&network.write("other", &bytes(3 * FRAGMENT_BYTES, 42))).await;
    let all = answer(&network.mds().args(["verify", "--json"]).run().await, 0);
    assert_eq!(all["verdict"], "ok");
    let servers = all["servers"].as_array().unwrap();
    let ids: Vec<&str> = servers.iter().map(|server| server["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["t1", "t2", "t3", "tracker"]);
    let of_torrents: u64 = servers[..3].iter().map(|server| server["fragments"].as_u64().unwrap()).sum();
    assert_eq!(of_torrents, 2 * 13);

    // A fragment in the middle, on its first holder.
    let info = network.mds().args(["info", "--json", "map"]).run().await.json();
    let bad = info["fragments"][4]["digest"].as_str().unwrap().to_owned();
    let holder = info["fragments"][4]["holders"][0].as_str().unwrap().to_owned();
    network.site.flip_a_bit(&holder, &content[4 * FRAGMENT_BYTES..5 * FRAGMENT_BYTES]);
    let sound = answer(&network.mds().args(["verify", "--json", &other]).run().await, 0);
    assert_eq!(server(&sound, &holder)["damaged"], serde_json::json!([]), "it is of another file");
    let found = answer(&network.mds().args(["verify", "--json", "map"]).run().await, 1);
    assert_eq!(found["verdict"], "damaged");
    for id in ["t1", "t2", "t3", "tracker"] {
        let expected = if id == holder { vec![bad.clone()] } else { vec![] };
        assert_eq!(server(&found, id)["damaged"], serde_json::json!(expected), "{id}");
    }
    // Nobody counts on that copy, and another is made.
    until("the damage is over", async || {
        let given_up = network.torrents.iter().filter(|torrent| torrent.count_in_output("are given up") > 0);
        let status = network.mds().arg("status").run().await;
        given_up.count() == 1 && status.code == Some(0)
    })
    .await;
    assert_eq!(answer(&network.mds().args(["verify", "--json"]).run().await, 0)["verdict"], "ok");
    let got = network.mds().args(["get", &file, "-o", "-"]).run().await;
    assert_eq!(digest(&got.stdout), file, "{}", got.stderr);

    // Damage that somebody meets who reads is as little served.
    let info = network.mds().args(["info", "--json", "map"]).run().await.json();
    let holder = info["fragments"][6]["holders"][1].as_str().unwrap().to_owned();
    network.site.flip_a_bit(&holder, &content[6 * FRAGMENT_BYTES..7 * FRAGMENT_BYTES]);
    let got = network.mds().args(["get", &file, "-o", "-"]).run().await;
    assert_eq!(digest(&got.stdout), file, "{}", got.stderr);
    for torrent in &mut network.torrents {
        assert!(torrent.is_running());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_a_line_for_each_damaged_copy_and_a_verdict() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(2 * FRAGMENT_BYTES, 43);
    network.put(&network.write("map", &content)).await;
    let said = network.mds().arg("verify").run().await;
    let verdict = said.succeeded();
    assert!(verdict.starts_with("ok: ") && verdict.contains("verified on 3 daemons"), "{verdict}");
    network.site.flip_a_bit("t2", &content[FRAGMENT_BYTES..]);
    let found = network.mds().arg("verify").run().await;
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let lines = String::from_utf8(found.stdout).unwrap();
    let damaged = format!("damaged   {}  t2", digest(&content[FRAGMENT_BYTES..]));
    assert_eq!(lines.lines().next(), Some(damaged.as_str()));
    assert!(lines.lines().last().unwrap().contains("the tracker repairs it"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_is_named_and_a_file_that_nobody_knows_is_not_found() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    network.put(&network.write("map", &bytes(FRAGMENT_BYTES, 44))).await;
    let unknown = "0".repeat(64);
    let failed = network.mds().args(["verify", "--json", &unknown]).run().await;
    assert_eq!(failed.failed(3), "FILE_NOT_FOUND");
    let endpoint = network.endpoint.clone();
    network.torrents[1].kill();
    let answered = network.mds().args(["verify", "--json", "--endpoint", &endpoint]).run().await;
    let answer = answer(&answered, 4);
    assert_eq!(answer["verdict"], "unreachable");
    assert!(server(&answer, "t2")["error"].is_string() && server(&answer, "t1")["error"].is_null());
}
