//! Opening a session, and the task that polls it until it ends.
//!
//! The task does nothing but poll and hand over: a publish awaited here would wait for a queue that only this
//! task empties.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, Publish, QoS, StateError, SubAck, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport, mqttbytes,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

use crate::error::{LossReason, OpenError, Refusal, SessionLost, Step, TlsError};
use crate::inbox::{self, Inbox, InboxSender};
use crate::ledger::Ledger;
use crate::message::Delivery;
use crate::options::SessionOptions;
use crate::outbox::{Outbox, is_topic};
use crate::tls;

/// The shortest keep-alive: the client library refuses less.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a session that failed to open may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects, subscribes, checks every subscription, and returns the two ends of the session.
///
/// Retained messages may already be in the inbox then. The session ends when [`Outbox::close`] is called, when
/// anything goes wrong, or when all ends are dropped (then the broker publishes the will).
///
/// # Errors
/// [`OpenError`]: what went wrong and what to do. Nothing is left behind and no will is published.
pub async fn open(options: SessionOptions) -> Result<(Outbox, Inbox), OpenError> {
    let mut opening = Opening::new(options).await?;
    let limit = opening.options.connect_timeout;
    match timeout(limit, opening.run()).await {
        Ok(Ok(())) => Ok(opening.start()),
        Ok(Err(error)) => {
            opening.goodbye().await;
            Err(error)
        }
        Err(_) => {
            opening.goodbye().await;
            let broker = opening.options.broker;
            Err(OpenError::TimedOut { broker, step: opening.step, timeout: limit })
        }
    }
}

/// A session on its way.
struct Opening {
    options: SessionOptions,
    client: AsyncClient,
    event_loop: EventLoop,
    step: Step,
    /// Arrived before the subscription was acknowledged.
    early: Vec<Delivery>,
}

impl Opening {
    async fn new(options: SessionOptions) -> Result<Self, OpenError> {
        check_topics(&options)?;
        let mqtt = mqtt_options(&options).await?;
        // As good as no bound: the outbox must never wait, and counts its bytes itself.
        let (client, mut event_loop) = AsyncClient::new(mqtt, usize::MAX / 2);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        // Also the limit for writing a packet. Connecting has a limit of its own, in `open`.
        network.set_connection_timeout(options.write_timeout.as_secs().max(1));
        event_loop.set_network_options(network);
        Ok(Self { options, client, event_loop, step: Step::Connect, early: Vec::new() })
    }

    async fn run(&mut self) -> Result<(), OpenError> {
        self.next_packet(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await?;
        self.step = Step::Subscribe;
        if self.options.subscriptions.is_empty() {
            return Ok(());
        }
        let filter = |filter: &String| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce);
        let filters: Vec<_> = self.options.subscriptions.iter().map(filter).collect();
        // The filters are checked and the queue has no bound: this cannot fail.
        let _ = self.client.try_subscribe_many(filters);
        let SubAck { return_codes, .. } = self
            .next_packet(|packet| if let Packet::SubAck(suback) = packet { Some(suback) } else { None })
            .await?;
        let answers = return_codes.into_iter().map(Some).chain(std::iter::repeat(None));
        for (filter, answer) in self.options.subscriptions.iter().zip(answers) {
            if !matches!(answer, Some(SubscribeReasonCode::Success(_))) {
                return Err(OpenError::SubscriptionRefused {
                    broker: self.options.broker.clone(),
                    client_id: self.options.client_id.clone(),
                    filter: filter.clone(),
                });
            }
        }
        Ok(())
    }

