//! One broker for all tests of a binary that run on it: some take ten seconds to start.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::RwLock;

/// A broker that is started when a test asks for it and stopped with the last test that has it.
///
/// Tests that leave the broker alone hold it for reading and keep to topics of their own; one that restarts it holds it for writing.
#[derive(Debug)]
pub struct Shared<B>(Mutex<Weak<RwLock<B>>>);

impl<B> Shared<B> {
    /// Nobody has asked for it yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The one that runs; if there is none, a new one.
    pub fn get(&self, start: impl FnOnce() -> B) -> Arc<RwLock<B>> {
        // A start that has failed leaves nothing behind.
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(RwLock::new(start()));
            *running = Arc::downgrade(&broker);
            broker
        })
    }
}

impl<B> Default for Shared<B> {
    fn default() -> Self {
        Self::new()
    }
}
