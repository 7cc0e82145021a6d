//! Torrent Server Startup, steps 1 and 2: connect with a will, subscribe, and check every subscription.

use bus::{Message, OpenError, SessionOptions};
use daemon::config::Common;
use daemon::link::Session;
use protocol::event::{ClientGoodbye, TorrentEnvelope, reason};
use protocol::{ClientId, EventId, EventKind, Incarnation, InstanceId, encode_torrent};

/// How a torrent appears on the bus.
#[derive(Debug, Clone)]
pub struct Appearance {
    /// Its name.
    pub client: ClientId,
    /// Its data directory.
    pub instance: InstanceId,
    /// Its start.
    pub incarnation: Incarnation,
}

/// Opens a session. If it breaks, the broker says the goodbye that is called `goodbye`.
pub async fn open(
    common: Common,
    appearance: Appearance,
    goodbye: EventId,
) -> Result<Session<()>, OpenError> {
    let Appearance { client, instance, incarnation } = appearance;
    let mut options = SessionOptions::new(common.broker, client.as_str());
    options.subscriptions = common.topics.torrent_subscriptions(&client);
    options.max_packet_bytes = common.limits.max_event_bytes + (64 << 10);
    options.ca_file = common.broker_ca;
    // The will is fixed before the tracker's features are known, so it goes where everybody listens.
    let envelope = TorrentEnvelope {
        event_id: goodbye,
        client_identifier: Some(client),
        instance: Some(instance),
        incarnation: Some(incarnation),
        registration: None,
        in_reply_to: None,
    };
    let body = ClientGoodbye { reason: Some(reason::CONNECTION_LOST.to_owned()) };
    let payload = encode_torrent(&envelope, &body.into());
    options.will = Some(Message::new(common.topics.shared(EventKind::ClientGoodbye), payload));
    let (outbox, inbox) = bus::open(options).await?;
    Ok(Session { outbox, inbox, extra: () })
}
