//! Whether the store still writes.

use std::error::Error;
use std::sync::{Arc, OnceLock};

/// The store has stopped writing, for good: what it wrote last may or may not be on disk.
///
/// A failed sync is never repeated: the kernel may have dropped what it could not write, and would say "done". Only a
/// restart, which reads back what is really there, helps. Reading goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store stopped writing, because it failed to {doing}; check the disk, then restart")]
pub struct StoreFailed {
    doing: &'static str,
    #[source]
    cause: Arc<dyn Error + Send + Sync>,
}

/// Remembers the first failure; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(Arc<OnceLock<StoreFailed>>);

impl Health {
    /// An error if the store has failed before.
    pub fn check(&self) -> Result<(), StoreFailed> {
        self.0.get().map_or(Ok(()), |failed| Err(failed.clone()))
    }

    /// Declares the store failed; answers with the first failure.
    pub fn fail(&self, doing: &'static str, cause: impl Error + Send + Sync + 'static) -> StoreFailed {
        self.0.get_or_init(|| StoreFailed { doing, cause: Arc::new(cause) }).clone()
    }
}
