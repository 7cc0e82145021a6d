//! Why a session could not be opened, why it ended, why a message was not published.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker_url::BrokerUrl;

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection to the broker's port.
    #[error(
        "the broker {broker} cannot be reached: {source}; check that it runs, its address, and the firewall between"
    )]
    Unreachable {
        /// The broker's URL.
        broker: BrokerUrl,
        /// What the system says.
        source: io::Error,
    },
    /// The connection ended before the broker had answered as it should.
    #[error(
        "no session with {broker}: {}; check that an MQTT 3.1.1 broker listens there, {} TLS, and that it takes Last Wills with QoS 1, also \
         retained ones (Mosquitto: max_qos, retain_available)",
        .source.reason, if .broker.is_tls() { "with" } else { "without" }
    )]
    HungUp {
        /// The broker's URL.
        broker: BrokerUrl,
        /// What ended it.
        source: SessionLost,
    },
    /// The broker refuses us.
    #[error("the broker {broker} refuses the client {client_id:?}: {code}")]
    Rejected {
        /// The broker's URL.
        broker: BrokerUrl,
        /// The client id that was refused.
        client_id: String,
        /// Why, and what to do.
        code: Refusal,
    },
    /// The broker refuses a subscription.
    #[error(
        "the broker {broker} refuses the subscription to {filter:?}; allow the client {client_id:?} to read it in the broker's access list \
         (NATS: or lower max_ack_pending, of which all subscriptions of a client together may have 65535)"
    )]
    SubscriptionRefused {
        /// The broker's URL.
        broker: BrokerUrl,
        /// The client id.
        client_id: String,
        /// The topic filter that was refused.
        filter: String,
    },
    /// The broker would deliver with less than was asked for.
    #[error(
        "the broker {broker} grants the subscription to {filter:?} with QoS 0 only, so that events would get lost; let it grant QoS 1 \
         (Mosquitto: max_qos)"
    )]
    QosTooLow {
        /// The broker's URL.
        broker: BrokerUrl,
        /// The topic filter.
        filter: String,
    },
    /// A topic filter or the topic of the will breaks the rules of MQTT.
    #[error("{topic:?} is not a valid MQTT topic{}", if *.is_filter { " filter" } else { " to publish on" })]
    InvalidTopic {
        /// The topic or filter.
        topic: String,
        /// Whether it was to be subscribed to.
        is_filter: bool,
    },
    /// MQTT cannot carry something as long as this.
    #[error("{field} has {bytes} bytes; MQTT allows 65535")]
    TooLong {
        /// What is too long.
        field: &'static str,
        /// Its length, in bytes.
        bytes: usize,
    },
    /// Connecting and subscribing took too long.
    #[error(
        "the broker {broker} did not answer the {step} within {timeout:?}; check that an MQTT broker listens there and is not overloaded"
    )]
    TimedOut {
        /// The broker's URL.
        broker: BrokerUrl,
        /// What was not answered.
        step: Step,
        /// How long we waited.
        timeout: Duration,
    },
    /// TLS could not be set up, or the broker's certificate was refused.
    #[error("no TLS connection to {broker}: {source}")]
    Tls {
        /// The broker's URL.
        broker: BrokerUrl,
        /// What is wrong.
        source: TlsError,
    },
}

impl OpenError {
    /// Whether it may go away by itself, so that trying again makes sense. What is not is a matter of
    /// configuration, here or at the broker.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::HungUp { .. } | Self::TimedOut { .. } => true,
            Self::Rejected { code, .. } => matches!(code, Refusal::Unavailable),
            Self::SubscriptionRefused { .. }
            | Self::QosTooLow { .. }
            | Self::InvalidTopic { .. }
            | Self::TooLong { .. }
            | Self::Tls { .. } => false,
        }
    }
}

