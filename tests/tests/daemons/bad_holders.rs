//! A file is downloaded from six holders, one of which is killed, one frozen, and one passes every fragment on with a byte changed.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use endpoint::client::{Cluster, FileMap};
use endpoint::download::plan::Dropped;
use endpoint::download::{Download, FileSink};
use mds_tests::binaries;
use mds_tests::client::Client;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::liar::Liar;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use protocol::ClientId;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::content;

const FRAGMENT_BYTES: usize = 256 << 10;
const FILE_BYTES: usize = 256 * FRAGMENT_BYTES;
/// So many that of the holders of a fragment at most three are bad.
const COPIES: &str = "4";

/// A tracker and six torrents, the last of which is known by the address of its twin, and a file that is where it should be.
struct Fixture {
    tracker: Daemon,
    endpoint: String,
    torrents: Vec<Daemon>,
    digest: String,
    content: Vec<u8>,
    _liar: Liar,
    _site: Site,
    _broker: Mosquitto,
}

impl Fixture {
    async fn start() -> Self {
        let broker = Mosquitto::start();
        let site = Site::new(broker.url());
        let fragment_bytes = FRAGMENT_BYTES.to_string();
        let mut tracker = site.tracker("tracker", &["--copies", COPIES, "--fragment-size", &fragment_bytes]);
        let endpoint = tracker.endpoint().await;
        let liar = Liar::start().await;
        let capacity = ["--capacity", "1073741824"];
        let mut torrents: Vec<Daemon> =
            (1..=5).map(|number| site.torrent(&format!("t{number}"), &capacity)).collect();
        let advertised = liar.endpoint();
        let mut honest = site.torrent("liar", &[&capacity[..], &["--advertise", &advertised]].concat());
        liar.speaks_for(&honest.endpoint().await);
        torrents.push(honest);
        let client = Client::of(&endpoint);
        client.counts_torrents(6).await;
        let content = content(4, FILE_BYTES);
        let digest = client.put("popular.bin", std::io::Cursor::new(content.clone())).await;
        client.counts_copies(&digest, COPIES.parse().unwrap()).await;
        let (_liar, _site, _broker) = (liar, site, broker);
        Self { tracker, endpoint, torrents, digest, content, _liar, _site, _broker }
    }

    /// With connections of its own.
    async fn cluster_and_map(&self) -> (Cluster, FileMap) {
        let endpoint = format!("grpc://{}", self.endpoint).parse().unwrap();
        let cluster = Cluster::connect([endpoint]).await.unwrap();
        let map = cluster.file_map(&self.digest.parse().unwrap()).await.unwrap();
        (cluster, map)
    }
}

fn new_file(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

fn is_little_more_than_the_file(received_bytes: u64) {
    let ratio = received_bytes as f64 / FILE_BYTES as f64;
    println!("{ratio:.4} times the bytes");
    assert!((1.0..=1.05).contains(&ratio), "{received_bytes} bytes received, {ratio} times the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_from_six_holders_three_of_which_go_bad_gets_the_file_and_few_bytes_for_nothing() {
    needs_mosquitto!();
    let mut fixture = Fixture::start().await;
    let directory = TempDir::with_prefix("bad-holders-").unwrap();
    // For comparison, without those that will be bad. What each takes depends on the machine, so it is told and not judged.
    let (cluster, mut map) = fixture.cluster_and_map().await;
    let is_good = |holder: &ClientId| !["t1", "t2", "liar"].contains(&holder.as_str());
    map.fragments.iter_mut().for_each(|place| place.holders.retain(is_good));
    let began = Instant::now();
    let sink = FileSink(new_file(&directory.path().join("from-good")));
    let finished = Download::new(cluster, map).run(sink).await.unwrap();
    let without_bad = began.elapsed();
    is_little_more_than_the_file(finished.received_bytes);

    let (cluster, map) = fixture.cluster_and_map().await;
    let part = directory.path().join("copy");
    let file = new_file(&part);
    // When a third is there, one dies and one freezes; the one that lies always does. They stay as they are until the test is over.
    let bad = Arc::new(Mutex::new([fixture.torrents.remove(0), fixture.torrents.remove(0)]));
    let (turns_bad, mut is_good) = (bad.clone(), true);
    let download = Download::new(cluster, map).on_progress(move |progress| {
        if is_good && progress.done_bytes > progress.total_bytes / 3 {
            is_good = false;
            let mut bad = turns_bad.lock().unwrap();
            bad[0].kill();
            bad[1].pause();
        }
    });
    let began = Instant::now();
    let finished = download.run(FileSink(file)).await.unwrap();
    let ratio = began.elapsed().as_secs_f64() / without_bad.as_secs_f64();
    println!("{ratio:.2} times the time without them, which is {without_bad:?}");
    assert!(fs::read(&part).unwrap() == fixture.content);
    assert_eq!(finished.digest.unwrap().to_string(), fixture.digest);
    for holder in &finished.holders {
        println!("{holder:?}");
    }
    let holder = |name: &str| finished.holders.iter().find(|holder| holder.name == name).unwrap();
    assert_eq!((holder("liar").dropped, holder("liar").fragments), (Some(Dropped::Lied), 0));
    assert!(holder("t1").fragments > 0 && holder("t1").failures > 0, "it died at work");
    assert!(holder("t2").fragments > 0, "it froze at work");
    is_little_more_than_the_file(finished.received_bytes);

    // The tool begins with one dead and one frozen, says who lied, and ends well.
    let mut command = Command::new(binaries::mds());
    command.args(["get", &fixture.digest, "--json", "--endpoint", &fixture.endpoint, "-o"]);
    command.arg(directory.path().join("again")).stdin(Stdio::null()).kill_on_drop(true);
    let got = command.output().await.unwrap();
    let complaints = String::from_utf8(got.stderr).unwrap();
    assert_eq!(got.status.code(), Some(0), "{complaints}");
    assert!(fs::read(directory.path().join("again")).unwrap() == fixture.content);
    let warning: Value = serde_json::from_str(&complaints).unwrap();
    assert!(
        warning["warning"].as_str().unwrap().starts_with("liar delivered bytes that are not"),
        "{warning}"
    );
    let got: Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(got["fetched_bytes"], FILE_BYTES);
    is_little_more_than_the_file(got["received_bytes"].as_u64().unwrap());
    let sources = got["sources"].as_array().unwrap();
    let liar = sources.iter().find(|source| source["id"] == "liar").unwrap();
    assert_eq!((&liar["dropped"], &liar["fragments"]), (&"lied".into(), &0.into()), "{got}");
    assert!(fixture.tracker.is_running());
}
