//! What the tool does when connections break.

use mds_tests::needs_mosquitto;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mds_tests::client::Client;
use mds_tests::daemons::Daemon;
use mds_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::content::{bytes, digest};
use crate::kit::{FRAGMENT_BYTES, Network, Running};

/// Forwards connections to `target`; each of the first `breaks` that sends more than `after_bytes` is cut off.
async fn breaking_proxy(target: String, breaks: usize, after_bytes: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broken = Arc::new(AtomicUsize::new(0));
    let counted = broken.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (target, broken) = (target.clone(), counted.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back =
                    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut buffer = vec![0; 64 << 10];
                let mut forwarded = 0;
                while let Ok(read) = from_client.read(&mut buffer).await
                    && read > 0
                {
                    forwarded += read;
                    if forwarded > after_bytes && broken.load(Ordering::Relaxed) < breaks {
                        broken.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    (address, broken)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_every_break() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(100 * FRAGMENT_BYTES + 7, 1);
    let (proxy, broken) = breaking_proxy(network.endpoint.clone(), 3, 2 << 20).await;
    let path = network.write("map", &content);
    let put = network.mds().args(["put", "--endpoint", &proxy]).arg(&path).run().await;
    assert_eq!(put.succeeded(), format!("{}  map\n", digest(&content)));
    assert_eq!(broken.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_from_standard_input_which_cannot_be_read_again() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let content = bytes(400 * FRAGMENT_BYTES + 7, 2);
    let (proxy, broken) = breaking_proxy(network.endpoint.clone(), 3, 3 << 20).await;
    let put = network
        .mds()
        .args(["put", "-", "--name", "map", "--endpoint", &proxy])
        .input(content.clone())
        .run()
        .await;
    assert_eq!(put.succeeded(), format!("{}  map\n", digest(&content)));
    assert_eq!(broken.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_tracker_that_is_gone_ends_unreachable() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let torrent = network.torrents[0].endpoint().await;
    network.write("map", &bytes(10, 1));
    network.write("another", &bytes(11, 1));
    network.tracker.kill();
    let put = network.mds().args(["put", "map", "--json", "--endpoint", &torrent]).run().await;
    put.failed(4);
    // What is put after it does not try as long.
    let put = network.mds().args(["put", "map", "another", "--endpoint", &torrent]).run().await;
    assert_eq!(put.code, Some(4));
    let told = put.stderr.lines().any(|line| line.starts_with("mds: another: not tried, since"));
    assert!(told && put.stderr.contains("is the tracker running"), "{}", put.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_while_it_is_read_is_not_taken() {
    needs_mosquitto!();
    // The kernel says that it has a page, and gives less.
    let shrinks = "/sys/devices/system/cpu/online";
    let said = std::fs::metadata(shrinks).map(|metadata| metadata.len()).unwrap_or_default();
    let read = std::fs::read(shrinks).map(|content| content.len() as u64).unwrap_or_default();
    if read >= said {
        eprintln!("SKIPPED: {shrinks} is not there, or as long as it says");
        return;
    }
    let network = Network::start(1).await;
    let put = network.mds().args(["put", shrinks, "--json"]).run().await;
    assert_eq!(put.failed(6), "CHANGED");
    assert!(
        put.stderr.contains(&format!("{said} bytes")) && put.stderr.contains("put it again"),
        "{}",
        put.stderr
    );
    assert_eq!(network.mds().args(["ls", "--json"]).run().await.json().as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_tool_with_its_own_code() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let mut command = network.mds().args(["put", "-", "--json"]).into_command();
    // It waits for input that does not come.
    let mut put = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(put.id().unwrap().cast_signed()).unwrap();
    until("the tool listens to signals", async || catches(put.id().unwrap(), Signal::INT)).await;
    kill_process(pid, Signal::INT).unwrap();
    let mut said = String::new();
    put.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(put.wait().await.unwrap().code(), Some(130));
    let failure: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&failure["code"], &failure["reason"]), (&130.into(), &"INTERRUPTED".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_interrupted_leaves_nothing_at_the_tracker() {
    needs_mosquitto!();
    let network = Network::start(1).await;
    let content = bytes(4 * FRAGMENT_BYTES, 1);
    let fragments: Vec<String> = content.chunks(FRAGMENT_BYTES).take(2).map(digest).collect();
    let mut command = network.mds().args(["put", "-"]).into_command();
    let mut put = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More is to come, and does not.
    let mut stdin = put.stdin.take().unwrap();
    stdin.write_all(&content).await.unwrap();
    let tracker = Client::of(&network.endpoint);
    until("the tracker has some of it", async || tracker.held(fragments.clone()).await == 2).await;
    kill_process(Pid::from_raw(put.id().unwrap().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(put.wait().await.unwrap().code(), Some(130));
    until("the tracker has nothing of it", async || tracker.held(fragments.clone()).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_interrupted_keeps_its_part_and_goes_on_from_it() {
    needs_mosquitto!();
    let mut network = Network::start(2).await;
    let content = bytes(10 * FRAGMENT_BYTES, 1);
    let file = network.put(&network.write("map", &content)).await;
    let part = network.write("copy.part", &content[..6 * FRAGMENT_BYTES]);
    network.torrents.iter_mut().for_each(Daemon::pause);
    let get = Running::start(network.mds().args(["get", &file, "-o", "copy"]));
    let lock = || std::fs::File::open(&part).unwrap().try_lock();
    until("the download has opened its part", async || lock().is_err()).await;
    assert_eq!(get.interrupt().await, (Some(130), vec![]));
    assert!(std::fs::read(&part).unwrap().starts_with(&content[..6 * FRAGMENT_BYTES]));
    network.torrents.iter_mut().for_each(Daemon::resume);
    let got = network.mds().args(["get", &file, "-o", "copy", "--json"]).run().await.json();
    assert_eq!(got["fetched_bytes"], 4 * FRAGMENT_BYTES);
    assert!(std::fs::read(network.path("copy")).unwrap() == content && !part.exists());
}

/// Whether the process has a handler for the signal.
fn catches(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}
