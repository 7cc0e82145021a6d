//! What brokers do differently, as measured on the packages of Debian 12 and rumqttd 0.20.

use std::time::Duration;

use super::message::Order;

/// The ways of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// For people.
    pub name: &'static str,
    /// In which order a subscriber gets what several publish.
    pub order: Order,
    /// Most copies that wait for one subscriber; what is more is lost, and was acknowledged all the same.
    pub queue: usize,
    /// Whether a subscription with wildcards is told what is retained.
    pub retained_on_wildcards: bool,
    /// Whether a subscriber gets a copy for each of its subscriptions that fit.
    pub copies_overlapping: bool,
    /// Whether the will is published of a connection that another with the same identifier ends.
    pub will_on_takeover: bool,
    /// Whether a client that takes over again at once is held and thrown out.
    pub jails: bool,
    /// After so long without an acknowledgement a message is told again, behind newer ones.
    pub tells_again_after: Option<Duration>,
    /// Whether what is retained survives the end of the process: by a signal, and at once.
    pub retained_survives: (bool, bool),
    /// How many nodes there are; each retains for itself.
    pub nodes: usize,
}

/// No broker is as good as this.
pub const IDEAL: Profile = Profile {
    name: "ideal",
    order: Order::Fifo,
    queue: usize::MAX,
    retained_on_wildcards: true,
    copies_overlapping: false,
    will_on_takeover: true,
    jails: false,
    tells_again_after: None,
    retained_survives: (true, true),
    nodes: 1,
};

/// Mosquitto 2.0.11.
pub const MOSQUITTO: Profile =
    Profile { name: "Mosquitto", queue: 1000, retained_survives: (true, false), ..IDEAL };

/// NATS 2.9.10 with JetStream.
pub const NATS: Profile = Profile {
    name: "NATS",
    copies_overlapping: true,
    will_on_takeover: false,
    jails: true,
    tells_again_after: Some(Duration::from_secs(30)),
    ..IDEAL
};

/// RabbitMQ 3.10.8 with its MQTT plugin.
pub const RABBITMQ: Profile = Profile {
    name: "RabbitMQ",
    order: Order::PerPublisher,
    retained_on_wildcards: false,
    will_on_takeover: false,
    retained_survives: (true, false),
    ..IDEAL
};

/// Three nodes of it.
pub const RABBITMQ_CLUSTER: Profile = Profile { name: "RabbitMQ cluster", nodes: 3, ..RABBITMQ };

/// rumqttd 0.20, which the demo embeds: all in memory.
pub const RUMQTTD: Profile =
    Profile { name: "rumqttd", copies_overlapping: true, retained_survives: (false, false), ..IDEAL };

/// What MQTT promises, and nothing more.
pub const SPECIFICATION: Profile = Profile {
    name: "specification",
    order: Order::PerTopic,
    copies_overlapping: true,
    retained_survives: (false, false),
    ..IDEAL
};

/// Less than that: any order.
pub const WORSE: Profile =
    Profile { name: "worse", order: Order::Any, retained_on_wildcards: false, ..SPECIFICATION };

/// All that a life may have.
pub const PROFILES: [Profile; 7] =
    [MOSQUITTO, NATS, RABBITMQ, RABBITMQ_CLUSTER, RUMQTTD, SPECIFICATION, WORSE];