    /// The first packet that `wanted` wants. Deliveries before it are kept.
    async fn next_packet<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> Result<T, OpenError> {
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => self.early.push(delivery(publish)),
                Ok(Event::Incoming(packet)) => {
                    if let Some(found) = wanted(packet) {
                        return Ok(found);
                    }
                }
                Ok(Event::Outgoing(_)) => {}
                Err(error) => return Err(open_error(error, self.step, &self.options)),
            }
        }
    }

    /// Says goodbye if there is anybody to say it to, so that the broker does not publish the will.
    async fn goodbye(&mut self) {
        if self.event_loop.network.is_some() && self.client.try_disconnect().is_ok() {
            let _ = timeout(GOODBYE_TIMEOUT, async { while self.event_loop.poll().await.is_ok() {} }).await;
        }
    }

    fn start(self) -> (Outbox, Inbox) {
        let Self { options, client, event_loop, early, .. } = self;
        let ledger = Arc::new(Ledger::new(options.inflight));
        let (inbox, receiver) = inbox::channel(options.inbox_bytes);
        for delivery in early {
            inbox.send(delivery);
        }
        let max_packet_bytes = options.max_packet_bytes;
        let (running, ended) = watch::channel(());
        let poll = Poll { event_loop, ledger: ledger.clone(), inbox, options, _running: running };
        let guard = Arc::new(Guard { task: tokio::spawn(poll.run()).abort_handle(), ended });
        let outbox = Outbox::new(client, ledger.clone(), max_packet_bytes, guard.clone());
        (outbox, receiver.into_inbox(ledger, guard))
    }
}

/// Ends the poll task when neither outbox nor inbox is left. That cuts the connection: the will is published.
#[derive(Debug)]
pub(crate) struct Guard {
    task: AbortHandle,
    ended: watch::Receiver<()>,
}

impl Guard {
    /// Waits until the poll task has ended.
    pub(crate) async fn ended(&self) {
        // Nothing is ever sent: this comes back when the sender is gone.
        let _ = self.ended.clone().changed().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The poll task's belongings.
struct Poll {
    event_loop: EventLoop,
    ledger: Arc<Ledger>,
    inbox: InboxSender,
    options: SessionOptions,
    _running: watch::Sender<()>,
}

impl Poll {
    async fn run(mut self) {
        let reason = self.until_lost().await;
        // The client library read these before it noticed the end.
        for event in std::mem::take(&mut self.event_loop.state.events) {
            self.take(event);
        }
        debug!(%reason, client_id = self.options.client_id, "the session has ended");
        self.ledger.lose(SessionLost { reason });
    }

    async fn until_lost(&mut self) -> LossReason {
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => break,
                Ok(event) => self.take(event),
                Err(error) => return loss_reason(error, &self.options),
            }
            self.inbox.room().await;
        }
        // Reads on until the broker hangs up: to close a socket that holds unread data would reset the
        // connection, and the broker might not see the goodbye.
        let hung_up = async {
            while let Ok(event) = self.event_loop.poll().await {
                self.take(event);
            }
        };
        let _ = timeout(GOODBYE_TIMEOUT, hung_up).await;
        LossReason::Closed
    }

