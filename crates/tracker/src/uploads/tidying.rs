//! What uploads leave behind goes by itself: nothing stays for ever because nobody uploads again (L5).

use std::time::Duration;

use protocol::Hash;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::registry::{Registry, SharedUpload, lock};
use crate::requests::Request;

/// How often uploads that nobody touched are looked for.
const EVERY: Duration = Duration::from_secs(60);

/// Takes note of what has become durable. Clones share it.
#[derive(Debug, Clone)]
pub struct Arrivals {
    registry: Registry,
    late: mpsc::UnboundedSender<Hash>,
}

impl Arrivals {
    /// With the fragments that came too late: for [`tidy`].
    pub fn new(registry: Registry) -> (Self, mpsc::UnboundedReceiver<Hash>) {
        let (late, too_late) = mpsc::unbounded_channel();
        (Self { registry, late }, too_late)
    }

    /// A fragment of `upload` is durable. It goes again if the upload was removed while it was on its way.
    pub fn durable(&self, upload: &SharedUpload, fragment: Hash, size_bytes: u64) {
        let is_taken = lock(upload).take_durable(fragment, size_bytes);
        if !is_taken && !self.registry.has(&fragment) {
            // Without a receiver the tracker ends: the next start sweeps.
            let _ = self.late.send(fragment);
        }
    }
}

/// Has the event loop discard what expires and what comes too late, until it has ended.
pub async fn tidy(
    registry: Registry,
    mut too_late: mpsc::UnboundedReceiver<Hash>,
    requests: mpsc::Sender<Request>,
) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let fragments = tokio::select! {
            () = requests.closed() => return,
            _ = due.tick() => registry.expire(),
            Some(fragment) = too_late.recv() => vec![fragment],
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
        let (arrivals, too_late) = Arrivals::new(registry.clone());
        let fragment = Hash::of(b"abandoned");
        arrivals.durable(&upload(&registry), fragment, 9);
        let (requests, mut requested) = mpsc::channel(1);
        let tidying = tokio::spawn(tidy(registry.clone(), too_late, requests));
        assert_eq!(discarded(&mut requested).await, [fragment]);
        assert_eq!(registry.in_flight(), 0);
        drop(requested);
        tidying.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_durable_after_its_upload_was_removed_is_discarded_unless_another_has_it() {
        let registry = Registry::default();
        let (arrivals, too_late) = Arrivals::new(registry.clone());
        let (removed, other) = (upload(&registry), upload(&registry));
        let (shared, alone) = (Hash::of(b"shared"), Hash::of(b"alone"));
        arrivals.durable(&other, shared, 6);
        let id = lock(&removed).id;
        assert_eq!(registry.remove(id), []);
        arrivals.durable(&removed, shared, 6);
        arrivals.durable(&removed, alone, 5);
        let (requests, mut requested) = mpsc::channel(1);
        let _tidying = tokio::spawn(tidy(registry, too_late, requests));
        assert_eq!(discarded(&mut requested).await, [alone]);
    }
}
