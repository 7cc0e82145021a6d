//! The broker of one measurement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{Process, free_port, on_path};
use crate::sample::Role;

/// Where Debian installs it; not on the `PATH` of every user.
const DEBIAN_BINARY: &str = "/usr/sbin/mosquitto";

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
        let port = free_port()?;
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
        process.await_port(port, &log)?;
        Ok(Self { process, port })
    }
}

fn binary() -> Result<PathBuf> {
    let debian = || Some(PathBuf::from(DEBIAN_BINARY)).filter(|binary| binary.is_file());
    on_path("mosquitto")
        .or_else(debian)
        .context("Mosquitto is not installed: run `apt-get install mosquitto`")
}
