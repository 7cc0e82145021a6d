//! The database of small values, as a seam: ordered keys, atomic batches, one durable flush.
//!
//! [`SledEngine`] is the real one and the only place that names sled; [`MemoryEngine`] is its twin. Values stay below
//! [`MAX_VALUE_BYTES`]: sled moves larger ones to files that it never makes durable.

mod memory;
mod sled;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub use memory::MemoryEngine;
pub use sled::{OpenedEngine, SledEngine};

/// Largest value that may be stored, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;

/// Which of the two key spaces. A batch is atomic within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// The Distribution View and the meta values. Nothing else holds them.
    View,
    /// Where each fragment lies. Can always be rebuilt from the segments.
    Index,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Writes that happen together or not at all. A later write of the same key wins.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets `key` to `value`, which is at most [`MAX_VALUE_BYTES`] long.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let value = value.into();
        debug_assert!(value.len() <= MAX_VALUE_BYTES, "a value of {} bytes", value.len());
        self.writes.push((key.into(), Some(value)));
    }

    /// Removes `key`, if it is there.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), None));
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// The writes in order: a key with its new value, or with none to remove it.
    #[must_use]
    pub fn into_writes(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.writes
    }
}

/// What went wrong in the database. Cheap to clone: one failure may have many victims.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The operating system refused.
    #[error("the database could not be read or written")]
    Io(#[source] Arc<io::Error>),
    /// What it reads is not what it wrote.
    #[error("the database is damaged ({0}): restart, it will be moved aside and rebuilt")]
    Damaged(String),
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A database of small values. What is applied is visible at once; it survives a power cut after [`Engine::flush`].
///
/// After a power cut it holds what some prefix of the applied batches left, at least up to the last flush.
pub trait Engine: Debug + Send + Sync {
    /// The value of `key`.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Up to `limit` pairs in the order of their keys: those that begin with `prefix` and lie behind `after`.
    fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;

    /// Applies all of `batch`, atomically also across a power cut.
    fn apply(&self, space: Space, batch: Batch) -> Result<(), EngineError>;

    /// Removes everything in `space`.
    fn clear(&self, space: Space) -> Result<(), EngineError>;

    /// Makes everything applied so far durable. After an error it is not known what is: never try again.
    fn flush(&self) -> Result<(), EngineError>;
}

/// All pairs of `space` that begin with `prefix`, fetched a page at a time.
///
/// Pairs that change meanwhile may be seen as before or as after. It ends after the first error.
pub fn scan<'e>(
    engine: &'e dyn Engine,
    space: Space,
    prefix: &'e [u8],
) -> impl Iterator<Item = Result<Pair, EngineError>> + 'e {
    const PAGE: usize = 1024;
    scan_after(engine, space, prefix, None, PAGE)
}

/// The same for the pairs behind the key `after`, fetched `page_len` at a time.
pub fn scan_after<'e>(
    engine: &'e dyn Engine,
    space: Space,
    prefix: &'e [u8],
    after: Option<Vec<u8>>,
    page_len: usize,
) -> impl Iterator<Item = Result<Pair, EngineError>> + 'e {
    let mut page: std::vec::IntoIter<Pair> = Vec::new().into_iter();
    let mut last_key = after;
    let mut is_done = false;
    std::iter::from_fn(move || {
        if page.len() == 0 && !is_done {
            match engine.page(space, prefix, last_key.as_deref(), page_len) {
                Ok(pairs) => {
                    is_done = pairs.len() < page_len;
                    last_key = pairs.last().map(|(key, _)| key.clone());
                    page = pairs.into_iter();
                }
                Err(error) => {
                    is_done = true;
                    return Some(Err(error));
                }
            }
        }
        page.next().map(Ok)
    })
}
