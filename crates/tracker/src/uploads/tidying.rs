//! What uploads leave behind goes by itself: nothing stays for ever because nobody uploads again (L5).

use std::time::Duration;

use protocol::Hash;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::registry::{Registry, SharedUpload, lock};
use crate::requests::Request;

/// How often uploads that nobody touched are looked for.
const EVERY: Duration = Duration::from_secs(60);

/// Takes note of what no upload needs any more. Clones share it.
///
/// To tell of it never waits: a call that is cancelled halfway must not leave fragments of which nobody knows.
#[derive(Debug, Clone)]
pub struct Leftovers {
    registry: Registry,
    left: mpsc::UnboundedSender<Vec<Hash>>,
}

impl Leftovers {
    /// With the fragments that are left: for [`tidy`].
    pub fn new(registry: Registry) -> (Self, mpsc::UnboundedReceiver<Vec<Hash>>) {
        let (left, leftovers) = mpsc::unbounded_channel();
        (Self { registry, left }, leftovers)
    }

    /// A fragment of `upload` is durable. It goes again if the upload was removed while it was on its way.
    pub fn durable(&self, upload: &SharedUpload, fragment: Hash, size_bytes: u64) {
        let is_taken = lock(upload).take_durable(fragment, size_bytes);
        if !is_taken && !self.registry.has(&fragment) {
            self.leave(vec![fragment]);
        }
    }

    /// Removes an upload, and what it alone has.
    pub fn remove(&self, upload: Uuid) {
        self.leave(self.registry.remove(upload));
    }

    /// Removes the uploads that are old, and what they alone have.
    pub fn expire(&self) {
        self.leave(self.registry.expire());
    }

    fn leave(&self, fragments: Vec<Hash>) {
        if !fragments.is_empty() {
            // Without a receiver the tracker ends: the next start sweeps.
            let _ = self.left.send(fragments);
        }
    }
}

/// Has the event loop discard what expires and what else is left, until it has ended.
pub async fn tidy(
    registry: Registry,
    mut leftovers: mpsc::UnboundedReceiver<Vec<Hash>>,
    requests: mpsc::Sender<Request>,
) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let fragments = tokio::select! {
            () = requests.closed() => return,
            _ = due.tick() => registry.expire(),
            Some(fragments) = leftovers.recv() => fragments,
        };
        if !fragments.is_empty() && requests.send(Request::Discard { fragments }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uploads::registry::Announced;

    fn upload(registry: &Registry) -> SharedUpload {
        let announced = Announced { request_id: None, digest: None, size_bytes: None, name: None };
        registry.create(announced).unwrap()
    }

    async fn discarded(requests: &mut mpsc::Receiver<Request>) -> Vec<Hash> {
        match requests.recv().await {
            Some(Request::Discard { fragments }) => fragments,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_upload_is_discarded_though_nobody_uploads_again() {
        let registry = Registry::default();
        let (leftovers, left) = Leftovers::new(registry.clone());
        let fragment = Hash::of(b"abandoned");
        leftovers.durable(&upload(&registry), fragment, 9);
        let (requests, mut requested) = mpsc::channel(1);
        let tidying = tokio::spawn(tidy(registry.clone(), left, requests));
        assert_eq!(discarded(&mut requested).await, [fragment]);
        assert_eq!(registry.in_flight(), 0);
        drop(requested);
        tidying.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_durable_after_its_upload_was_removed_is_discarded_unless_another_has_it() {
        let registry = Registry::default();
        let (leftovers, left) = Leftovers::new(registry.clone());
        let (removed, other) = (upload(&registry), upload(&registry));
        let (shared, alone) = (Hash::of(b"shared"), Hash::of(b"alone"));
        leftovers.durable(&other, shared, 6);
        let id = lock(&removed).id;
        leftovers.remove(id);
        leftovers.durable(&removed, shared, 6);
        leftovers.durable(&removed, alone, 5);
        let (requests, mut requested) = mpsc::channel(1);
        let _tidying = tokio::spawn(tidy(registry, left, requests));
        assert_eq!(discarded(&mut requested).await, [alone]);
    }
}
