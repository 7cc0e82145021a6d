//! Clients in Python, generated from `proto/`, at real daemons. The Python environment is made by `tests/python/prepare`.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mds_tests::client::Client;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use mds_tests::python::interpreter_or_skip;
use sha2::{Digest as _, Sha256};

const TORRENTS: [&str; 3] = ["t1", "t2", "t3"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A tracker with three torrents, and where they are: the tracker first.
struct Network {
    daemons: Vec<Daemon>,
    addresses: Vec<String>,
    _site: Site,
}

impl Network {
    async fn start(broker: &Mosquitto, of_torrents: &[&str]) -> Self {
        Self::start_with(broker, &[], of_torrents).await
    }

    async fn start_with(broker: &Mosquitto, of_tracker: &[&str], of_torrents: &[&str]) -> Self {
        let site = Site::new(broker.url());
        let mut daemons = vec![site.tracker("tracker", &[&["--fragment-size", "1024"], of_tracker].concat())];
        daemons.extend(TORRENTS.iter().map(|id| site.torrent(id, of_torrents)));
        let mut addresses = Vec::new();
        for daemon in &mut daemons {
            addresses.push(daemon.endpoint().await);
        }
        Client::of(&addresses[0]).counts_torrents(3).await;
        Self { daemons, addresses, _site: site }
    }
}

/// Runs a command to its end, which has to be a good one.
async fn succeeds(command: &mut Command) -> String {
    command.current_dir(root()).stdin(Stdio::null()).env("PYTHONDONTWRITEBYTECODE", "1");
    let shown = format!("{command:?}");
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = tokio::task::spawn_blocking(move || started.wait_with_output()).await.unwrap().unwrap();
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{shown}: {}\n{said}\n{complained}", output.status);
    said
}

async fn check(python: &Path, part: &str, network: &Network) {
    succeeds(Command::new(python).args(["tests/python/check.py", part]).args(&network.addresses)).await;
}

#[tokio::test]
async fn a_client_that_knows_only_the_proto_files_can_do_everything() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let broker = Mosquitto::start();
    let network = Network::start(&broker, &[]).await;
    check(&python, "all", &network).await;
}

#[tokio::test]
async fn without_a_broker_reading_goes_on_and_the_rest_says_why_not() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let mut broker = Mosquitto::start();
    let network = Network::start(&broker, &[]).await;
    let tracker = Client::of(&network.addresses[0]);
    let digest = tracker.put("before", &b"some bytes"[..]).await;
    for address in &network.addresses {
        Client::of(address).counts_copies(&digest, 2).await;
    }
    broker.kill();
    check(&python, "no-broker", &network).await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_sent() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let broker = Mosquitto::start();
    let network = Network::start(&broker, &["--capacity", "1048576"]).await;
    check(&python, "no-space", &network).await;
}

#[tokio::test]
async fn what_no_event_can_describe_is_refused_before_it_is_sent() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let broker = Mosquitto::start();
    let small_events = ["--max-event-bytes", "65536"];
    let network = Network::start_with(&broker, &small_events, &small_events).await;
    check(&python, "too-large", &network).await;
}

#[tokio::test]
async fn an_upload_that_was_begun_goes_on_though_a_torrent_has_left() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let broker = Mosquitto::start();
    let mut network = Network::start(&broker, &[]).await;
    check(&python, "begin-with-three", &network).await;
    network.daemons.pop().unwrap().stop().await;
    Client::of(&network.addresses[0]).counts_torrents(2).await;
    check(&python, "go-on-with-two", &network).await;
}

#[tokio::test]
async fn the_example_fetches_a_file_from_several_torrents_at_once() {
    needs_mosquitto!();
    let Some(python) = interpreter_or_skip() else { return };
    let broker = Mosquitto::start();
    let network = Network::start(&broker, &[]).await;
    let content: Vec<u8> = (0..200_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let tracker = Client::of(&network.addresses[0]);
    let digest = tracker.put("example", io::Cursor::new(content.clone())).await;
    tracker.counts_copies(&digest, 2).await;

    let directory = tempfile::tempdir().unwrap();
    let mut protos: Vec<OsString> = Vec::new();
    for entry in std::fs::read_dir(root().join("proto/mds/v1")).unwrap() {
        protos.push(Path::new("proto/mds/v1").join(entry.unwrap().file_name()).into());
    }
    let out = directory.path().display();
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I", "proto"]);
    generate.args([format!("--python_out={out}"), format!("--grpc_python_out={out}")]).args(protos);
    succeeds(&mut generate).await;
    let output = directory.path().join("fetched");
    let mut fetch = Command::new(&python);
    fetch.env("PYTHONPATH", directory.path()).arg("examples/python/fetch.py");
    let said = succeeds(fetch.arg(&network.addresses[1]).arg(&digest).arg(&output)).await;
    assert!(said.contains("from 3 torrents, verified"), "{said}");
    let fetched = std::fs::read(output).unwrap();
    assert_eq!(Sha256::digest(&fetched), Sha256::digest(&content));
}
