//! The broker of one measurement.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Process;
use crate::sample::Role;

/// Where Debian installs it; not on the `PATH` of every user.
const DEBIAN_BINARY: &str = "/usr/sbin/mosquitto";
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A Mosquitto with its own port, with the defaults that decide nothing: nothing is lost by its queue limit here, because neither we nor
/// the ideal have as many messages on their way.
#[derive(Debug)]
pub struct Mosquitto {
    pub process: Process,
    pub port: u16,
}

impl Mosquitto {
    pub fn start(directory: &Path) -> Result<Self> {
        let binary = binary()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = directory.join("mosquitto.conf");
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n\
             max_queued_messages 1000\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\n"
        );
        fs::write(&config, settings)?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&config);
        let log = directory.join("mosquitto.log");
        let mut process = Process::start(Role::Broker, command, &log)?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if process.has_ended()? || started.elapsed() > START_TIMEOUT {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("Mosquitto does not listen on port {port}: {said}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, port })
    }
}

fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("mosquitto"));
    let found = on_path.chain([PathBuf::from(DEBIAN_BINARY)]).find(|candidate| candidate.is_file());
    found.context("Mosquitto is not installed: run `apt-get install mosquitto`")
}
