//! What a daemon is told: by file, environment and flags.

use mds_tests::needs_mosquitto;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use mds_tests::binaries;
use mds_tests::daemons::Site;
use mds_tests::mosquitto::Mosquitto;
use tempfile::TempDir;

use crate::support::Server;

/// Runs a daemon that ends by itself, told by these variables and arguments.
fn ran(program: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MDS_") {
            command.env_remove(variable);
        }
    }
    command.envs(environment.iter().copied()).args(arguments).output().unwrap()
}

#[test]
fn each_setting_is_printed_with_where_it_comes_from_and_without_the_password() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tracker.toml");
    fs::write(&file, "# mine\ncopies = \"3\"\nlisten = \"127.0.0.1:1\"\nbroker = \"mqtt://me:secret@h\"\n")
        .unwrap();
    let path = file.to_str().unwrap();
    let environment = [("MDS_CONFIG", path), ("MDS_LISTEN", "127.0.0.1:2"), ("MDS_HTTP", "off")];
    let output = ran(binaries::tracker(), &environment, &["--print-config", "--http", "127.0.0.1:3"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (set, origin) in [
        ("copies = \"3\"", &*format!("file {path}, line 2")),
        ("broker = \"mqtt://me:***@h:1883\"", &format!("file {path}, line 4")),
        ("listen = \"127.0.0.1:2\"", "environment MDS_LISTEN"),
        ("http = \"127.0.0.1:3\"", "flag --http"),
        ("fragment_size = 262144", "default"),
    ] {
        let found = printed.lines().any(|line| {
            line.split_once("  #")
                .is_some_and(|(value, comment)| value.trim_end() == set && comment.trim() == origin)
        });
        assert!(found, "{set} from {origin}:\n{printed}");
    }
    assert!(!printed.contains("secret"), "{printed}");
    // It is a configuration file itself.
    fs::write(&file, &printed).unwrap();
    let again = ran(binaries::tracker(), &[], &["--print-config", "--config", path]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn what_cannot_be_used_ends_with_code_2_and_says_where_it_stands() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mds.toml");
    let path = file.to_str().unwrap();
    for (text, says) in [
        ("\ndata-dri = \"x\"\n", vec!["mds.toml, line 2", "data-dri", "did you mean \"data_dir\"?"]),
        ("max_event_bytes = \"much\"\n", vec!["mds.toml, line 1: max_event_bytes", "expected"]),
        ("log_format = \"xml\"\n", vec!["log_format = \"xml\"", "mds.toml, line 1"]),
        ("listen = 127.0.0.1:1\n", vec!["mds.toml, line 1", "not TOML"]),
    ] {
        fs::write(&file, text).unwrap();
        for program in [binaries::tracker(), binaries::torrent()] {
            let output = ran(program, &[], &["--config", path]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(says.iter().all(|says| said.contains(says)), "{says:?} is not in {said}");
        }
    }
    let output = ran(binaries::torrent(), &[("MDS_SCRUB_INTERVAL", "soon")], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("(environment MDS_SCRUB_INTERVAL)"), "{said}");
    for (variable, value) in [("MDS_CAPACITY", "much"), ("MDS_RETRY_CONNECT", "perhaps")] {
        let output = ran(binaries::torrent(), &[(variable, value)], &["--print-config"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(value) && said.contains(&format!("environment: {variable}")), "{said}");
    }
    let output = ran(binaries::torrent(), &[("MDS_CAPACITY", "1")], &["--capacity", "much"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("MDS_CAPACITY"));
    // What is empty is not told.
    let empty =
        ["MDS_CAPACITY", "MDS_RETRY_CONNECT", "MDS_ZONE", "MDS_ADVERTISE"].map(|variable| (variable, ""));
    let output = ran(binaries::torrent(), &empty, &["--print-config"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The other daemon's settings may stand in an environment that both share.
    let shared = [("MDS_CAPACITY", "1"), ("MDS_PORT", "tcp://10.0.0.1:7401"), ("MDS_REPAIR_AFTRE", "1s")];
    let output = ran(binaries::tracker(), &shared, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("did you mean MDS_REPAIR_AFTER?"), "{said}");
}

#[tokio::test]
async fn a_password_can_come_from_a_file_that_nobody_else_should_read() {
    needs_mosquitto!();
    let directory = TempDir::new().unwrap();
    let (passwords, secret) = (directory.path().join("passwords"), directory.path().join("secret"));
    fs::write(&passwords, "fleet:s e c@ret\n").unwrap();
    let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status();
    assert!(hashed.expect("the package mosquitto of Debian holds mosquitto_passwd").success());
    let settings = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    let broker = Mosquitto::start_with(&settings);
    fs::write(&secret, "s e c@ret\n").unwrap();
    let site = Site::new(broker.url());
    let arguments = ["--broker-user", "fleet", "--broker-password-file", secret.to_str().unwrap()];
    let readable = |mode| fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();

    readable(0o600);
    let mut tracker = Server::of(site.tracker("tracker", &arguments)).await;
    readable(0o644);
    let mut torrent = Server::of(site.torrent("t1", &arguments)).await;
    tracker.client.counts_torrents(1).await;
    torrent.daemon.says("chmod o-r").await;
    assert_eq!(tracker.daemon.count_in_output("chmod"), 0);
    for daemon in [&mut tracker.daemon, &mut torrent.daemon] {
        daemon.stop().await;
        assert!(!daemon.output().contains("s e c@ret"), "{}", daemon.output());
    }
    let mut refused =
        site.torrent("t1", &["--broker-password-file", "/nonexistent", "--broker-user", "fleet"]);
    assert_eq!(refused.exit_code().await, Some(2));
    assert_eq!(refused.count_in_output("(flag --broker-password-file)"), 1, "{}", refused.output());
}
