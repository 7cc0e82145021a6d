//! Under which names a daemon gives contents, asked from outside: a page of somebody else's must not be able to have its own name point
//! to a daemon and read files through the browser of a user.

use std::io::Cursor;

use mds_tests::client::agree;
use mds_tests::http::{get_under, get_under_no_name};
use mds_tests::needs_mosquitto;

use crate::support::{Server, content, recorded_site};

/// The daemon's own name: others reach its Endpoint there.
const ADVERTISED: &str = "grpc://Torrent-1.plant.example:7402";

/// Names that are nobody's here, however near they come to one that is.
const FOREIGN: [&str; 6] = [
    "evil.example",
    "evil.example:7482",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "torrent-1.plant.example.evil.example",
    "plant.example",
];

/// The names that every daemon has, besides those that it is told.
const EVERYBODYS: [&str; 5] = ["localhost", "LOCALHOST:7482", "127.0.0.1", "[::1]:7482", "10.1.2.3:80"];

/// Where there are contents: a file, a fragment and the page with its figures.
fn contents(digest: &str) -> [String; 4] {
    [format!("/files/{digest}"), format!("/fragments/{digest}"), "/".to_owned(), "/api/status".to_owned()]
}

/// Fails unless all contents are given under this name, or none.
async fn gives(address: &str, host: &str, digest: &str, is_given: bool) {
    for path in contents(digest) {
        let answer = get_under(address, host, &path).await;
        let shown = format!("{path} under {host:?}: {} {}", answer.status, answer.text());
        if !is_given {
            assert!(
                answer.status == 421 && answer.text().contains("--http-hosts"),
                "it says what to do: {shown}"
            );
        } else {
            // A tracker keeps no fragment that others hold, and says who they are.
            let may_be_elsewhere = path.starts_with("/fragments/");
            assert!(answer.status == 200 || may_be_elsewhere && answer.status == 404, "{shown}");
        }
    }
}

/// Fails unless monitors are answered under this name.
async fn is_watched(address: &str, host: &str) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = get_under(address, host, path).await;
        assert_eq!(answer.status, 200, "{path} under {host:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn contents_are_given_under_a_daemons_own_names_only_and_health_under_any() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let site = site.with_http();
    let mut tracker = Server::of(site.tracker("tracker", &["--copies", "all"])).await;
    let of_t1 = ["--advertise", ADVERTISED];
    let of_t2 = ["--http-hosts", "files.example, Intranet"];
    let mut torrents = Vec::new();
    for (id, arguments) in [("t1", &of_t1), ("t2", &of_t2), ("t3", &["--http-hosts", "*"])] {
        torrents.push(Server::of(site.torrent(id, arguments)).await);
    }
    tracker.client.counts_torrents(3).await;
    // One fragment, so that file and fragment have the same digest.
    let digest = tracker.client.put("a.bin", Cursor::new(content(61, 1000))).await;
    tracker.client.counts_copies(&digest, 3).await;
    let clients: Vec<_> = torrents.iter().chain([&tracker]).map(|server| server.client.clone()).collect();
    agree(&clients).await;
    let [t1, t2, t3] = &mut torrents[..] else { panic!("three torrents") };
    let tracker = tracker.daemon.http().await;
    let [t1, t2, t3] = [t1.daemon.http().await, t2.daemon.http().await, t3.daemon.http().await];

    for address in [&tracker, &t1, &t2] {
        for host in EVERYBODYS.into_iter().chain([address.as_str()]) {
            gives(address, host, &digest, true).await;
        }
        for host in FOREIGN {
            gives(address, host, &digest, false).await;
            is_watched(address, host).await;
        }
        assert_eq!(get_under_no_name(address, "/api/status").await.status, 200, "no browser asks so");
    }
    for (host, told) in [
        ("torrent-1.plant.example", &t1),
        ("TORRENT-1.plant.example:7482", &t1),
        ("files.example:7482", &t2),
        ("files.example.", &t2),
        ("intranet", &t2),
    ] {
        for address in [&tracker, &t1, &t2] {
            gives(address, host, &digest, address == told).await;
        }
    }
    gives(&t3, "evil.example", &digest, true).await;
}
