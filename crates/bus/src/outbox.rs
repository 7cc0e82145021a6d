//! What we say: handed over at once, sent in order, acknowledged later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use rumqttc::{AsyncClient, QoS};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::error;

use crate::error::{CloseError, LossReason, PublishError, SessionLost};
use crate::ledger::{Entry, Ledger};
use crate::message::Message;
use crate::session::Guard;

/// How long [`Outbox::close`] waits for acknowledgements.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`Outbox::close`] then waits for the broker to end the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// The sending end of a session. Clones share one queue.
///
/// Nothing here waits for the network except where the name says so. Messages reach the broker in the order in
/// which `publish` was called. The queue has no bound of its own: whoever produces looks at
/// [`queued_bytes`](Self::queued_bytes).
#[derive(Debug, Clone)]
pub struct Outbox {
    client: AsyncClient,
    ledger: Arc<Ledger>,
    max_packet_bytes: usize,
    refused: Arc<AtomicU64>,
    guard: Arc<Guard>,
}

impl Outbox {
    pub(crate) fn new(
        client: AsyncClient,
        ledger: Arc<Ledger>,
        max_packet_bytes: usize,
        guard: Arc<Guard>,
    ) -> Self {
        Self { client, ledger, max_packet_bytes, refused: Arc::default(), guard }
    }

    /// Publishes without waiting. Once the session has ended the message is dropped silently: the
    /// [`Inbox`](crate::Inbox) tells. A message that may not be sent at all (too large, a wildcard in the
    /// topic) is logged and counted by [`refused`](Self::refused).
    pub fn publish(&self, message: Message) {
        // What goes wrong here is logged, or comes out of the inbox.
        let _ = self.hand_over(message, None);
    }

    /// Publishes, and waits until the broker has acknowledged.
    ///
    /// The message is queued when this is called, before it is first awaited on. An acknowledgement says that
    /// the broker has it, not that anybody got it, nor that it is durable.
    ///
    /// # Errors
    /// [`PublishError::Lost`]: it may or may not have been published. The others: it was not.
    pub fn publish_confirmed(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + 'static {
        let (confirm, confirmed) = oneshot::channel();
        let handed_over = self.hand_over(message, Some(confirm));
        let ledger = self.ledger.clone();
        async move {
            handed_over?;
            confirmed.await.map_err(|_| PublishError::Lost(ledger.loss()))
        }
    }

    /// Payload bytes published and not yet acknowledged by the broker.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.ledger.lock().bytes()
    }

    /// How many messages were refused because they may not be sent at all.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends the session so that the broker does not publish the will: waits up to 5 s until everything
    /// published so far is acknowledged, then says goodbye. What other clones publish from now on is dropped.
    ///
    /// # Errors
    /// [`CloseError`]: the session was lost before it could be closed, or some messages may not have arrived.
    pub async fn close(self) -> Result<(), CloseError> {
        self.ledger.lock().begin_closing();
        let in_time = timeout(CLOSE_TIMEOUT, self.settled()).await.is_ok();
        let messages = {
            let book = self.ledger.lock();
            if let Some(lost) = book.lost().filter(|lost| lost.reason != LossReason::Closed) {
                return Err(lost.clone().into());
            }
            book.messages()
        };
        // The queue has no bound and the poll task owns the other end: this cannot block.
        let _ = self.client.try_disconnect();
        let _ = timeout(GOODBYE_TIMEOUT, self.guard.ended()).await;
        if in_time { Ok(()) } else { Err(CloseError::Unacknowledged { messages, timeout: CLOSE_TIMEOUT }) }
    }

    /// Waits until nothing is unacknowledged or the session is over.
    async fn settled(&self) {
        loop {
            let rung = self.ledger.settled.notified();
            {
                let book = self.ledger.lock();
                if book.messages() == 0 || book.lost().is_some() {
                    return;
                }
            }
            rung.await;
        }
    }

    fn hand_over(&self, message: Message, confirm: Option<oneshot::Sender<()>>) -> Result<(), PublishError> {
        self.check(&message).inspect_err(|error| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            error!(%error, "a message was not published");
        })?;
        let mut book = self.ledger.lock();
        if let Some(lost) = book.lost() {
            return Err(lost.clone().into());
        }
        if book.is_closing() {
            return Err(SessionLost { reason: LossReason::Closed }.into());
        }
        book.enter(Entry { bytes: message.payload.len(), confirm });
        let Message { topic, payload, retain } = message;
        // The queue has no bound, so this is done at once. It must happen under the lock: entries and messages
        // have the same order.
        let queued = self.client.publish_bytes(topic, QoS::AtLeastOnce, retain, payload).now_or_never();
        debug_assert!(queued.is_some(), "a queue without a bound never makes its user wait");
        Ok(())
    }

    /// What would end the connection if it reached the client library.
    fn check(&self, message: &Message) -> Result<(), PublishError> {
        let packet_bytes = message.packet_bytes();
        if packet_bytes > self.max_packet_bytes {
            return Err(PublishError::TooLarge {
                topic: message.topic.clone(),
                packet_bytes,
                limit_bytes: self.max_packet_bytes,
            });
        }
        if !is_topic(&message.topic) {
            return Err(PublishError::InvalidTopic { topic: message.topic.clone() });
        }
        Ok(())
    }
}

/// Whether MQTT allows to publish on this topic.
pub(crate) fn is_topic(topic: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}
