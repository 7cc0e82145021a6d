//! What a daemon tells of itself. Its event loop owns the view alone; the services put questions to it and wait for the answer.
//!
//! A question runs inside the event loop, so it must be short: the services walk the view in pages.

use std::collections::BTreeSet;
use std::time::SystemTime;

pub use distribution::Copies;
use distribution::view::{Client, View};
use protocol::{ClientId, EndpointUri, Hash, Zone};
use tokio::sync::{mpsc, oneshot};

use crate::feed::Feed;

/// What a daemon tells of itself, borrowed from its event loop for the time of one question.
pub trait Catalog {
    /// The view.
    fn view(&self) -> &View;
    /// How many holders each fragment should have.
    fn copies(&self) -> Copies;
    /// Whether the daemon has the bytes of a fragment on its own disk, as far as its event loop knows, whoever else holds it. Must be
    /// cheap: it is asked for every fragment of a file.
    fn stores(&self, fragment: &Hash) -> bool;
    /// All torrents that the daemon knows of, also those that are not registered.
    fn servers(&self) -> Vec<ServerStatus>;
    /// Whether the daemon is connected to the broker.
    fn broker_connected(&self) -> bool;
    /// Whether the daemon knows of a tracker that is online, or is it.
    fn tracker_online(&self) -> bool;
    /// What the daemon is.
    fn role(&self) -> Role;
    /// The identifier of the daemon.
    fn id(&self) -> &str;
    /// Where the tracker can be asked, if the daemon knows.
    fn tracker_endpoints(&self) -> Vec<EndpointUri> {
        Vec::new()
    }
}

/// What a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes uploads and distributes them.
    Tracker,
    /// It holds fragments.
    Torrent,
}

/// Whether a torrent takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerState {
    /// It takes part.
    Registered,
    /// Its connection was lost a short while ago.
    Suspect,
    /// It does not take part.
    Unregistered,
}

/// One torrent as the daemon knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its identifier.
    pub id: ClientId,
    /// Whether it takes part.
    pub state: ServerState,
    /// Where it can be asked.
    pub endpoints: BTreeSet<EndpointUri>,
    /// The failure domain it stands in, if told.
    pub zone: Option<Zone>,
    /// Bytes of the fragments it holds.
    pub used_bytes: u64,
    /// Bytes of fragments it may hold, if told.
    pub capacity_bytes: Option<u64>,
    /// Number of the fragments it holds.
    pub fragments: u64,
    /// When the daemon last heard of it.
    pub last_seen: Option<SystemTime>,
    /// Whether it is being emptied before it leaves, as far as the daemon knows.
    pub is_draining: bool,
}

impl ServerStatus {
    /// What the view knows of a registered torrent.
    #[must_use]
    pub fn registered(id: ClientId, client: &Client, last_seen: Option<SystemTime>) -> Self {
        Self {
            id,
            state: ServerState::Registered,
            endpoints: client.registration.endpoints.clone(),
            zone: client.registration.zone.clone(),
            used_bytes: client.used_bytes,
            capacity_bytes: client.registration.capacity_bytes,
            fragments: client.fragments,
            last_seen,
            is_draining: false,
        }
    }
}

/// A question to the event loop: it is called once with the daemon's [`Catalog`].
pub type Question = Box<dyn FnOnce(&dyn Catalog) + Send>;

/// The event loop has ended; the question was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct Stopped;

/// Puts questions to a daemon's event loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CatalogHandle {
    questions: mpsc::Sender<Question>,
    feed: Feed,
}

impl CatalogHandle {
    /// A handle, and the questions put to it. The event loop calls each with its catalog. At most `waiting` questions wait; who puts
    /// more waits itself.
    #[must_use]
    pub fn channel(waiting: usize) -> (Self, mpsc::Receiver<Question>) {
        let (sender, questions) = mpsc::channel(waiting);
        (Self { questions: sender, feed: Feed::new() }, questions)
    }

    /// The changes of what the catalog tells. The event loop notes them there.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Puts one question and waits for its answer.
    ///
    /// # Errors
    /// If the event loop has ended.
    pub async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Catalog) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |catalog| {
            // Whoever asked may have gone away: then nobody wants to know.
            let _ = answer.send(question(catalog));
        });
        self.questions.send(question).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_to_a_daemon_that_ended_is_not_waited_for() {
        let (handle, questions) = CatalogHandle::channel(1);
        drop(questions);
        assert_eq!(handle.ask(|catalog| catalog.id().to_owned()).await, Err(Stopped));
    }
}
