//! `mds demo`: it ends well, and nothing that it started outlives it.

use std::path::Path;
use std::process::Stdio;

use mds_tests::wait::{eventually, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::kit::Mds;

/// A demo that has done all its steps and waits.
struct Running {
    child: Child,
    /// Where its daemons listen, `host:port`.
    addresses: Vec<String>,
}

impl Running {
    async fn start(directory: &Path) -> Self {
        let mut command: Command = Mds::new(directory).args(["demo", "--json", "--dir", "."]).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut text = String::new();
        let view: Value = loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the demo ended: {text}"));
            text.push_str(&line);
            if let Ok(view) = serde_json::from_str(&text) {
                break view;
            }
        };
        let torrents = view["torrents"].as_array().unwrap().iter();
        let all = torrents.chain([&view["tracker"]]).filter_map(Value::as_str);
        let addresses = all.map(|uri| uri.trim_start_matches("grpc://").to_owned()).collect();
        let running = Self { child, addresses };
        assert_eq!(running.listening().await, 4, "{:?}", running.addresses);
        running
    }

    /// How many of its daemons still accept connections.
    async fn listening(&self) -> usize {
        let mut listening = 0;
        for address in &self.addresses {
            listening += usize::from(TcpStream::connect(address).await.is_ok());
        }
        listening
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_well_and_says_each_step() {
    let directory = TempDir::with_prefix("demo-").unwrap();
    let ran = Mds::new(directory.path()).args(["demo", "--once", "--torrents", "4"]).run().await;
    let told = ran.succeeded();
    for said in
        ["$ tracker --broker", "torrent-4", "$ mds --endpoint", "put --wait 2", "kill -9", "byte for byte"]
    {
        assert!(told.contains(said), "{said} is missing:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_takes_a_file_of_the_user() {
    let directory = TempDir::with_prefix("demo-").unwrap();
    let file = directory.path().join("my own file");
    std::fs::write(&file, b"hello").unwrap();
    let demo = ["demo", "--once", "--json", "--dir", "kept", "my own file"];
    let view = Mds::new(directory.path()).args(demo).run().await.json();
    assert_eq!((&view["file"]["name"], &view["fetched_bytes"]), (&"my own file".into(), &5.into()), "{view}");
    assert_eq!(std::fs::read(directory.path().join("kept/copy")).unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_demo_and_all_that_it_started() {
    let directory = TempDir::with_prefix("demo-").unwrap();
    let mut running = Running::start(directory.path()).await;
    running.signal(Signal::INT);
    let status = running.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(running.listening().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_demo_that_is_killed() {
    let directory = TempDir::with_prefix("demo-").unwrap();
    let mut running = Running::start(directory.path()).await;
    running.signal(Signal::KILL);
    running.child.wait().await.unwrap();
    until("all daemons are gone", async || running.listening().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_ends_the_demo_with_its_name() {
    let directory = TempDir::with_prefix("demo-").unwrap();
    let mut command = Mds::new(directory.path()).args(["demo", "--dir", "."]).into_command();
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    eventually("the demo waits", async || {
        let line = lines.next_line().await.unwrap().expect("the demo runs");
        line.contains("Ctrl-C").then_some(())
    })
    .await;
    let tracker = tracker_of(child.id().unwrap());
    kill_process(Pid::from_raw(tracker).unwrap(), Signal::KILL).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert!(said.contains("tracker ended with signal: 9"), "{said}");
}

/// The process id of a demo's tracker.
fn tracker_of(demo: u32) -> i32 {
    let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == demo.to_string()));
        (is_child && arguments.split('\0').nth(1) == Some("tracker")).then_some(pid)
    });
    children.into_iter().next().expect("the demo has a tracker")
}
