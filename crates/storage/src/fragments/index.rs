//! Where each fragment lies, in the database.
//!
//! New entries wait in memory until a checkpoint, because a batch costs the database as much as a hundred entries. Everything
//! behind the last checkpoint is read again from the segments when the store opens, so what a crash takes comes back.
//!
//! ```text
//!  key                  value (numbers are little endian u32)
//!  "f" SHA-256          segment, offset of the record, length of the payload
//!  "checkpoint"         segment, offset: every record before this place is in the index, durably
//!  "kept" segment       nothing: the disk did not give all of this segment back when it was walked through
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use protocol::Hash;

use super::record::Place;
use crate::engine::{self, Batch, Engine, EngineError, Pair, Space};

const CHECKPOINT: &[u8] = b"checkpoint";
const KEPT: &[u8] = b"kept";
const FRAGMENT: u8 = b'f';

/// Where a fragment lies and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub place: Place,
    pub length_bytes: u32,
}

/// The index of the fragments.
#[derive(Debug)]
pub(super) struct Index {
    engine: Arc<dyn Engine>,
    /// What the database does not know yet; `None` for what is no longer there.
    pending: RwLock<HashMap<Hash, Option<Location>>>,
}

/// Entries that are read from the database at once where all are wanted.
const LONG_PAGE: usize = 1024;

/// Entries that may wait; more are handed to the database without being flushed.
const MAX_PENDING: usize = 4096;

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

fn entry(pair: Result<Pair, EngineError>) -> Result<(Hash, Location), EngineError> {
    let (key, value) = pair?;
    let hash: [u8; 32] = key[1..].try_into().map_err(|_| damaged("a key"))?;
    Ok((Hash::from_bytes(hash), location(&value)?))
}

impl Index {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, pending: RwLock::default() }
    }

    fn pending(&self) -> RwLockWriteGuard<'_, HashMap<Hash, Option<Location>>> {
        self.pending.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, hash: &Hash) -> Result<Option<Location>, EngineError> {
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        match pending.get(hash) {
            Some(location) => Ok(*location),
            // Under the lock: an entry must not be on its way while it is looked for.
            None => self.engine.get(Space::Index, &key(hash))?.map(|value| location(&value)).transpose(),
        }
    }

    /// Sets some entries and removes others.
    pub fn apply<'a>(
        &self,
        set: impl IntoIterator<Item = (&'a Hash, Location)>,
        remove: impl IntoIterator<Item = &'a Hash>,
    ) -> Result<(), EngineError> {
        let mut pending = self.pending();
        pending.extend(set.into_iter().map(|(hash, location)| (*hash, Some(location))));
        pending.extend(remove.into_iter().map(|hash| (*hash, None)));
        if pending.len() > MAX_PENDING { self.write(&mut pending) } else { Ok(()) }
    }

    /// Hands everything to the database.
    fn write(&self, pending: &mut HashMap<Hash, Option<Location>>) -> Result<(), EngineError> {
        if pending.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (hash, location) in pending.iter() {
            match location {
                Some(Location { place, length_bytes }) => {
                    let numbers = [place.segment, place.offset, *length_bytes].map(u32::to_le_bytes);
                    batch.put(key(hash), numbers.as_flattened());
                }
                None => batch.remove(key(hash)),
            }
        }
        self.engine.apply(Space::Index, batch)?;
        pending.clear();
        Ok(())
    }

    /// All entries in the order of their hashes. What changes meanwhile may be seen as before or as after.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Hash, Location), EngineError>> {
        self.entries_after(None, LONG_PAGE)
    }

    /// The entries behind `after`, read from the database `page_len` at a time. Otherwise as [`Index::entries`].
    pub fn entries_after(
        &self,
        after: Option<&Hash>,
        page_len: usize,
    ) -> impl Iterator<Item = Result<(Hash, Location), EngineError>> {
        // The copy comes first: what goes from here to the database afterwards is then seen twice rather than not at all,
        // and the copy wins.
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_behind = |hash: &Hash| after.is_none_or(|after| hash > after);
        let pending = pending.into_iter().filter(|(hash, _)| is_behind(hash));
        let mut pending = pending.collect::<BTreeMap<_, _>>().into_iter().peekable();
        let after = after.map(|after| key(after).to_vec());
        let stored = engine::scan_after(&*self.engine, Space::Index, &[FRAGMENT], after, page_len);
        let mut stored = stored.map(entry).peekable();
        std::iter::from_fn(move || {
            loop {
                let next_stored = match stored.peek() {
                    Some(Ok((hash, _))) => Some(*hash),
                    Some(Err(_)) => return stored.next(),
                    None => None,
                };
                let next_pending = pending.peek().map(|(hash, _)| *hash);
                match (next_pending, next_stored) {
                    (None, _) => return stored.next(),
                    (Some(pending), Some(before)) if before < pending => return stored.next(),
                    (Some(pending), Some(same)) if same == pending => drop(stored.next()),
                    (Some(_), _) => {}
                }
                if let Some((hash, Some(location))) = pending.next() {
                    return Some(Ok((hash, location)));
                }
            }
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

    /// Remembers, durably with the next flush, that a segment could not be read wholly.
    pub fn set_kept(&self, segment: u32) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        batch.put([KEPT, &segment.to_le_bytes()].concat(), []);
        self.engine.apply(Space::Index, batch)
    }

    /// The segments that could not be read wholly.
    pub fn kept(&self) -> Result<BTreeSet<u32>, EngineError> {
        let number = |pair: Result<Pair, EngineError>| {
            let [segment] = numbers(&pair?.0[KEPT.len()..]).ok_or_else(|| damaged("a kept segment"))?;
            Ok(segment)
        };
        engine::scan(&*self.engine, Space::Index, KEPT).map(number).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), EngineError> {
        self.pending().clear();
        self.engine.clear(Space::Index)
    }

    /// Makes everything applied so far durable.
    pub fn flush(&self) -> Result<(), EngineError> {
        self.write(&mut self.pending())?;
        self.engine.flush()
    }
}
