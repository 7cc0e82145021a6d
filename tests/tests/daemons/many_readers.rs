//! Two thousand readers at one torrent.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint::errors::reason_of;
use endpoint::proto::ErrorReason;
use futures::future::join_all;
use mds_tests::client::Client;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::support::{Service, content};

const READERS: usize = 2000;
/// So that no connection has more streams than one may have.
const CONNECTIONS: usize = 10;
const FRAGMENT_BYTES: usize = 128 << 10;
/// What two thousand readers may cost in memory: the budget of 16 MiB, and what the connections buffer. All that they ask for at once
/// would be 250 MiB.
const MEMORY_BYTES: u64 = 96 << 20;

/// The most memory that the daemon has had so far, in bytes.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Whether a reader is told to come back, and when.
fn is_back_pressure(status: &Status) -> bool {
    let details = tonic_types::StatusExt::get_error_details(status);
    status.code() == Code::ResourceExhausted
        && reason_of(status) == Some(ErrorReason::ServerBusy)
        && details.retry_info().is_some_and(|retry| retry.retry_delay.is_some())
}

async fn with_a_file(broker: &Mosquitto) -> (Service, Vec<String>, Vec<u8>) {
    let of_tracker = ["--fragment-size", &FRAGMENT_BYTES.to_string(), "--copies", "1"];
    let service = Service::start(Site::new(broker.url()), 1, &of_tracker).await;
    let content = content(1, 40 * FRAGMENT_BYTES);
    let digest = service.tracker.client.put("popular", std::io::Cursor::new(content.clone())).await;
    service.torrents[0].client.counts_copies(&digest, 1).await;
    let fragments = service.torrents[0].client.fragments(&digest).await;
    (service, fragments.into_iter().map(|fragment| fragment.digest).collect(), content)
}

async fn clients(service: &mut Service) -> Vec<Client> {
    let address = service.torrents[0].daemon.endpoint().await;
    (0..CONNECTIONS).map(|_| Client::of(&address)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_readers_at_once_all_get_their_fragment_and_memory_stays_bounded() {
    needs_mosquitto!();
    let broker = Mosquitto::start();
    let (mut service, fragments, content) = with_a_file(&broker).await;
    let clients = clients(&mut service).await;
    let before = peak_memory(&service.torrents[0].daemon);
    let sent_back = AtomicUsize::new(0);
    let readers = (0..READERS).map(|number| {
        let (client, index) = (&clients[number % CONNECTIONS], number % fragments.len());
        let (fragments, content, sent_back) = (&fragments, &content, &sent_back);
        async move {
            let bytes = loop {
                match client.read_fragment(&fragments[index]).await {
                    Ok(bytes) => break bytes,
                    Err(status) => assert!(is_back_pressure(&status), "{status:?}"),
                }
                sent_back.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(1)).await;
            };
            assert!(bytes == content[index * FRAGMENT_BYTES..][..FRAGMENT_BYTES]);
        }
    });
    join_all(readers).await;
    let grown = peak_memory(&service.torrents[0].daemon) - before;
    println!("{READERS} readers: {} MiB more, {} times sent back", grown >> 20, sent_back.into_inner());
    assert!(grown < MEMORY_BYTES, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_readers_that_do_not_read_take_no_more_memory_and_nobody_waits_for_ever() {
    needs_mosquitto!();
    let broker = Mosquitto::start();
    let (mut service, fragments, _) = with_a_file(&broker).await;
    let clients = clients(&mut service).await;
    let before = peak_memory(&service.torrents[0].daemon);
    let opening = (0..READERS)
        .map(|number| clients[number % CONNECTIONS].open_fragment(&fragments[number % fragments.len()]));
    let opened = join_all(opening).await;
    let served = opened.iter().filter(|opened| opened.is_ok()).count();
    for status in opened.iter().filter_map(|opened| opened.as_ref().err()) {
        assert!(is_back_pressure(status), "{status:?}");
    }
    let grown = peak_memory(&service.torrents[0].daemon) - before;
    println!("{READERS} that do not read: {} MiB more, {served} are served", grown >> 20);
    assert!(grown < MEMORY_BYTES, "{grown} bytes");
    // When they are gone, their memory is there for others.
    drop(opened);
    service.torrents[0].client.read_fragment(&fragments[0]).await.unwrap();
}
