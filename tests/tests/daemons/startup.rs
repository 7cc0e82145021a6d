//! Starts that come to nothing: the exit code says which kind it is, the message says what to do.

use mds_tests::needs_mosquitto;
use std::fs;

use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;

use crate::support::{Server, recorded_site};

/// Ends with this code, and says all of this.
async fn ends(mut daemon: Daemon, code: i32, says: &[&str]) {
    assert_eq!(daemon.exit_code().await, Some(code), "{}", daemon.output());
    for text in says {
        assert!(daemon.output().contains(text), "{text:?} is not in {}", daemon.output());
    }
}

/// A broker that is not there.
fn nobody() -> (Mosquitto, Site) {
    let mut broker = Mosquitto::start();
    broker.kill();
    let site = Site::new(broker.url());
    (broker, site)
}

#[tokio::test]
async fn without_a_broker_both_daemons_end_with_code_4_and_name_it() {
    needs_mosquitto!();
    let (broker, site) = nobody();
    let address = broker.address().to_string();
    let says = [address.as_str(), "cannot be reached", "check that it runs"];
    ends(site.tracker("tracker", &[]), 4, &says).await;
    ends(site.torrent("t1", &[]), 4, &says).await;
}

#[tokio::test]
async fn with_retry_connect_both_daemons_wait_for_the_broker_and_work_when_it_comes() {
    needs_mosquitto!();
    let (mut broker, site) = nobody();
    let mut tracker = Server::of(site.tracker("tracker", &["--retry-connect"])).await;
    let mut torrent = Server::of(site.torrent("t1", &["--retry-connect"])).await;
    tracker.daemon.says("trying again").await;
    torrent.daemon.says("trying again").await;
    broker.restart();
    tracker.client.counts_torrents(1).await;
    tracker.daemon.stop().await;
    torrent.daemon.stop().await;
}

#[tokio::test]
async fn a_store_that_another_process_has_open_ends_with_code_6() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut tracker = Server::of(site.tracker("tracker", &[])).await;
    let mut torrent = Server::of(site.torrent("t1", &[])).await;
    for (name, second) in [("tracker", site.tracker("tracker", &[])), ("t1", site.torrent("t1", &[]))] {
        let directory = site.data_directory(name);
        ends(second, 6, &[&directory.to_string_lossy(), "another"]).await;
    }
    assert!(tracker.daemon.is_running() && torrent.daemon.is_running());
    tracker.client.counts_torrents(1).await;
}

#[tokio::test]
async fn a_wrong_setting_ends_with_code_2_and_is_named() {
    needs_mosquitto!();
    let (_broker, site) = nobody();
    ends(site.tracker("tracker", &["--copies", "many"]), 2, &["copies", "many"]).await;
    ends(site.tracker("tracker", &["--fragment-size", "1000"]), 2, &["fragment_size", "1000", "1024"]).await;
    ends(site.tracker("tracker", &["--no-such-flag"]), 2, &["--no-such-flag"]).await;
    ends(site.tracker("tracker", &["--takeover", "--standby"]), 2, &["--takeover", "--standby"]).await;
    ends(site.torrent("t1", &["--zone", "Rack\nA"]), 2, &["zone", "Rack", "one line"]).await;
    ends(site.torrent("t1", &["--capacity", "much"]), 2, &["--capacity", "much"]).await;
    ends(site.torrent("t1", &["--advertise", "nonsense"]), 2, &["advertise"]).await;
}

#[tokio::test]
async fn a_wrong_configuration_file_ends_with_code_2_and_the_key_is_named() {
    needs_mosquitto!();
    let (_broker, site) = nobody();
    let file = site.data_directory("wrong.toml");
    let path = file.to_string_lossy();
    for (text, named) in [("copys = \"2\"\n", "copys"), ("fragment_size = \"big\"\n", "fragment_size")] {
        fs::write(&file, text).unwrap();
        ends(site.tracker("tracker", &["--config", &path]), 2, &[&path, named]).await;
    }
    fs::write(&file, "zones = \"a\"\n").unwrap();
    ends(site.torrent("t1", &["--config", &path]), 2, &[&path, "zones"]).await;
    fs::remove_file(&file).unwrap();
    ends(site.torrent("t1", &["--config", &path]), 2, &[&path]).await;
}
