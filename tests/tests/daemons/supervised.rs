//! What a service manager and a health check are told: `Type=notify`, and `--check-ready`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};

use mds_tests::binaries;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::loopback::own_address;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use mds_tests::wait::until;

/// A daemon that serves its health and has a service manager.
fn start(program: &Path, broker: &Mosquitto, data_directory: &Path, manager: &Path) -> Daemon {
    let anywhere = format!("{}:0", own_address());
    let mut command = Command::new(program);
    command.args(["--broker", &broker.url(), "--listen", &anywhere, "--http", &anywhere, "--retry-connect"]);
    command.arg("--data-dir").arg(data_directory).env("NOTIFY_SOCKET", manager);
    Daemon::start("supervised", &mut command, data_directory.to_owned())
}

fn check(program: &Path, data_directory: &Path) -> Output {
    let mut command = Command::new(program);
    command.arg("--check-ready").arg("--data-dir").arg(data_directory).output().unwrap()
}

/// Reads what the manager is told until it is told this.
async fn hears(manager: &UnixDatagram, wanted: &str) {
    until(&format!("the manager is told {wanted:?}"), async || {
        let mut buffer = [0; 1000];
        manager.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == wanted.as_bytes())
    })
    .await;
}

#[tokio::test]
async fn a_service_manager_hears_of_the_start_the_broker_and_the_end_and_a_health_check_of_readiness() {
    needs_mosquitto!();
    let mut broker = Mosquitto::start();
    let site = Site::new(broker.url());
    let programs = [("tracker", binaries::tracker()), ("torrent", binaries::torrent())];
    broker.kill();
    let mut daemons = Vec::new();
    for (name, program) in programs {
        let (directory, socket) = (site.data_directory(name), site.data_directory(&format!("{name}.socket")));
        let before = check(program, &directory);
        assert_eq!(before.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&before.stderr).contains("no daemon answers"), "{before:?}");

        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_nonblocking(true).unwrap();
        let daemon = start(program, &broker, &directory, &socket);
        hears(&manager, "READY=1").await;
        hears(&manager, "STATUS=the broker is not connected").await;
        let unready = check(program, &directory);
        assert_eq!(unready.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&unready.stderr).contains("the broker is not connected"),
            "{unready:?}"
        );
        daemons.push((program, directory, manager, daemon));
    }
    broker.restart();
    for (program, directory, manager, _) in &daemons {
        hears(manager, "STATUS=ready").await;
        let ready = check(program, directory);
        assert_eq!((ready.status.code(), ready.stdout.as_slice()), (Some(0), b"ready\n".as_slice()));
    }
    for (_, _, manager, daemon) in daemons.iter_mut().rev() {
        daemon.stop().await;
        hears(manager, "STOPPING=1").await;
    }
}
