//! Put and get.

use mds_tests::needs_mosquitto;
use std::fs;
use std::os::unix::fs::FileExt;

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Mds, Network};

const F: usize = FRAGMENT_BYTES;

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_sizes_come_back_as_they_were() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let equal_fragments = bytes(F, 4).repeat(3);
    let contents = [
        ("empty", vec![]),
        ("one", vec![7]),
        ("exactly", bytes(F, 1)),
        ("and-one", bytes(F + 1, 2)),
        ("many", bytes(20 * F + 321, 3)),
        ("equal", equal_fragments),
    ];
    for (name, content) in contents {
        let path = network.write(name, &content);
        let put = network.mds().args(["put", "--wait", "2"]).arg(&path).run().await;
        assert_eq!(put.succeeded(), format!("{}  {name}\n", digest(&content)));
        let got = network.mds().args(["get", name, "-o", "copy", "-f"]).run().await;
        assert_eq!(got.succeeded(), format!("{}  copy\n", digest(&content)));
        assert!(fs::read(network.path("copy")).unwrap() == content, "{name}");
        assert!(!network.path("copy.part").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_twice_is_one_file() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let path = network.write("map", &bytes(3 * F + 1, 1));
    let first = network.put(&path).await;
    assert_eq!(network.put(&path).await, first);
    let listed = network.mds().args(["ls", "--json"]).run().await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_under_the_name_that_was_given_and_the_one_that_is_kept_is_told() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(F + 1, 1);
    network.put(&network.write("big", &content)).await;
    network.write("other", &content);
    let put = network.mds().args(["put", "other"]).run().await;
    assert_eq!(put.succeeded(), format!("{}  other\n", digest(&content)));
    assert!(put.stderr.lines().count() == 1 && put.stderr.contains("\"big\""), "{}", put.stderr);
    let put = network.mds().args(["put", "other", "--json"]).run().await.json();
    assert_eq!((&put[0]["name"], &put[0]["stored_name"]), (&"other".into(), &"big".into()));
    let put = network.mds().args(["put", "big"]).run().await;
    assert_eq!(put.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_a_torrent_and_the_tracker() {
    needs_mosquitto!();
    let mut network = Network::start(3).await;
    let content = bytes(30 * F + 5, 1);
    let file = network.put(&network.write("map", &content)).await;
    network.torrents[0].kill();
    let got = network.mds().args(["get", &file[..8], "-o", "with-tracker"]).run().await;
    assert!(got.code == Some(0) && fs::read(network.path("with-tracker")).unwrap() == content, "{got:?}");

    // Any daemon will do; the first that is named answers no more.
    let endpoint = network.torrents[1].endpoint().await;
    network.tracker.kill();
    let endpoints = format!("{},{endpoint}", network.endpoint);
    let got = network.mds().args(["get", &file, "-o", "without", "--endpoint", &endpoints]).run().await;
    assert!(got.code == Some(0) && fs::read(network.path("without")).unwrap() == content, "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_resumes_from_what_is_good_in_its_part() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(10 * F + 5, 1);
    let file = network.put(&network.write("map", &content)).await;
    // Six fragments are there, one of them damaged.
    let mut part = content[..6 * F].to_vec();
    part[F] ^= 1;
    network.write("copy.part", &part);
    let got = network.mds().args(["get", &file, "-o", "copy", "--json"]).run().await.json();
    assert_eq!(got["fetched_bytes"], 5 * F + 5, "{got}");
    assert!(fs::read(network.path("copy")).unwrap() == content);
    assert!(!network.path("copy.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten_without_being_told() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(100, 1);
    let file = network.put(&network.write("maps/map", &content)).await;
    network.write("map", b"precious");
    let got = network.mds().args(["get", &file, "--json"]).run().await;
    assert_eq!(got.failed(1), "EXISTS");
    assert_eq!(fs::read(network.path("map")).unwrap(), b"precious");
    // By default the last component of the name is the file's.
    assert_eq!(network.mds().args(["get", &file, "-f"]).run().await.code, Some(0));
    assert_eq!(fs::read(network.path("map")).unwrap(), content);
    let got = network.mds().args(["get", &file, "-o", "maps", "-f"]).run().await;
    assert_eq!(got.succeeded(), format!("{file}  maps/map\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_standard_output_take_part() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(25 * F + 9, 1);
    let put = network
        .mds()
        .args(["put", "-", "--name", "a/stream", "--wait", "all"])
        .input(content.clone())
        .run()
        .await;
    assert_eq!(put.succeeded(), format!("{}  a/stream\n", digest(&content)));
    let got = network.mds().args(["download", "a/stream", "-o", "-"]).run().await;
    assert!(got.code == Some(0) && got.stdout == content, "{}", got.stderr);
    let nameless = network.mds().args(["upload", "-"]).input(vec![1]).run().await;
    assert_eq!(nameless.succeeded(), format!("{}  -\n", digest(&[1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_just_that() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(4 * F, 1);
    let file = network.put(&network.write("map", &content)).await;
    for (offset, length) in [(0, 1), (F - 1, 2), (F, F), (100, 3 * F), (4 * F, 0)] {
        let range = format!("{offset}+{length}");
        let wanted = &content[offset..offset + length];
        let got = network.mds().args(["get", &file, "-o", "-", "--range", &range]).run().await;
        assert!(got.code == Some(0) && got.stdout == wanted, "{range}: {}", got.stderr);
        let got = network.mds().args(["get", &file, "-f", "-o", "part-of-it", "--range", &range]).run().await;
        assert!(got.code == Some(0) && fs::read(network.path("part-of-it")).unwrap() == wanted, "{range}");
    }
    let past_the_end = format!("{F}+{}", 4 * F);
    let got = network.mds().args(["get", &file, "-o", "-", "--range", &past_the_end]).run().await;
    assert!(got.code == Some(0) && got.stdout == content[F..], "{}", got.stderr);
    let beyond = format!("{}+1", 4 * F + 1);
    let got = network.mds().args(["get", &file, "-o", "-", "--range", &beyond, "--json"]).run().await;
    assert_eq!(got.failed(2), "OUT_OF_RANGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_put_with_all_its_files_and_one_that_fails_does_not_stop_the_rest() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let (a, b) = (bytes(F + 1, 1), bytes(5, 2));
    network.write("maps/a", &a);
    network.write("maps/de/b", &b);
    let put = network.mds().args(["put", "maps", "no-such-file", "--json"]).run().await;
    assert_eq!(put.failed(7), "PARTLY_DONE");
    assert!(put.stderr.contains("no-such-file"), "{}", put.stderr);
    let answered: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
    let names: Vec<&str> =
        answered.as_array().unwrap().iter().filter_map(|file| file["name"].as_str()).collect();
    assert_eq!(names, ["maps/a", "maps/de/b"]);
    let got = network.mds().args(["get", "maps/de/b", "-o", "-"]).run().await;
    assert_eq!(got.stdout, b);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_torrent_knows_the_way_to_the_tracker() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let content = bytes(F, 1);
    let path = network.write("map", &content);
    let endpoint = network.torrents[0].endpoint().await;
    let put =
        Mds::new(network.directory.path()).args(["put", "--endpoint", &endpoint]).arg(&path).run().await;
    assert_eq!(put.succeeded(), format!("{}  map\n", digest(&content)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_from_other_failures() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let file = network.put(&network.write("map", &bytes(F, 1))).await;
    let got =
        network.mds().args(["get", &file, "-o", "-", "--json"]).output_to("/dev/full").run_elsewhere().await;
    assert_eq!(got.failed(8), "NO_SPACE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_another_download_writes_is_left_alone() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let file = network.put(&network.write("map", &bytes(F, 1))).await;
    let part =
        fs::File::options().write(true).create(true).truncate(false).open(network.path("copy.part")).unwrap();
    part.write_all_at(b"theirs", 0).unwrap();
    part.lock().unwrap();
    let got = network.mds().args(["get", &file, "-o", "copy", "--json"]).run().await;
    assert_eq!(got.failed(1), "BUSY");
    assert_eq!(fs::read(network.path("copy.part")).unwrap(), b"theirs");
}