    fn take(&self, event: Event) {
        match event {
            Event::Incoming(Packet::Publish(publish)) => self.inbox.send(delivery(publish)),
            Event::Incoming(Packet::PubAck(puback)) => self.ledger.acknowledged(puback.pkid),
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.ledger.sent(packet_id),
            Event::Outgoing(Outgoing::AwaitAck(packet_id)) => self.ledger.held_back(packet_id),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

fn delivery(publish: Publish) -> Delivery {
    Delivery { topic: publish.topic, payload: publish.payload, retained: publish.retain }
}

/// What the client library would refuse with an error that does not name it.
fn check_topics(options: &SessionOptions) -> Result<(), OpenError> {
    for filter in &options.subscriptions {
        if !rumqttc::valid_filter(filter) {
            return Err(OpenError::InvalidTopic { topic: filter.clone(), is_filter: true });
        }
    }
    match &options.will {
        Some(will) if !is_topic(&will.topic) => {
            Err(OpenError::InvalidTopic { topic: will.topic.clone(), is_filter: false })
        }
        _ => Ok(()),
    }
}

async fn mqtt_options(options: &SessionOptions) -> Result<MqttOptions, OpenError> {
    let host = options.broker.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut mqtt = MqttOptions::new(&options.client_id, host, options.broker.port());
    mqtt.set_clean_session(true)
        .set_keep_alive(options.keep_alive.max(MIN_KEEP_ALIVE))
        .set_max_packet_size(options.max_packet_bytes, options.max_packet_bytes)
        .set_inflight(options.inflight.max(1));
    if let Some((user, password)) = options.broker.credentials() {
        mqtt.set_credentials(user, password);
    }
    if let Some(will) = &options.will {
        mqtt.set_last_will(LastWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, will.retain));
    }
    if options.broker.is_tls() {
        let trusted = tls::client_config(options.ca_file.as_deref()).await;
        let config = trusted.map_err(|source| OpenError::Tls { broker: options.broker.clone(), source })?;
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(mqtt)
}

/// What went wrong before the session was open.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are not ours and have arms that cannot occur here"
)]
fn open_error(error: ConnectionError, step: Step, options: &SessionOptions) -> OpenError {
    let broker = options.broker.clone();
    match error {
        ConnectionError::Io(source) => OpenError::Unreachable { broker, source },
        ConnectionError::NetworkTimeout => {
            OpenError::TimedOut { broker, step, timeout: options.write_timeout }
        }
        ConnectionError::ConnectionRefused(code) => {
            let client_id = options.client_id.clone();
            match refusal(code) {
                Some(code) => OpenError::Rejected { broker, client_id, code },
                None => {
                    OpenError::HungUp { broker, source: SessionLost { reason: LossReason::ClosedByBroker } }
                }
            }
        }
        ConnectionError::Tls(rumqttc::TlsError::DNSName(_)) => {
            let source = TlsError::Host { host: options.broker.host().to_owned() };
            OpenError::Tls { broker, source }
        }
        ConnectionError::Tls(error) => {
            OpenError::Tls { broker, source: TlsError::Handshake(error.to_string()) }
        }
        other => OpenError::HungUp { broker, source: SessionLost { reason: loss_reason(other, options) } },
    }
}

fn refusal(code: ConnectReturnCode) -> Option<Refusal> {
    match code {
        ConnectReturnCode::Success => None,
        ConnectReturnCode::RefusedProtocolVersion => Some(Refusal::ProtocolVersion),
        ConnectReturnCode::BadClientId => Some(Refusal::ClientId),
        ConnectReturnCode::ServiceUnavailable => Some(Refusal::Unavailable),
        ConnectReturnCode::BadUserNamePassword => Some(Refusal::Credentials),
        ConnectReturnCode::NotAuthorized => Some(Refusal::NotAuthorised),
    }
}

/// Why the client library gave up, in our words.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are not ours and have arms that cannot occur here"
)]
fn loss_reason(error: ConnectionError, options: &SessionOptions) -> LossReason {
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => LossReason::ClosedByBroker,
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            LossReason::Silent { keep_alive: options.keep_alive.max(MIN_KEEP_ALIVE) }
        }
        ConnectionError::MqttState(StateError::Deserialization(error)) => match error {
            mqttbytes::Error::PayloadSizeLimitExceeded(packet_bytes) => {
                LossReason::PacketTooLarge { packet_bytes, limit_bytes: options.max_packet_bytes }
            }
            mqttbytes::Error::Io(error) => io_reason(&error),
            other => LossReason::Protocol { message: other.to_string() },
        },
        ConnectionError::MqttState(other) => LossReason::Protocol { message: other.to_string() },
        ConnectionError::Io(error) => io_reason(&error),
        ConnectionError::FlushTimeout | ConnectionError::NetworkTimeout => {
            LossReason::Stuck { write_timeout: options.write_timeout }
        }
        other => LossReason::Protocol { message: other.to_string() },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enums are not ours and may grow")]
fn io_reason(error: &io::Error) -> LossReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            LossReason::ClosedByBroker
        }
        _ => LossReason::Network { message: error.to_string() },
    }
}
