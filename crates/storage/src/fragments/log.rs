//! The append-only log behind the fragments: what it shares, and how a batch is appended.
//!
//! Order of a put: records in the segment, one sync, entries in the index. So an entry of the index is always about
//! bytes that are durable. Only one thread at a time writes; readers never wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::Hash;

use super::buffers::BufferPool;
use super::doubts::Doubts;
use super::error::{PutError, is_no_space};
use super::files::SegmentFiles;
use super::index::{Index, Location};
use super::record::{HEADER_BYTES, HEADER_LEN, HeaderCodec, Place};
use crate::disk::{Disk, DiskFile};
use crate::health::{Health, StoreFailed};

/// What all clones of the fragment store share.
#[derive(Debug)]
pub(super) struct Log {
    pub disk: Arc<dyn Disk>,
    pub files: SegmentFiles,
    pub index: Index,
    pub codec: HeaderCodec,
    pub health: Health,
    pub buffers: BufferPool,
    pub options: LogOptions,
    pub stored: Stored,
    pub doubts: Mutex<Doubts>,
    pub can_punch: AtomicBool,
    pub state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LogOptions {
    /// A segment that has reached this length takes no more records.
    pub segment_bytes: u32,
    /// Space that puts leave free, so that deletions and the database can still write.
    pub reserve_bytes: u64,
}

/// How much is stored; read without waiting for the writer.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub bytes: AtomicU64,
    pub fragments: AtomicU64,
}

/// What only the thread that writes touches.
#[derive(Debug, Default)]
pub(super) struct State {
    pub active: Option<Active>,
    /// The number of the next segment; numbers are never used twice.
    pub next_segment: u32,
    /// Live records by segment, for every segment on disk.
    pub live_by_segment: BTreeMap<u32, u32>,
    /// Segments of which the disk did not give everything back when they were walked through: they are never removed.
    pub kept_segments: BTreeSet<u32>,
    /// Segments in which records were marked dead since the last checkpoint.
    pub unsynced_marks: BTreeMap<u32, Arc<dyn DiskFile>>,
}

/// The segment that grows.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub segment: u32,
    pub file: Arc<dyn DiskFile>,
    /// Where the next record begins.
    pub end: u32,
}

/// Why nothing could be appended.
#[derive(Clone)]
pub(super) enum AppendError {
    /// Nothing of it is in the segment.
    Io(Arc<io::Error>),
    Failed(StoreFailed),
}

impl From<StoreFailed> for AppendError {
    fn from(failed: StoreFailed) -> Self {
        Self::Failed(failed)
    }
}

/// A record that is written but not yet synced.
struct Written {
    /// Which of the puts it is.
    put: usize,
    location: Location,
}

/// Puts whose bytes are known to hash to their names.
pub(super) struct Puts {
    pub fragments: Vec<(Hash, Bytes)>,
    pub results: Vec<Result<(), PutError>>,
    /// The copies that are no good, by the fragment that is written in their place.
    pub replaced: HashMap<Hash, Location>,
}

impl Puts {
    /// What the record of a put takes in its segment, with the tombstone of the copy that it replaces.
    pub fn record_bytes(&self, put: usize) -> u64 {
        let (hash, bytes) = &self.fragments[put];
        let headers = 1 + u64::from(self.replaced.contains_key(hash));
        headers * u64::from(HEADER_BYTES) + bytes.len() as u64
    }
}

impl Log {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores fragments that were verified, with one sync for all.
    pub fn put_verified(&self, fragments: Vec<(Hash, Bytes)>) -> Vec<Result<(), PutError>> {
        let mut puts = Puts { results: vec![Ok(()); fragments.len()], fragments, replaced: HashMap::new() };
        let (mut state, selected) = match self.select_checked(&mut puts) {
            Ok(selected) => selected,
            Err(failed) => {
                puts.results.fill(Err(failed.into()));
                return puts.results;
            }
        };
        self.append_all(&mut state, &mut puts, &selected.fresh);
        for (repeat, first) in selected.repeats {
            puts.results[repeat] = puts.results[first].clone();
        }
        puts.results
    }

