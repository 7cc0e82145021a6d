//! What a session needs to know before it is opened.

use std::path::PathBuf;
use std::time::Duration;

use rumqttc::mqttbytes::valid_filter;

use crate::broker_url::BrokerUrl;
use crate::error::OpenError;
use crate::message::Message;

/// The shortest keep-alive: less would mean more pings than events.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Strings and wills have a length of two bytes.
const MAX_FIELD_BYTES: usize = 65_535;

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
    /// The session is lost when something is to be written and the broker takes nothing for this long.
    pub write_timeout: Duration,
    /// How long [`Outbox::close`](crate::Outbox::close) waits for acknowledgements.
    pub close_timeout: Duration,
    /// How many messages may be published and not yet acknowledged by the broker; the rest waits here.
    pub inflight: u16,
    /// Bytes of received payload that may wait in the [`Inbox`](crate::Inbox) before nothing more is read from
    /// the broker.
    pub inbox_bytes: usize,
    /// Certificates to trust with `mqtts://`, as PEM (default: those of the system).
    pub ca_file: Option<PathBuf>,
}

impl SessionOptions {
    /// The defaults: no subscription, no will, packets up to 16 MiB, keep-alive 20 s, 10 s to connect, 60 s
    /// without progress, 5 s to close, 64 messages in flight, 32 MiB in the inbox.
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
            close_timeout: Duration::from_secs(5),
            inflight: 64,
            inbox_bytes: 32 << 20,
            ca_file: None,
        }
    }

    /// The keep-alive that is used.
    pub(crate) fn effective_keep_alive(&self) -> Duration {
        self.keep_alive.max(MIN_KEEP_ALIVE)
    }

    /// Whether everything has a form that MQTT can carry.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        for filter in &self.subscriptions {
            if !valid_filter(filter) || !is_string(filter) {
                return Err(OpenError::InvalidTopic { topic: filter.clone(), is_filter: true });
            }
        }
        if let Some(will) = &self.will
            && !is_topic(&will.topic)
        {
            return Err(OpenError::InvalidTopic { topic: will.topic.clone(), is_filter: false });
        }
        let (user, password) = self.broker.credentials().unwrap_or_default();
        let will = self.will.as_ref().map_or(0, |will| will.payload.len());
        let lengths = [
            ("the client id", self.client_id.len()),
            ("the user name", user.len()),
            ("the password", password.len()),
            ("the will", will),
        ];
        match lengths.into_iter().find(|(_, bytes)| *bytes > MAX_FIELD_BYTES) {
            Some((field, bytes)) => Err(OpenError::TooLong { field, bytes }),
            None => Ok(()),
        }
    }
}

/// Whether MQTT allows to publish on this topic.
pub(crate) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && is_string(topic) && !topic.contains(['+', '#'])
}

fn is_string(text: &str) -> bool {
    text.len() <= MAX_FIELD_BYTES && !text.contains('\0')
}
