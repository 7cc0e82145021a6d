//! A real NATS server with JetStream and its MQTT gateway, from `config/brokers/nats.conf`.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::{Package, State, free_port, shipped, with_lines};
use crate::loopback::own_address;

/// The package to ask for.
pub const PACKAGE: Package = Package { name: "NATS", program: "nats-server", package: "nats-server" };

/// A running NATS server. It is killed when dropped.
#[derive(Debug)]
pub struct Nats {
    directory: TempDir,
    binary: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Nats {
    /// Starts one as it is recommended.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one that differs in these lines of the configuration.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    #[must_use]
    pub fn start_with(lines: &[(&str, String)]) -> Self {
        let binary = PACKAGE.find().expect("NATS is installed: the test said that it needs it");
        let directory = TempDir::with_prefix("nats-").expect("a temporary directory can be made");
        let ip = own_address();
        let address = SocketAddr::from((ip, free_port(ip)));
        let mut replaced = vec![
            ("listen: 127.0.0.1:4222", format!("listen: {ip}:{}", free_port(ip))),
            ("listen: 0.0.0.0:1883", format!("listen: {address}")),
            ("store_dir:", format!("store_dir: {:?}", directory.path().join("data"))),
        ];
        replaced.extend_from_slice(lines);
        let configuration = with_lines(&shipped("brokers/nats.conf"), &replaced);
        fs::write(directory.path().join("nats.conf"), configuration)
            .expect("the configuration can be written");
        let mut broker = Self { directory, binary, address, process: None };
        broker.spawn();
        broker
    }

    /// Where it listens for MQTT, as the daemons want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Where it listens for MQTT.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and starts it again on the same port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, state: State) {
        if let Some(mut process) = self.process.take()
            && state == State::Kept
        {
            process.terminate();
            process.ended();
        }
        if state == State::Lost {
            fs::remove_dir_all(self.directory.path().join("data")).expect("its data can be deleted");
        }
        self.spawn();
    }

    fn spawn(&mut self) {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.directory.path().join("nats.conf"));
        let mut process = Process::spawn(&mut command, &self.directory.path().join("log"));
        process
            .listens(self.address, |log| log.contains("Server is ready"))
            .unwrap_or_else(|log| panic!("{log}"));
        self.process = Some(process);
    }
}