    /// Bytes that puts may still write.
    pub fn room_bytes(&self) -> u64 {
        // A disk that cannot say how full it is will say so when it is.
        self.disk.free_bytes().map_or(u64::MAX, |free| free.saturating_sub(self.options.reserve_bytes))
    }

    /// Writes the puts of `fresh`, segment by segment.
    fn append_all(&self, state: &mut State, puts: &mut Puts, fresh: &[usize]) {
        let mut written = Vec::with_capacity(fresh.len());
        let mut rest = fresh;
        while let Some(first) = rest.first() {
            let active = match self.active(state) {
                Ok(Some(active)) => active,
                Ok(None) => {
                    // The checkpoint that comes with a new segment promises that all before it is in the index.
                    self.commit(state, puts, &mut written);
                    if let Err(error) = self.roll(state) {
                        puts.results[*first] = Err(error.into_put_error(puts.fragments[*first].0));
                        rest = &rest[1..];
                    }
                    continue;
                }
                Err(failed) => {
                    rest.iter().for_each(|put| puts.results[*put] = Err(failed.clone().into()));
                    break;
                }
            };
            let (now, later) = rest.split_at(self.count_that_fits(active.end, puts, rest));
            rest = later;
            match self.append(active, puts, now, &mut written) {
                Ok(()) => {}
                Err(AppendError::Io(_)) if now.len() > 1 => {
                    // Whatever of them can be written on its own shall be.
                    for put in now {
                        if let Err(error) = self.append(active, puts, &[*put], &mut written) {
                            puts.results[*put] = Err(error.into_put_error(puts.fragments[*put].0));
                        }
                    }
                }
                Err(error) => now.iter().for_each(|put| {
                    puts.results[*put] = Err(error.clone().into_put_error(puts.fragments[*put].0));
                }),
            }
        }
        self.commit(state, puts, &mut written);
    }

