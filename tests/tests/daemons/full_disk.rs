//! A disk becomes full: nothing more is accepted there, others take it, nobody ends of it, and what was accepted stays.

use std::fs;
use std::io::Cursor;
use std::process::Command;

use mds_tests::client::agree;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::small_disk::SmallDisk;
use mds_tests::wait::until;
use mds_tests::{binaries, needs_mosquitto};
use tonic::Code;

use crate::support::{Server, Service, content};

const FRAGMENT_SIZE: &str = "65536";
const OF_TRACKER: [&str; 4] = ["--copies", "2", "--fragment-size", FRAGMENT_SIZE];
/// What a store leaves free for its database and for deletions.
const RESERVE: u64 = 64 << 20;
/// What fragments may take of the small disk, about.
const ROOM: u64 = 8 << 20;
const FILE: usize = 3 << 20;

/// A torrent on this disk that believes to have any room.
fn torrent_on(site: &Site, disk: &SmallDisk, id: &str) -> Daemon {
    site.torrent_in(&disk.data_directory(), id, &["--capacity", "1000000000000"])
}

/// Puts files in until there are more bytes than fit on the small disk.
async fn put_more_than_fits(tracker: &Server) -> Vec<String> {
    let mut digests = Vec::new();
    for seed in 0..6 {
        let digest = tracker.client.put(&format!("{seed}.bin"), Cursor::new(content(50 + seed, FILE))).await;
        tracker.client.counts_copies(&digest, 2).await;
        digests.push(digest);
    }
    digests
}

#[tokio::test]
async fn a_torrent_whose_disk_is_full_denies_and_others_take_the_copies() {
    needs_mosquitto!();
    let Some(disk) = SmallDisk::mount_or_skip(RESERVE + ROOM) else { return };
    let broker = Mosquitto::start();
    let mut service = Service::start(Site::new(broker.url()), 2, &OF_TRACKER).await;
    service.torrents.push(Server::of(torrent_on(&service.site, &disk, "small")).await);
    service.all_have_joined().await;

    let digests = put_more_than_fits(&service.tracker).await;
    service.all_have_joined().await;
    let servers = service.tracker.client.servers().await;
    let small = servers.iter().find(|server| server.name == "servers/small").unwrap();
    assert!(small.used_bytes > 0 && small.used_bytes <= ROOM as i64, "{small:?}");
    for digest in &digests {
        for client in service.clients() {
            client.gives_back(digest, FILE as u64).await;
        }
    }
    assert!(service.torrents[2].daemon.is_running());

    // It goes on after a restart, full as it is.
    service.torrents[2].daemon.stop().await;
    service.torrents[2] = Server::of(torrent_on(&service.site, &disk, "small")).await;
    service.all_have_joined().await;
    service.torrents[2].client.gives_back(&digests[0], FILE as u64).await;
}

#[tokio::test]
async fn a_torrent_whose_disk_somebody_else_has_filled_loses_nothing() {
    needs_mosquitto!();
    let Some(disk) = SmallDisk::mount_or_skip(RESERVE + ROOM) else { return };
    let broker = Mosquitto::start();
    let mut service = Service::start(Site::new(broker.url()), 2, &OF_TRACKER).await;
    service.torrents.push(Server::of(torrent_on(&service.site, &disk, "small")).await);
    service.all_have_joined().await;
    let mut digests = put_more_than_fits(&service.tracker).await;

    disk.fill();
    for seed in 0..4 {
        let digest =
            service.tracker.client.put(&format!("{seed}.new"), Cursor::new(content(80 + seed, FILE))).await;
        service.tracker.client.counts_copies(&digest, 2).await;
        digests.push(digest);
    }
    let small = &mut service.torrents[2];
    let ended = if small.daemon.is_running() { None } else { small.daemon.exit_code().await };
    eprintln!("the torrent on the full disk: {ended:?}\n{}", small.daemon.output());
    assert!(ended.is_none() || ended == Some(6), "{ended:?}");

    disk.make_room();
    if ended.is_some() {
        service.torrents[2] = Server::of(torrent_on(&service.site, &disk, "small")).await;
    }
    service.all_have_joined().await;
    for digest in &digests {
        for client in service.clients() {
            client.gives_back(digest, FILE as u64).await;
        }
    }
}

#[tokio::test]
async fn a_tracker_whose_disk_is_full_refuses_uploads_and_keeps_what_it_accepted() {
    needs_mosquitto!();
    let Some(disk) = SmallDisk::mount_or_skip(RESERVE + ROOM) else { return };
    let broker = Mosquitto::start();
    let site = Site::new(broker.url());
    let mut tracker = Server::of(site.tracker_in(&disk.data_directory(), "full", &OF_TRACKER)).await;
    until("the tracker is connected", async || {
        tracker.client.network().await.is_some_and(|network| network.tracker_online)
    })
    .await;
    let accepted = tracker.client.put("accepted.bin", Cursor::new(content(60, FILE))).await;

    // Without a torrent nothing leaves it.
    let large = content(61, 4 * FILE);
    let refused = tracker.client.try_put("large.bin", Cursor::new(large.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let path = site.data_directory("large.bin");
    fs::write(&path, &large).unwrap();
    let mut put = Command::new(binaries::mds());
    put.args(["--endpoint", tracker.client.address(), "put", "--json"]).arg(&path);
    let output = put.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("NO_SPACE"), "{said}");
    assert!(tracker.daemon.is_running());
    tracker.client.gives_back(&accepted, FILE as u64).await;

    // A restart forgets what was not accepted; torrents take what was, and there is room again.
    tracker.daemon.stop().await;
    let mut tracker = Server::of(site.tracker_in(&disk.data_directory(), "full", &OF_TRACKER)).await;
    let torrents = [Server::of(site.torrent("t1", &[])).await, Server::of(site.torrent("t2", &[])).await];
    tracker.client.counts_copies(&accepted, 2).await;
    let small = content(62, FILE);
    until("there is room at the tracker", async || {
        tracker.client.try_put("small.bin", Cursor::new(small.clone())).await.is_ok()
    })
    .await;
    let clients = [&tracker, &torrents[0], &torrents[1]].map(|server| server.client.clone());
    agree(&clients).await;
    torrents[0].client.gives_back(&accepted, FILE as u64).await;
    assert!(tracker.daemon.is_running());
}
