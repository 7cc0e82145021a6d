//! Whether the daemon takes part, for whoever starts and restarts it.

use std::sync::{Arc, PoisonError, RwLock};

/// Whether the daemon is ready, and if not, one sentence why not. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    why_not: Arc<RwLock<Option<String>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { why_not: Arc::new(RwLock::new(Some("the daemon is starting".into()))) }
    }
}

impl Readiness {
    /// Says whether the daemon is ready: `None` if it is.
    pub fn set(&self, why_not: Option<&str>) {
        let mut place = self.why_not.write().unwrap_or_else(PoisonError::into_inner);
        if place.as_deref() != why_not {
            *place = why_not.map(str::to_owned);
        }
    }

    /// Why the daemon is not ready; none if it is.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        self.why_not.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