/// What is wrong with TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of trusted certificates cannot be read.
    #[error("the certificates in {path:?} cannot be read: {reason}; give a PEM file")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is nothing to trust.
    #[error("no trusted certificate is known here; install the system's certificates or give a CA file")]
    NothingTrusted,
    /// The host is not a name that a certificate could hold.
    #[error(
        "{host:?} cannot be checked against a certificate; use the name that the broker's certificate holds"
    )]
    Host {
        /// The host of the broker's URL.
        host: String,
    },
    /// The handshake failed.
    #[error("{0}; check that the port speaks TLS and that the CA file belongs to the broker's certificate")]
    Handshake(String),
}

/// A step of opening a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Step {
    /// TCP, TLS, and the MQTT CONNECT.
    #[error("connection request")]
    Connect,
    /// The MQTT SUBSCRIBE.
    #[error("subscription")]
    Subscribe,
}

/// Why the broker refused the connection: the return code of its CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Code 1.
    #[error("it does not speak MQTT 3.1.1; use a broker that does")]
    ProtocolVersion,
    /// Code 2.
    #[error("it does not accept the client id; choose another one")]
    ClientId,
    /// Code 3.
    #[error("it is not available; look into its log")]
    Unavailable,
    /// Code 4.
    #[error("wrong user name or password; check the broker URL")]
    Credentials,
    /// Code 5.
    #[error(
        "not authorised; give user name and password in the broker URL, or allow the client in the broker's configuration"
    )]
    NotAuthorised,
}

/// The session has ended. There is no way back: open a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session with the broker has ended: {reason}")]
pub struct SessionLost {
    /// Why.
    pub reason: LossReason,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossReason {
    /// We closed it.
    #[error("it was closed here")]
    Closed,
    /// The broker ended the connection. MQTT 3.1.1 gives no reason.
    #[error(
        "the broker ended the connection (it stopped, or refused a packet, or another client has the same client id)"
    )]
    ClosedByBroker,
    /// The network failed.
    #[error("the connection failed: {message}")]
    Network {
        /// What the system says.
        message: String,
    },
    /// A ping was not answered.
    #[error("the broker did not answer for {keep_alive:?}")]
    Silent {
        /// The session's keep-alive.
        keep_alive: Duration,
    },
    /// Nothing could be written.
    #[error("the broker took nothing from the connection for {write_timeout:?}")]
    Stuck {
        /// The session's limit.
        write_timeout: Duration,
    },
    /// A packet from the broker is larger than we accept.
    #[error("the broker sent a packet of {packet_bytes} bytes, above the limit of {limit_bytes}")]
    PacketTooLarge {
        /// Size of the packet, in bytes.
        packet_bytes: usize,
        /// The session's limit, in bytes.
        limit_bytes: usize,
    },
    /// What the broker sent is not MQTT 3.1.1.
    #[error("the broker sent something that is not MQTT 3.1.1: {message}")]
    Protocol {
        /// What was wrong.
        message: String,
    },
}

/// Why a message was not published, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The session ended before the broker acknowledged it: it may or may not have been published.
    #[error(transparent)]
    Lost(#[from] SessionLost),
    /// The message is larger than the session's limit: it was not sent.
    #[error(
        "a message of {packet_bytes} bytes to {topic:?} is above the limit of {limit_bytes} bytes a packet; send less at once or raise the limit"
    )]
    TooLarge {
        /// Its topic.
        topic: String,
        /// Its size as a packet, in bytes.
        packet_bytes: usize,
        /// The session's limit, in bytes.
        limit_bytes: usize,
    },
    /// Its topic has a wildcard, is empty or too long: it was not sent.
    #[error("{topic:?} is not a topic to publish on")]
    InvalidTopic {
        /// Its topic.
        topic: String,
    },
}

/// Why [`Outbox::close`](crate::Outbox::close) could not say goodbye properly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The session had ended before, or ended meanwhile: the broker publishes the will.
    #[error(transparent)]
    Lost(#[from] SessionLost),
    /// The session was closed, but the broker had not acknowledged everything in time.
    #[error("closed, but the broker had not acknowledged {messages} messages after {timeout:?}")]
    Unacknowledged {
        /// How many.
        messages: usize,
        /// How long we waited.
        timeout: Duration,
    },
}
