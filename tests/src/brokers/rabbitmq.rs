//! A real RabbitMQ with its MQTT plug-in, one node or a cluster on one machine, from `config/brokers/rabbitmq.conf` and
//! `rabbitmq-cluster.conf`.
//!
//! Everything that RabbitMQ would share with another one on this machine is its own: the port mapper (epmd), the cookie, the names and
//! ports of the nodes, their directories.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::process::Process;
use super::{Package, State, free_port, shipped, with_lines};
use crate::loopback::own_address;

/// The package to ask for.
pub const PACKAGE: Package =
    Package { name: "RabbitMQ", program: "rabbitmq-server", package: "rabbitmq-server" };

/// The nodes speak to each other on the loopback interface only, and leave the processor to others while they have nothing to do.
const ERLANG_ARGUMENTS: &str =
    "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none";

/// RabbitMQ on one node or more. All are killed when it is dropped.
#[derive(Debug)]
pub struct RabbitMq {
    binary: PathBuf,
    nodes: Vec<Node>,
    /// What tells the nodes each other's ports. After the nodes, which look for it when they end.
    _port_mapper: Process,
    port_mapper_port: u16,
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    name: String,
    address: SocketAddr,
    /// Where the other nodes reach it.
    distribution_port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl RabbitMq {
    /// Starts one node as it is recommended.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(1)
    }

    /// Starts a cluster of three nodes.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    #[must_use]
    pub fn start_cluster() -> Self {
        Self::launch(3)
    }

    fn launch(nodes: usize) -> Self {
        let binary = PACKAGE.find().expect("RabbitMQ is installed: the test said that it needs it");
        let directory = TempDir::with_prefix("rabbitmq-").expect("a temporary directory can be made");
        let port_mapper_port = steady_port();
        let mut port_mapper = Command::new("epmd");
        port_mapper.args(["-address", "127.0.0.1", "-port", &port_mapper_port.to_string()]);
        let mut port_mapper = Process::spawn(&mut port_mapper, &directory.path().join("epmd.log"));
        let mapper_address = SocketAddr::from((Ipv4Addr::LOCALHOST, port_mapper_port));
        port_mapper.listens(mapper_address, |_| true).unwrap_or_else(|log| panic!("{log}"));

        let ip = own_address();
        let nodes: Vec<Node> = (1..=nodes)
            .map(|number| Node {
                name: format!("mds{number}@localhost"),
                address: SocketAddr::from((ip, free_port(ip))),
                distribution_port: steady_port(),
                directory: directory.path().join(format!("node{number}")),
                process: None,
            })
            .collect();
        for node in &nodes {
            node.configure(nodes.len());
        }
        let mut broker = Self { binary, nodes, _port_mapper: port_mapper, port_mapper_port, directory };
        broker.start_all();
        broker
    }

    /// Where its nodes listen, as the daemons want it.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("mqtt://{}", node.address)).collect()
    }

    /// Where its first node listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// Ends all nodes and starts them again on the same ports: one after the other if they are to keep what they have, as one restarts a
    /// cluster.
    ///
    /// # Panics
    /// If they do not start.
    pub fn restart(&mut self, state: State) {
        if state == State::Kept {
            for index in 0..self.nodes.len() {
                if let Some(mut process) = self.nodes[index].process.take() {
                    process.terminate();
                    process.ended();
                }
                self.start_node(index);
            }
            return;
        }
        for node in &mut self.nodes {
            node.process = None;
        }
        for node in &self.nodes {
            fs::remove_dir_all(node.directory.join("data")).expect("its data can be deleted");
        }
        self.start_all();
    }

    /// Ends one node as a crash would.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn kill_node(&mut self, index: usize) {
        self.nodes[index].process = None;
    }

    /// Starts a node again that was ended.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let command = &mut node.command(&self.binary, self.directory.path(), self.port_mapper_port);
        let mut process = Process::spawn(command, &node.directory.join("log"));
        let is_ready = |log: &str| log.contains("Server startup complete");
        let listens = process.listens(node.address, is_ready);
        let is_up = listens.and_then(|()| process.takes_sessions(node.address));
        is_up.unwrap_or_else(|log| panic!("{}: {log}", node.name));
        node.process = Some(process);
    }

    /// One after the other: where all are new at once, RabbitMQ 3.10 now and then does not agree on who leads the register of MQTT clients,
    /// and takes no session for minutes.
    fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start_node(index);
        }
    }
}

impl Node {
    fn configure(&self, nodes: usize) {
        fs::create_dir_all(&self.directory).expect("a directory can be made");
        let listener = format!("mqtt.listeners.tcp.default = {}", self.address);
        let mut configuration =
            with_lines(&shipped("brokers/rabbitmq.conf"), &[("mqtt.listeners.tcp.default", listener)]);
        if nodes > 1 {
            let keys: Vec<String> = (1..=nodes)
                .map(|number| format!("cluster_formation.classic_config.nodes.{number}"))
                .collect();
            let named: Vec<(&str, String)> = keys
                .iter()
                .zip(1..)
                .map(|(key, number): (_, usize)| (key.as_str(), format!("{key} = mds{number}@localhost")))
                .collect();
            configuration += &with_lines(&shipped("brokers/rabbitmq-cluster.conf"), &named);
        }
        for (file, text) in
            [("rabbitmq.conf", configuration.as_str()), ("enabled_plugins", "[rabbitmq_mqtt].\n")]
        {
            fs::write(self.directory.join(file), text).expect("the configuration can be written");
        }
    }

    /// `home` holds the cookie that the nodes share.
    fn command(&self, binary: &Path, home: &Path, port_mapper_port: u16) -> Command {
        let mut command = Command::new(binary);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("RABBITMQ_") {
                command.env_remove(variable);
            }
        }
        let inside = |name: &str| self.directory.join(name);
        command
            .env("HOME", home)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", port_mapper_port.to_string())
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS)
            .env("RABBITMQ_MNESIA_BASE", inside("data"))
            .env("RABBITMQ_LOG_BASE", inside("logs"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins"))
            // Otherwise those of a RabbitMQ that this machine may have.
            .env("RABBITMQ_CONF_ENV_FILE", inside("no-such-file"))
            .env("RABBITMQ_CONFIG_FILES", inside("no-such-directory"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", inside("no-such-file.config"));
        command
    }
}

/// A free port below those that the system gives to connections that go out: it is still free when a node comes back.
fn steady_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(process::id() % 500).unwrap_or_default() * 40;
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
