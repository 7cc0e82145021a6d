//! Clients that take too much, too slowly, or too many at once: they are told so, and nobody else suffers.

use std::io::Cursor;
use std::net::SocketAddr;

use mds_tests::http::{exchange, get, request};
use mds_tests::needs_mosquitto;
use mds_tests::wait::until;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Service, content, recorded_site};

const SIZE: usize = 8 << 20;
/// As docs/http.md says.
const MAX_TRANSFERS: usize = 64;
const MAX_CONNECTIONS: usize = 512;

/// Asks for a file and takes nothing of it.
async fn stalled(address: &str, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn transfers(address: &str) -> usize {
    let text = get(address, "/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("mds_http_transfers_in_flight "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_comes_when_all_transfers_are_taken_is_told_to_come_back_and_a_client_that_left_is_forgotten() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 1, &["--copies", "1"]).await;
    let digest = service.tracker.client.put("large.bin", Cursor::new(content(71, SIZE))).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    mds_tests::client::agree(&service.clients()).await;
    let address = service.torrents[0].daemon.http().await;
    let path = format!("/files/{digest}");

    let mut clients = Vec::new();
    for _ in 0..MAX_TRANSFERS {
        clients.push(stalled(&address, &path).await);
    }
    until("all transfers are taken", async || transfers(&address).await == MAX_TRANSFERS).await;
    let refused = request(&address, "GET", &path, &[("Range", "bytes=0-0")]).await;
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "{}", refused.text());
    // What costs no transfer is answered, and so is everybody over gRPC.
    assert_eq!(request(&address, "HEAD", &path, &[]).await.status, 200);
    assert_eq!(get(&address, "/healthz").await.status, 200);
    service.torrents[0].client.gives_back(&digest, SIZE as u64).await;

    drop(clients);
    until("those that left are forgotten", async || transfers(&address).await == 0).await;
    assert_eq!(get(&address, &path).await.body.len(), SIZE);
    service.torrents[0].daemon.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_one_that_asks_for_nothing_is_closed() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 1, &["--copies", "1"]).await;
    let address = service.torrents[0].daemon.http().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let refused = get(&address, "/healthz").await;
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "{}", refused.text());
    assert_eq!(refused.field("connection"), Some("close"));
    // They stay open at this end: it is the server that closes them.
    until("idle connections are closed", async || get(&address, "/healthz").await.status == 200).await;
    let slow = exchange(&address, b"GET /healthz HTTP/1.1\r\nHost: ").await;
    assert!(slow.is_ok(), "a head that never ends is not waited for: {slow:?}");
    drop(idle);
    service.torrents[0].daemon.stop().await;
}
