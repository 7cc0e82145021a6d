//! Which puts of a batch have to be written: all whose bytes are not here, or no good where they are.
//!
//! A put that is answered without writing throws good bytes away, so what is here is looked at before. That is done without the lock
//! of the writer, and only for fragments that are here: a fresh one costs nothing more.

use std::collections::HashMap;
use std::sync::MutexGuard;

use protocol::Hash;

use super::HEADER_LEN;
use super::error::PutError;
use super::index::Location;
use super::log::{Log, Puts, State};
use crate::health::StoreFailed;

/// What becomes of the puts of a batch.
#[derive(Default)]
pub(super) struct Selected {
    /// Those to be written.
    pub fresh: Vec<usize>,
    /// Those that repeat an earlier one of the batch, which is the second of the pair.
    pub repeats: Vec<(usize, usize)>,
    /// Copies of which nobody knows yet whether they are good.
    unchecked: Vec<(Hash, Location)>,
}

/// Whether the copy at this place is good.
type Checked = HashMap<Hash, (Location, bool)>;

impl Log {
    /// Selects among `puts` with the lock of the writer, which the answer still holds.
    pub fn select_checked(&self, puts: &mut Puts) -> Result<(MutexGuard<'_, State>, Selected), StoreFailed> {
        let mut checked = Checked::new();
        loop {
            let state = self.state();
            self.health.check()?;
            let selected = self.select(puts, &checked);
            if selected.unchecked.is_empty() {
                return Ok((state, selected));
            }
            // Others may write while these are read; a copy that has another place afterwards is looked at again.
            drop(state);
            for (hash, location) in selected.unchecked {
                checked.insert(hash, (location, self.check_copy(&hash, location)));
            }
        }
    }

    fn select(&self, puts: &mut Puts, checked: &Checked) -> Selected {
        let mut selected = Selected::default();
        let mut first_by_hash = HashMap::with_capacity(puts.fragments.len());
        let mut room_bytes = self.room_bytes();
        puts.results.fill(Ok(()));
        puts.replaced.clear();
        for put in 0..puts.fragments.len() {
            let hash = puts.fragments[put].0;
            let first = *first_by_hash.entry(hash).or_insert(put);
            if first != put {
                selected.repeats.push((put, first));
                continue;
            }
            match self.index.get(&hash) {
                Ok(None) => {}
                Ok(Some(location)) => match self.is_good(&hash, location, checked) {
                    Some(true) => continue,
                    Some(false) => drop(puts.replaced.insert(hash, location)),
                    None => {
                        selected.unchecked.push((hash, location));
                        continue;
                    }
                },
                Err(error) => {
                    puts.results[put] =
                        Err(self.health.fail("read the index of the fragments", error).into());
                    continue;
                }
            }
            match room_bytes.checked_sub(puts.record_bytes(put)) {
                Some(rest) => {
                    room_bytes = rest;
                    selected.fresh.push(put);
                }
                None => puts.results[put] = Err(PutError::NoSpace { hash }),
            }
        }
        selected
    }

    /// None if it is not known.
    fn is_good(&self, hash: &Hash, location: Location, checked: &Checked) -> Option<bool> {
        if self.doubts().is_damaged(hash) {
            return Some(false);
        }
        checked.get(hash).filter(|(place, _)| *place == location).map(|(_, is_good)| *is_good)
    }

    /// Whether the copy can be relied on. One that cannot be read now, for whatever reason, cannot.
    fn check_copy(&self, hash: &Hash, location: Location) -> bool {
        let is_good = self.is_copy_good(hash, location);
        if !is_good {
            // Should the new one not be written, then the damage is known as if a reader had met it.
            drop(self.read(hash));
        }
        is_good
    }

    /// Also the header counts: without it the fragment is lost with the index.
    fn is_copy_good(&self, hash: &Hash, location: Location) -> bool {
        let Some(header) = self.header_at(hash, location) else { return false };
        let Ok(bytes) = self.read_at(location) else { return false };
        match header.payload_checksum {
            Some(checksum) => checksum == crc32fast::hash(&bytes),
            None => Hash::of(&bytes) == *hash,
        }
    }

    /// The header of this fragment's record. None if it is not what is there.
    pub fn header_at(&self, hash: &Hash, location: Location) -> Option<super::record::Header> {
        let mut header = [0; HEADER_LEN];
        let file = self.files.get(location.place.segment).ok()?;
        file.read_exact_at(&mut header, u64::from(location.place.offset)).ok()?;
        self.codec.decode(&header).filter(|header| header.hash == *hash && !header.is_dead)
    }
}
