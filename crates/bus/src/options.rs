//! What a session needs to know before it is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::broker_url::BrokerUrl;
use crate::message::Message;

/// How to open a session. Start from [`SessionOptions::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Where the broker is, and the credentials.
    pub broker: BrokerUrl,
    /// MQTT client id. A second session with the same id ends the first one.
    pub client_id: String,
    /// Topic filters to subscribe to with QoS 1, each one checked.
    pub subscriptions: Vec<String>,
    /// What the broker publishes, with QoS 1, if the session ends without [`Outbox::close`](crate::Outbox::close).
    pub will: Option<Message>,
    /// Largest MQTT packet, in bytes, either way. A larger message is refused here; a larger packet from the
    /// broker ends the session.
    pub max_packet_bytes: usize,
    /// After this long without a word a ping is sent, and after as long again without an answer the session is
    /// lost. At least 5 s: less is raised to that.
    pub keep_alive: Duration,
    /// How long connecting and subscribing may take together.
    pub connect_timeout: Duration,
    /// How long one packet may take to be written: enough for the largest one over the slowest link.
    pub write_timeout: Duration,
    /// How many messages may be published and not yet acknowledged by the broker; the rest waits here.
    pub inflight: u16,
    /// Bytes of received payload that may wait in the [`Inbox`](crate::Inbox) before nothing more is read from
    /// the broker.
    pub inbox_bytes: usize,
    /// Certificates to trust with `mqtts://`, as PEM (default: those of the system).
    pub ca_file: Option<PathBuf>,
}

impl SessionOptions {
    /// The defaults: no subscription, no will, packets up to 16 MiB, keep-alive 20 s, 10 s to connect, 60 s to
    /// write a packet, 64 messages in flight, 32 MiB in the inbox.
    #[must_use]
    pub fn new(broker: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self {
            broker,
            client_id: client_id.into(),
            subscriptions: Vec::new(),
            will: None,
            max_packet_bytes: 16 << 20,
            keep_alive: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            inflight: 64,
            inbox_bytes: 32 << 20,
            ca_file: None,
        }
    }
}
