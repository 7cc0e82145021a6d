//! A database in memory. It forgets nothing until it is dropped, so reopening it is a restart without a power cut.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Batch, Engine, EngineError, Pair, Space};

type Content = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// An ordered map behind a lock; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine(Arc<Mutex<Content>>);

impl MemoryEngine {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.content().get(&(space, key.to_owned())).cloned())
    }

    fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let start = match after {
            Some(key) => Bound::Excluded((space, key.to_owned())),
            None => Bound::Included((space, prefix.to_owned())),
        };
        let content = self.content();
        let pairs = content.range((start, Bound::Unbounded)).take(limit);
        Ok(pairs
            .take_while(|((at, key), _)| *at == space && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn apply(&self, space: Space, batch: Batch) -> Result<(), EngineError> {
        let mut content = self.content();
        for (key, value) in batch.into_writes() {
            match value {
                Some(value) => content.insert((space, key), value),
                None => content.remove(&(space, key)),
            };
        }
        Ok(())
    }

    fn clear(&self, space: Space) -> Result<(), EngineError> {
        self.content().retain(|(at, _), _| *at != space);
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}
