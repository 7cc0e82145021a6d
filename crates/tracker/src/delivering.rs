//! Delivering fragments: they are read and encoded on a thread of its own, so that the event loop goes on answering.
//!
//! How much waits here is bounded by what the state machine has in flight in one session; what was promised in a session that is over
//! is passed over.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use bus::{Message, Outbox};
use daemon::OwnFragments;
use daemon::metrics::Metrics;
use protocol::event::{FragmentDistributionDelivered, TrackerEnvelope};
use protocol::{ClientId, EventKind, Hash, encode_tracker};
use storage::Fragments;
use storage::fragments::ReadError;
use tokio::sync::mpsc::UnboundedSender;
use tracing::error;

/// A fragment to be delivered.
#[derive(Debug)]
pub struct Delivery {
    /// The session in which it was promised.
    pub outbox: Outbox,
    /// Where it is published.
    pub topics: Vec<String>,
    /// Which tracker.
    pub envelope: TrackerEnvelope,
    /// The fragment.
    pub fragment: Hash,
    /// Who should store it.
    pub receivers: BTreeSet<ClientId>,
    /// Whether the bytes are in doubt and hashed first. Otherwise their checksum must do: the receivers hash them.
    pub is_repeated: bool,
}

/// The thread that delivers. It has ended when this is dropped.
#[derive(Debug)]
pub struct Deliverer {
    /// None only while the thread is asked to end.
    deliveries: Option<Sender<Vec<Delivery>>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread has panicked, and said so.
#[derive(Debug, thiserror::Error)]
#[error("the thread that delivers fragments has ended")]
pub struct Ended;

impl Deliverer {
    /// Starts the thread. Fragments whose bytes are gone are reported to `unreadable`; `own` sets those aside that are damaged.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        fragments: Fragments,
        own: OwnFragments,
        unreadable: UnboundedSender<Hash>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (deliveries, waiting) = mpsc::channel();
        let thread = thread::Builder::new().name("deliver".into());
        let thread = thread.spawn(move || deliver_all(&fragments, &own, &waiting, &unreadable, &metrics))?;
        Ok(Self { deliveries: Some(deliveries), thread: Some(thread) })
    }

    /// Delivers what a turn of the event loop brought, after all that was to be delivered before.
    ///
    /// # Errors
    /// If the thread has panicked: nothing would be delivered any more.
    pub fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), Ended> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let thread = self.deliveries.as_ref().ok_or(Ended)?;
        thread.send(deliveries).map_err(|_| Ended)
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.deliveries = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so already.
            drop(thread.join());
        }
    }
}

fn deliver_all(
    fragments: &Fragments,
    own: &OwnFragments,
    waiting: &Receiver<Vec<Delivery>>,
    unreadable: &UnboundedSender<Hash>,
    metrics: &Metrics,
) {
    for Delivery { outbox, topics, envelope, fragment, receivers, is_repeated } in waiting.iter().flatten() {
        if outbox.is_lost() {
            continue;
        }
        let read =
            if is_repeated { fragments.read(&fragment) } else { fragments.read_checksummed(&fragment) };
        match read {
            Ok(data) => {
                let event = FragmentDistributionDelivered { hash: fragment, data, receivers };
                let payload = encode_tracker(&envelope, &event.into());
                for topic in topics {
                    metrics.said(EventKind::FragmentDistributionDelivered.name(), true);
                    outbox.publish(Message::new(topic, payload.clone()));
                }
            }
            Err(error) => {
                error!(%fragment, "cannot be delivered: {error}");
                if matches!(error, ReadError::Damaged(_)) {
                    own.set_aside(&[fragment]);
                }
                if is_gone(&error) {
                    // The event loop has ended: so has the distribution.
                    let _ = unreadable.send(fragment);
                }
            }
        }
    }
}

/// Whether the tracker has to do without its copy. Any other error may pass: nobody is delivered to, so the attempt ends at its time, and
/// the next one reads again.
const fn is_gone(error: &ReadError) -> bool {
    match error {
        ReadError::Missing(_) | ReadError::Damaged(_) => true,
        ReadError::Io { .. } | ReadError::Index { .. } => false,
    }
}
