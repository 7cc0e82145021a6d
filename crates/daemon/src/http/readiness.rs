//! Whether the daemon takes part, for whoever starts and restarts it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::Supervisor;

/// Whether the daemon is ready, and if not, one sentence why not. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    why_not: Arc<RwLock<Option<String>>>,
    supervisor: Supervisor,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::told_to(Supervisor::default())
    }
}

impl Readiness {
    /// Not ready yet; `supervisor` is told of every change.
    #[must_use]
    pub fn told_to(supervisor: Supervisor) -> Self {
        Self { why_not: Arc::new(RwLock::new(Some("the daemon is starting".into()))), supervisor }
    }

    /// Says whether the daemon is ready: `None` if it is.
    pub fn set(&self, why_not: Option<&str>) {
        let mut place = self.why_not.write().unwrap_or_else(PoisonError::into_inner);
        if place.as_deref() != why_not {
            *place = why_not.map(str::to_owned);
            self.supervisor.status(why_not.unwrap_or("ready"));
        }
    }

    /// Why the daemon is not ready; none if it is.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        self.why_not.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
