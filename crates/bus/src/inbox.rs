//! What the broker delivered, in order, and in the end why no more will come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc};

use crate::error::SessionLost;
use crate::message::Delivery;
use crate::queue::Queue;
use crate::session::Guard;

/// The receiving end of a session.
///
/// What is waiting is bounded in bytes: when it holds [`inbox_bytes`](crate::SessionOptions::inbox_bytes),
/// nothing more is read from the broker, acknowledgements included, until some has been taken. So never wait
/// for an acknowledgement in the task that empties the inbox.
///
/// Dropping it does not end the session while there is an [`Outbox`](crate::Outbox): what arrives is discarded.
#[derive(Debug)]
pub struct Inbox {
    receiver: InboxReceiver,
    queue: Arc<Queue>,
    _guard: Arc<Guard>,
}

impl Inbox {
    /// The next delivery; once the session has ended and everything is taken, why it ended (also when asked
    /// again). May be cancelled without losing anything.
    ///
    /// # Errors
    /// [`SessionLost`]: nothing more will come. Open a new session.
    pub async fn recv(&mut self) -> Result<Delivery, SessionLost> {
        match self.receiver.deliveries.recv().await {
            Some(delivery) => Ok(self.taken(delivery)),
            None => Err(self.queue.loss()),
        }
    }

    /// The next delivery if one is waiting.
    ///
    /// # Errors
    /// [`SessionLost`]: nothing more will come. Open a new session.
    pub fn try_recv(&mut self) -> Result<Option<Delivery>, SessionLost> {
        match self.receiver.deliveries.try_recv() {
            Ok(delivery) => Ok(Some(self.taken(delivery))),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.queue.loss()),
        }
    }

    fn taken(&self, delivery: Delivery) -> Delivery {
        let load = &self.receiver.load;
        let before = load.bytes.fetch_sub(weight(&delivery), Ordering::AcqRel);
        if before > load.limit {
            load.relieved.notify_one();
        }
        delivery
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let load = &self.receiver.load;
        load.abandoned.store(true, Ordering::Release);
        load.relieved.notify_one();
    }
}

/// Bytes that wait in an inbox.
#[derive(Debug)]
struct Load {
    bytes: AtomicUsize,
    limit: usize,
    abandoned: AtomicBool,
    /// Rung when the load may have fallen under its limit.
    relieved: Notify,
}

/// The event loop's end of an inbox.
#[derive(Debug)]
pub(crate) struct InboxSender {
    deliveries: mpsc::UnboundedSender<Delivery>,
    load: Arc<Load>,
}

impl InboxSender {
    pub(crate) fn send(&self, delivery: Delivery) {
        let weight = weight(&delivery);
        self.load.bytes.fetch_add(weight, Ordering::AcqRel);
        // Nobody may be interested in deliveries any more: then they are discarded.
        let _ = self.deliveries.send(delivery);
    }

    /// Whether there is room. There always is if nobody reads the inbox any more.
    pub(crate) fn has_room(&self) -> bool {
        self.load.bytes.load(Ordering::Acquire) <= self.load.limit
            || self.load.abandoned.load(Ordering::Acquire)
    }

    /// Waits until there is room.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.load.relieved.notified().await;
        }
    }
}

/// What a delivery counts against the limit: its bytes and a little for what holds them.
fn weight(delivery: &Delivery) -> usize {
    delivery.payload.len() + delivery.topic.len() + 64
}

/// The two ends of an inbox that holds about `limit` bytes. The receiving one becomes an [`Inbox`] when the
/// session's task runs.
pub(crate) fn channel(limit: usize) -> (InboxSender, InboxReceiver) {
    let (sender, deliveries) = mpsc::unbounded_channel();
    let load = Arc::new(Load {
        bytes: AtomicUsize::new(0),
        limit,
        abandoned: AtomicBool::new(false),
        relieved: Notify::new(),
    });
    (InboxSender { deliveries: sender, load: load.clone() }, InboxReceiver { deliveries, load })
}

/// An [`Inbox`] to be.
#[derive(Debug)]
pub(crate) struct InboxReceiver {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    load: Arc<Load>,
}

impl InboxReceiver {
    pub(crate) fn into_inbox(self, queue: Arc<Queue>, guard: Arc<Guard>) -> Inbox {
        Inbox { receiver: self, queue, _guard: guard }
    }
}
