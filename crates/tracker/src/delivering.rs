//! Delivering fragments: they are read and encoded on a thread of its own, so that the event loop goes on answering.
//!
//! How much waits here is bounded by what the state machine has in flight.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bus::{Message, Outbox};
use protocol::event::{FragmentDistributionDelivered, TrackerEnvelope};
use protocol::{ClientId, Hash, encode_tracker};
use storage::Fragments;
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
}

/// The thread that delivers. It ends when this is dropped.
#[derive(Debug)]
pub struct Deliverer {
    deliveries: Sender<Vec<Delivery>>,
}

impl Deliverer {
    /// Starts the thread. Fragments that cannot be read are reported to `unreadable`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(fragments: Fragments, unreadable: UnboundedSender<Hash>) -> io::Result<Self> {
        let (deliveries, waiting) = mpsc::channel();
        thread::Builder::new()
            .name("deliver".into())
            .spawn(move || deliver_all(&fragments, &waiting, &unreadable))?;
        Ok(Self { deliveries })
    }

    /// Delivers what a turn of the event loop brought, after all that was to be delivered before.
    pub fn deliver(&self, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() {
            // The thread ends only after this, or with a panic that has been told.
            drop(self.deliveries.send(deliveries));
        }
    }
}

fn deliver_all(fragments: &Fragments, waiting: &Receiver<Vec<Delivery>>, unreadable: &UnboundedSender<Hash>) {
    for Delivery { outbox, topics, envelope, fragment, receivers } in waiting.iter().flatten() {
        // The receivers hash what they get.
        match fragments.read_checksummed(&fragment) {
            Ok(data) => {
                let event = FragmentDistributionDelivered { hash: fragment, data, receivers };
                let payload = encode_tracker(&envelope, &event.into());
                for topic in topics {
                    outbox.publish(Message::new(topic, payload.clone()));
                }
            }
            Err(error) => {
                error!(%fragment, "cannot be delivered: {error}");
                // The event loop has ended: so has the distribution.
                let _ = unreadable.send(fragment);
            }
        }
    }
}
