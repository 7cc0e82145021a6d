//! How segments begin and end: a new one, the checkpoint, what dies in place, what is removed.
//!
//! Order of a deletion: tombstones in the active segment, one sync, entries out of the index, and only then the
//! record itself is marked dead and its space given back (in a segment that dies wholly, with the segment). Until the next
//! checkpoint has made the marks durable, the tombstone is what ends the record; so a segment is removed only at a
//! checkpoint, after its marks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::Hash;

use super::error::{DeleteError, is_no_space};
use super::index::Location;
use super::log::{Active, AppendError, Log, State};
use super::record::{DEAD, Place, STATE_AT};
use super::verify::is_lost;
use crate::health::StoreFailed;

/// Holes are punched in whole blocks of the file system; 4 KiB is the usual size.
const BLOCK_BYTES: u64 = 4096;

impl Log {
    /// Begins a new segment. Everything written before must be in the index.
    pub fn roll(&self, state: &mut State) -> Result<(), AppendError> {
        let segment = state.next_segment;
        let file = self.files.create(segment).map_err(|error| AppendError::Io(Arc::new(error)))?;
        state.next_segment += 1;
        self.disk
            .sync_dir()
            .map_err(|error| self.health.fail("sync the directory of the segments", error))?;
        state.active = Some(Active { segment, file, end: 0 });
        state.live_by_segment.insert(segment, 0);
        self.checkpoint(state)?;
        Ok(())
    }

    /// Makes the index durable and remembers up to where it is; removes segments in which nothing lives.
    pub fn checkpoint(&self, state: &mut State) -> Result<(), StoreFailed> {
        self.health.check()?;
        for file in state.unsynced_marks.values() {
            file.sync_data().map_err(|error| self.health.fail("sync a segment", error))?;
        }
        state.unsynced_marks.clear();
        let end = match &state.active {
            Some(active) => Place { segment: active.segment, offset: active.end },
            None => Place { segment: state.next_segment, offset: 0 },
        };
        self.index
            .flush()
            .and_then(|()| self.index.set_checkpoint(end))
            .map_err(|error| self.health.fail("flush the index of the fragments", error))?;
        self.remove_dead_segments(state)
    }

    fn remove_dead_segments(&self, state: &mut State) -> Result<(), StoreFailed> {
        let dead = dead_segments(state);
        if dead.is_empty() {
            return Ok(());
        }
        for segment in dead {
            // One that cannot be removed now is tried again at the next checkpoint.
            if self.files.remove(segment).is_ok() {
                state.live_by_segment.remove(&segment);
            }
        }
        self.disk.sync_dir().map_err(|error| self.health.fail("sync the directory of the segments", error))
    }

    /// Deletes those of `hashes` that are here, with one sync; answers how many were.
    pub fn delete(&self, hashes: &[Hash]) -> Result<usize, DeleteError> {
        let mut state = self.state();
        self.health.check()?;
        let mut ended = BTreeMap::new();
        for hash in hashes {
            let location = self.index.get(hash);
            let location =
                location.map_err(|error| self.health.fail("read the index of the fragments", error))?;
            ended.extend(location.map(|location| (*hash, location)));
        }
        let ended: Vec<(Hash, Location)> = ended.into_iter().collect();
        if ended.is_empty() {
            return Ok(0);
        }
        self.end_records(&mut state, &ended)?;
        let dead = dead_segments(&state);
        for (_, location) in &ended {
            self.mark_record(&mut state, *location)?;
            // The space of a dead segment comes back as a whole.
            if !dead.contains(&location.place.segment) {
                self.punch(*location);
            }
        }
        if !dead.is_empty() {
            self.checkpoint(&mut state)?;
        }
        Ok(ended.len())
    }

    /// Makes it durable that these records are no longer here: none of them, or all.
    pub fn end_records(&self, state: &mut State, ended: &[(Hash, Location)]) -> Result<(), DeleteError> {
        self.append_tombstones(state, ended).map_err(|error| match error {
            AppendError::Io(error) if is_no_space(&error) => DeleteError::NoSpace,
            AppendError::Io(error) => DeleteError::Io(error),
            AppendError::Failed(failed) => failed.into(),
        })?;
        self.index
            .apply([], ended.iter().map(|(hash, _)| hash))
            .map_err(|error| self.health.fail("write the index of the fragments", error))?;
        for (hash, location) in ended {
            self.doubts().forget(hash);
            self.uncount(state, *location);
        }
        Ok(())
    }

    /// Leaves a record that the index no longer knows out of the counts.
    pub fn uncount(&self, state: &mut State, location: Location) {
        if let Some(live) = state.live_by_segment.get_mut(&location.place.segment) {
            *live = live.saturating_sub(1);
        }
        self.stored.bytes.fetch_sub(u64::from(location.length_bytes), Ordering::Relaxed);
        self.stored.fragments.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where the block of the record is bad the tombstone ends it alone.
    fn mark_record(&self, state: &mut State, location: Location) -> Result<(), StoreFailed> {
        match self.mark_dead(state, location.place) {
            Err(error) if is_lost(&error) => Ok(()),
            marked => marked.map_err(|error| self.health.fail("mark a record as deleted", error)),
        }
    }

    /// Changes the state byte of a record; the next checkpoint makes it durable.
    pub fn mark_dead(&self, state: &mut State, place: Place) -> io::Result<()> {
        let file = self.files.get(place.segment)?;
        file.write_all_at(&mut [IoSlice::new(&[DEAD])], u64::from(place.offset) + u64::from(STATE_AT))?;
        state.unsynced_marks.insert(place.segment, file);
        Ok(())
    }

    /// Gives the whole blocks of a payload back to the file system, where it can.
    fn punch(&self, location: Location) {
        let payload = location.place.payload();
        let start = payload.next_multiple_of(BLOCK_BYTES);
        let end = (payload + u64::from(location.length_bytes)) / BLOCK_BYTES * BLOCK_BYTES;
        if start >= end || !self.can_punch.load(Ordering::Relaxed) {
            return;
        }
        let result =
            self.files.get(location.place.segment).and_then(|file| file.punch_hole(start, end - start));
        // Only space is at stake, and it comes back with the segment. What cannot be done once cannot be done at all.
        if result.is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            self.can_punch.store(false, Ordering::Relaxed);
        }
    }
}

/// Segments in which nothing lives, as far as they could be read, and that do not grow any more.
pub(super) fn dead_segments(state: &State) -> BTreeSet<u32> {
    let active = state.active.as_ref().map(|active| active.segment);
    let is_dead = |segment: &u32| Some(*segment) != active && !state.kept_segments.contains(segment);
    let empty = state.live_by_segment.iter().filter(|(_, live)| **live == 0).map(|(segment, _)| *segment);
    empty.filter(is_dead).collect()
}

impl Drop for Log {
    fn drop(&mut self) {
        // Without it the next start only has more to read.
        drop(self.checkpoint(&mut self.state()));
    }
}
