//! A broker that does not let the daemons do their work, and one that lets in who has a password.

use std::io::Cursor;
use std::net::SocketAddr;

use mds_tests::client::Client;
use mds_tests::daemons::{Daemon, Site};

/// The daemon ends with code 4, and says all of this.
pub async fn ends_with_code_4(mut daemon: Daemon, says: &[&str]) {
    assert_eq!(daemon.exit_code().await, Some(4), "{}", daemon.output());
    for text in says {
        assert!(daemon.output().contains(text), "{text:?} is not in {}", daemon.output());
    }
}

/// With user and password a tracker and a torrent work; with a wrong password neither gets in, and says why without repeating it.
pub async fn asks_for_passwords(broker: SocketAddr, tracker: (&str, &str), torrent: (&str, &str)) {
    let at = |(user, password): (&str, &str)| {
        Site::new(format!("mqtt://{user}:{password}@{broker}")).with_topic_prefix("passwords")
    };
    let (of_tracker, of_torrent) = (at(tracker), at(torrent));
    let mut working = of_tracker.tracker("tracker", &["--copies", "1", "--retry-connect"]);
    let client = Client::of(&working.endpoint().await);
    let _torrent = of_torrent.torrent("passwords-t1", &["--retry-connect"]);
    client.counts_torrents(1).await;
    let digest = client.put("guarded.bin", Cursor::new(vec![3; 400_000])).await;
    client.counts_copies(&digest, 1).await;

    let site = at((torrent.0, "no-such-secret"));
    for mut daemon in [site.tracker("wrong", &[]), site.torrent("passwords-wrong", &[])] {
        assert_eq!(daemon.exit_code().await, Some(4), "{}", daemon.output());
        let output = daemon.output();
        assert!(output.contains("refuses the client") && output.contains("password"), "{output}");
        assert!(!output.contains("no-such-secret"), "{output}");
    }
    assert!(working.is_running());
}