    /// The segment that grows, if there is one with room; an error if the store has failed.
    fn active<'s>(&self, state: &'s mut State) -> Result<Option<&'s mut Active>, StoreFailed> {
        self.health.check()?;
        Ok(state.active.as_mut().filter(|active| active.end < self.options.segment_bytes))
    }

    /// How many of `puts` go into a segment that ends at `end`: at least one, the last may stand out.
    fn count_that_fits(&self, end: u32, puts: &Puts, rest: &[usize]) -> usize {
        let mut end = u64::from(end);
        let begins_inside = |put: &&usize| {
            let begins_inside = end < u64::from(self.options.segment_bytes);
            end += puts.record_bytes(**put);
            begins_inside
        };
        rest.iter().take_while(begins_inside).count()
    }

    /// Writes some records behind each other, all or none. The tombstone of a copy that is replaced follows its record: without it a
    /// copy that only could not be read might come back when the new one is deleted.
    fn append(
        &self,
        active: &mut Active,
        puts: &Puts,
        now: &[usize],
        written: &mut Vec<Written>,
    ) -> Result<(), AppendError> {
        self.health.check()?;
        let mut headers = Vec::with_capacity(now.len());
        let mut end = active.end;
        let already_written = written.len();
        for &put in now {
            let (hash, bytes) = &puts.fragments[put];
            // Checked before: a longer one is `TooLarge`.
            let length_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let tombstone = puts.replaced.get(hash).map(|old| self.codec.tombstone(hash, old.place));
            let place = Place { segment: active.segment, offset: end };
            written.push(Written { put, location: Location { place, length_bytes } });
            end += HEADER_BYTES + length_bytes + tombstone.map_or(0, |_| HEADER_BYTES);
            headers.push((self.codec.fragment(hash, length_bytes, bytes), tombstone));
        }
        let mut parts = Vec::with_capacity(2 * now.len());
        for ((header, tombstone), put) in headers.iter().zip(now) {
            parts.push(IoSlice::new(header));
            parts.push(IoSlice::new(&puts.fragments[*put].1));
            parts.extend(tombstone.iter().map(|tombstone| IoSlice::new(tombstone)));
        }
        let result = self.write_at_end(active, &mut parts, end);
        if result.is_err() {
            written.truncate(already_written);
        }
        result
    }

    /// Writes `parts` at the end of the segment, which then is `end`; cuts off what an error leaves.
    fn write_at_end(
        &self,
        active: &mut Active,
        parts: &mut [IoSlice<'_>],
        end: u32,
    ) -> Result<(), AppendError> {
        match active.file.write_all_at(parts, u64::from(active.end)) {
            Ok(()) => {
                active.end = end;
                Ok(())
            }
            Err(error) => match active.file.truncate(u64::from(active.end)) {
                Ok(()) => Err(AppendError::Io(Arc::new(error))),
                Err(error) => {
                    Err(self.health.fail("cut off a record that was written in part", error).into())
                }
            },
        }
    }

    /// Appends one tombstone for each of the places, all or none, and syncs them.
    pub fn append_tombstones(
        &self,
        state: &mut State,
        ended: &[(Hash, Location)],
    ) -> Result<(), AppendError> {
        let active = loop {
            match self.active(state)? {
                Some(_) => break state.active.as_mut().expect("there is an active segment"),
                None => self.roll(state)?,
            }
        };
        let mut headers: Vec<u8> = Vec::with_capacity(ended.len() * HEADER_LEN);
        for (hash, location) in ended {
            headers.extend(self.codec.tombstone(hash, location.place));
        }
        // A segment may stand out by one record; tombstones for 64 Mi fragments would be the first to overflow.
        let end = u32::try_from(headers.len()).ok().and_then(|length| active.end.checked_add(length));
        let Some(end) = end else {
            return Err(AppendError::Io(Arc::new(io::ErrorKind::FileTooLarge.into())));
        };
        let written = self.write_at_end(active, &mut [IoSlice::new(&headers)], end);
        // Also after an error: a tombstone that was written and cut off again must not come back.
        active.file.sync_data().map_err(|error| self.health.fail("sync a segment", error))?;
        written
    }

    /// Syncs what was written and enters it into the index. All of it fails together.
    fn commit(&self, state: &mut State, puts: &mut Puts, written: &mut Vec<Written>) {
        if written.is_empty() {
            return;
        }
        match self.try_commit(state, puts, written) {
            Ok(()) => {}
            Err(failed) => {
                written.iter().for_each(|record| puts.results[record.put] = Err(failed.clone().into()));
            }
        }
        written.clear();
    }

    fn try_commit(&self, state: &mut State, puts: &Puts, written: &[Written]) -> Result<(), StoreFailed> {
        if let Some(active) = &state.active {
            active.file.sync_data().map_err(|error| self.health.fail("sync a segment", error))?;
        }
        let entries = written.iter().map(|record| (&puts.fragments[record.put].0, record.location));
        self.index
            .apply(entries, [])
            .map_err(|error| self.health.fail("write the index of the fragments", error))?;
        for record in written {
            let hash = &puts.fragments[record.put].0;
            *state.live_by_segment.entry(record.location.place.segment).or_default() += 1;
            self.stored.bytes.fetch_add(u64::from(record.location.length_bytes), Ordering::Relaxed);
            self.stored.fragments.fetch_add(1, Ordering::Relaxed);
            self.doubts().forget(hash);
            if let Some(old) = puts.replaced.get(hash) {
                self.uncount(state, *old);
                self.mark_damaged(state, *old);
            }
        }
        Ok(())
    }
}

impl AppendError {
    pub fn into_put_error(self, hash: Hash) -> PutError {
        match self {
            Self::Io(error) if is_no_space(&error) => PutError::NoSpace { hash },
            Self::Io(source) => PutError::Io { hash, source },
            Self::Failed(failed) => failed.into(),
        }
    }
}
