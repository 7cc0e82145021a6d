//! The main job: a file goes in, and comes back from any daemon, with tracker and broker gone.

use mds_tests::needs_mosquitto;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use broker::EmbeddedBroker;
use endpoint::proto::Fragment;
use mds_tests::client::agree;
use mds_tests::daemons::Site;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::recorder::Recorder;
use mds_tests::recorder::checks::assert_senders;
use mds_tests::specification::sha256;

use crate::support::{Service, TORRENTS, content, recorded_site};

/// The compiler's own library; where there is none that large, as many bytes without a pattern.
fn real_content() -> Box<dyn Read + Send> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc is installed");
    let library = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim()).join("lib");
    let files = fs::read_dir(library).into_iter().flatten().flatten();
    let driver = files.map(|file| file.path()).find(|path| {
        let is_driver =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("librustc_driver"));
        is_driver && fs::metadata(path).is_ok_and(|metadata| metadata.len() > 100 << 20)
    });
    match driver {
        Some(path) => Box::new(File::open(path).unwrap()),
        None => Box::new(std::io::Cursor::new(content(1, 128 << 20))),
    }
}

#[tokio::test]
async fn a_real_file_goes_in_by_the_specifications_events_and_comes_back_without_tracker_and_broker() {
    needs_mosquitto!();
    let (mut broker, recorder, site) = recorded_site().await;
    let mut service = Service::start(site, 3, &["--copies", "2"]).await;

    let digest = service.tracker.client.put("librustc_driver.so", real_content()).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    agree(&service.clients()).await;
    let file = service.tracker.client.file(&digest).await.unwrap();
    let fragments = service.tracker.client.fragments(&digest).await;
    assert!(file.size_bytes > 100 << 20);
    assert_eq!(fragments.len(), usize::try_from(file.fragment_count).unwrap());
    assert!(fragments.iter().all(|fragment| fragment.holders.len() == 2));

    let digest_of = |fragment: &Fragment| fragment.digest.trim_start_matches("sha256:").to_owned();
    // What is in the file more than once is distributed once.
    let digests: BTreeSet<String> = fragments.iter().map(digest_of).collect();
    recorder
        .hears("the end of a distribution", digests.len(), |record| {
            record.is("FragmentDistributionEnded") && record.number("Revision").is_some()
        })
        .await;
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
        heard.assert_issuers(&TORRENTS);
        heard.assert_order(&digests);
        assert_senders(&broker.log(), heard, None, "tracker", &TORRENTS);
    });

    broker.kill();
    for torrent in &service.torrents {
        torrent.client.gives_back(&digest, u64::try_from(file.size_bytes).unwrap()).await;
    }
}

/// The same with a small file, on any broker.
async fn small_main_job(site: Site, recorder: &Recorder) -> Service {
    let mut service = Service::start(site, 3, &["--copies", "2", "--fragment-size", "65536"]).await;
    let bytes = content(2, 2_000_000);
    let (expected, size_bytes) = (sha256(&bytes), bytes.len() as u64);
    let digest = service.tracker.client.put("small.bin", std::io::Cursor::new(bytes)).await;
    assert_eq!(digest, expected);
    service.tracker.client.counts_copies(&digest, 2).await;
    agree(&service.clients()).await;
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    for torrent in &service.torrents {
        torrent.client.gives_back(&digest, size_bytes).await;
    }
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
        heard.assert_issuers(&TORRENTS);
        let started = heard.events.iter().filter(|record| record.is("FragmentDistributionStarted"));
        let fragments: BTreeSet<String> = started.map(|record| record.text("Hash").to_owned()).collect();
        assert_eq!(fragments.len(), 31);
        heard.assert_order(&fragments);
    });
    service
}

#[tokio::test]
async fn behind_a_topic_prefix_everything_is_said_there_and_nothing_elsewhere() {
    needs_mosquitto!();
    let broker = Mosquitto::start();
    let recorder = Recorder::start(broker.address(), Some("plant/line-2")).await;
    let site = Site::new(broker.url()).with_topic_prefix("plant/line-2");
    let _service = small_main_job(site, &recorder).await;
    recorder.look(|heard| {
        assert_senders(&broker.log(), heard, Some("plant/line-2"), "plant-line-2-tracker", &TORRENTS);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_does_as_well() {
    let broker = EmbeddedBroker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let recorder = Recorder::start(broker.address(), None).await;
    let _service = small_main_job(Site::new(broker.url()), &recorder).await;
}
