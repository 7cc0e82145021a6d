//! What we say: queued at once, sent in order, acknowledged later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::error;

use crate::error::{CloseError, LossReason, PublishError};
use crate::message::Message;
use crate::options::{SessionOptions, is_topic};
use crate::queue::{Queue, Queued};
use crate::session::Guard;

/// The sending end of a session. Clones share one queue.
///
/// Nothing here waits for the network except where the name says so. Messages reach the broker in the order in
/// which `publish` was called. The queue has no bound of its own: whoever produces looks at
/// [`queued_bytes`](Self::queued_bytes).
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Arc<Queue>,
    max_packet_bytes: usize,
    close_timeout: Duration,
    refused: Arc<AtomicU64>,
    guard: Arc<Guard>,
}

impl Outbox {
    pub(crate) fn new(queue: Arc<Queue>, options: &SessionOptions, guard: Arc<Guard>) -> Self {
        let SessionOptions { max_packet_bytes, close_timeout, .. } = *options;
        Self { queue, max_packet_bytes, close_timeout, refused: Arc::default(), guard }
    }

    /// Publishes without waiting. Once the session has ended the message is dropped silently: the
    /// [`Inbox`](crate::Inbox) tells. A message that may not be sent at all (too large, a wildcard in the
    /// topic) is logged and counted by [`refused`](Self::refused).
    pub fn publish(&self, message: Message) {
        // What goes wrong here is logged, or comes out of the inbox.
        let _ = self.queue_up(message, None);
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
        let queued = self.queue_up(message, Some(confirm));
        // Keeps the session alive until the answer is there.
        let outbox = self.clone();
        async move {
            queued?;
            confirmed.await.map_err(|_| PublishError::Lost(outbox.queue.loss()))
        }
    }

    /// Payload bytes published and not yet acknowledged by the broker.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// How many messages were refused because they may not be sent at all.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether the session is over: whatever is published now is dropped.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.queue.lost().is_some()
    }

    /// Ends the session so that the broker does not publish the will: waits until everything published
    /// so far is acknowledged, but not longer than [`close_timeout`](crate::SessionOptions::close_timeout), then
    /// says goodbye. What other clones publish from now on is dropped.
    ///
    /// # Errors
    /// [`CloseError`]: the session was lost before it could be closed, or some messages may not have arrived.
    pub async fn close(self) -> Result<(), CloseError> {
        self.queue.begin_closing();
        let in_time = timeout(self.close_timeout, self.queue.settled()).await.is_ok();
        match self.queue.lost() {
            // Another clone was faster.
            Some(lost) if lost.reason == LossReason::Closed => return Ok(()),
            Some(lost) => return Err(lost.into()),
            None => {}
        }
        let messages = self.queue.messages();
        self.queue.goodbye.notify_one();
        self.guard.ended().await;
        if in_time {
            Ok(())
        } else {
            Err(CloseError::Unacknowledged { messages, timeout: self.close_timeout })
        }
    }

    fn queue_up(&self, message: Message, confirm: Option<oneshot::Sender<()>>) -> Result<(), PublishError> {
        self.check(&message).inspect_err(|error| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            error!(%error, "a message was not published");
        })?;
        self.queue.push(Queued { message, confirm })
    }

    /// What MQTT or the broker could not take: it would end the connection.
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
