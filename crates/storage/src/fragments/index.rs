//! Where each fragment lies, in the database.
//!
//! It is not flushed with each write. Everything behind the last checkpoint is read again from the segments when the
//! store opens, so what the index lost in a power cut comes back.
//!
//! ```text
//!  key                  value (numbers are little endian u32)
//!  "f" SHA-256          segment, offset of the record, length of the payload
//!  "checkpoint"         segment, offset: every record before this place is in the index, durably
//! ```

use std::sync::Arc;

use protocol::Hash;

use super::record::Place;
use crate::engine::{self, Batch, Engine, EngineError, Space};

const CHECKPOINT: &[u8] = b"checkpoint";
const FRAGMENT: u8 = b'f';

/// Where a fragment lies and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub place: Place,
    pub length_bytes: u32,
}

/// The index of the fragments.
#[derive(Debug, Clone)]
pub(super) struct Index {
    engine: Arc<dyn Engine>,
}

fn key(hash: &Hash) -> [u8; 33] {
    let mut key = [FRAGMENT; 33];
    key[1..].copy_from_slice(hash.as_bytes());
    key
}

fn numbers<const N: usize>(value: &[u8]) -> Option<[u32; N]> {
    let (chunks, rest) = value.as_chunks::<4>();
    let chunks: &[[u8; 4]; N] = chunks.try_into().ok()?;
    rest.is_empty().then(|| chunks.map(u32::from_le_bytes))
}

fn damaged(what: &str) -> EngineError {
    EngineError::Damaged(format!("{what} in the index of the fragments cannot be understood"))
}

fn location(value: &[u8]) -> Result<Location, EngineError> {
    let [segment, offset, length_bytes] = numbers(value).ok_or_else(|| damaged("an entry"))?;
    Ok(Location { place: Place { segment, offset }, length_bytes })
}

impl Index {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    pub fn get(&self, hash: &Hash) -> Result<Option<Location>, EngineError> {
        self.engine.get(Space::Index, &key(hash))?.map(|value| location(&value)).transpose()
    }

    /// Sets some entries and removes others, all or none.
    pub fn apply<'a>(
        &self,
        set: impl IntoIterator<Item = (&'a Hash, Location)>,
        remove: impl IntoIterator<Item = &'a Hash>,
    ) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        for (hash, location) in set {
            let mut value = Vec::with_capacity(12);
            for number in [location.place.segment, location.place.offset, location.length_bytes] {
                value.extend_from_slice(&number.to_le_bytes());
            }
            batch.put(key(hash), value);
        }
        for hash in remove {
            batch.remove(key(hash));
        }
        if batch.is_empty() { Ok(()) } else { self.engine.apply(Space::Index, batch) }
    }

    /// All entries in the order of their hashes.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Hash, Location), EngineError>> {
        engine::scan(&*self.engine, Space::Index, &[FRAGMENT]).map(|pair| {
            let (key, value) = pair?;
            let hash: [u8; 32] = key[1..].try_into().map_err(|_| damaged("a key"))?;
            Ok((Hash::from_bytes(hash), location(&value)?))
        })
    }

    /// The place before which every record is in the index.
    pub fn checkpoint(&self) -> Result<Option<Place>, EngineError> {
        let Some(value) = self.engine.get(Space::Index, CHECKPOINT)? else { return Ok(None) };
        let [segment, offset] = numbers(&value).ok_or_else(|| damaged("the checkpoint"))?;
        Ok(Some(Place { segment, offset }))
    }

    /// Sets the checkpoint, not durably: an older one only means that more is read again.
    pub fn set_checkpoint(&self, place: Place) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        let numbers = [place.segment.to_le_bytes(), place.offset.to_le_bytes()];
        batch.put(CHECKPOINT, numbers.as_flattened());
        self.engine.apply(Space::Index, batch)
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), EngineError> {
        self.engine.clear(Space::Index)
    }

    /// Makes everything applied so far durable.
    pub fn flush(&self) -> Result<(), EngineError> {
        self.engine.flush()
    }
}
