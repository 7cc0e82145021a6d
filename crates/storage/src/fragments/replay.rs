//! Opening: reads again what the index may not have, and leaves segments and index in agreement.
//!
//! The index is trusted up to its checkpoint; every record behind that is read and hashed. Without a checkpoint, that is
//! everything. So the index is disposable: an empty one is rebuilt here.

use std::io;
use std::sync::atomic::Ordering;

use super::OpenReport;
use super::error::OpenFragmentsError;
use super::index::Location;
use super::log::{Active, Log, State};
use super::record::{HEADER_LEN, Header, Kind, Place};
use super::scan::{Found, walk};
use super::verify::is_lost;

fn io_error(operation: &'static str, segment: u32) -> impl FnOnce(io::Error) -> OpenFragmentsError {
    move |source| OpenFragmentsError::Io { operation, file: super::files::name_of(segment), source }
}

fn directory_error(operation: &'static str) -> impl FnOnce(io::Error) -> OpenFragmentsError {
    move |source| OpenFragmentsError::Io { operation, file: "the directory of the segments".into(), source }
}

impl Log {
    /// Brings index and segments into agreement and begins to write behind the last valid record.
    pub fn replay(&self) -> Result<OpenReport, OpenFragmentsError> {
        let mut report = OpenReport::default();
        let mut state = State::default();
        let segments = self.files.numbers().map_err(directory_error("list"))?;
        // A segment that a crash left unsynced in its directory is about to be relied on.
        self.disk.sync_dir().map_err(directory_error("sync"))?;
        state.live_by_segment = segments.iter().map(|segment| (*segment, 0)).collect();
        let checkpoint = self.trusted_checkpoint(&segments, &mut report)?;
        state.kept_segments = self.index.kept()?;
        let newest = segments.last().copied().max(checkpoint.map(|place| place.segment));
        state.next_segment = newest.map_or(0, |newest| newest + 1);
        for &segment in &segments {
            let start = match checkpoint {
                Some(checkpoint) if segment < checkpoint.segment => continue,
                Some(checkpoint) if segment == checkpoint.segment => checkpoint.offset,
                Some(_) | None => 0,
            };
            let is_last = segments.last() == Some(&segment);
            self.replay_segment(&mut state, Place { segment, offset: start }, is_last, &mut report)?;
        }
        self.count_live(&mut state, &mut report)?;
        self.checkpoint(&mut state)?;
        *self.state() = state;
        Ok(report)
    }

    /// The checkpoint, if what lies before it is still there; otherwise the index is emptied.
    fn trusted_checkpoint(
        &self,
        segments: &[u32],
        report: &mut OpenReport,
    ) -> Result<Option<Place>, OpenFragmentsError> {
        let checkpoint = self.index.checkpoint()?;
        if let Some(place) = checkpoint {
            if !segments.contains(&place.segment) {
                return Ok(checkpoint);
            }
            let file = self.files.get(place.segment).map_err(io_error("open", place.segment))?;
            let length_bytes = file.len_bytes().map_err(io_error("read", place.segment))?;
            if length_bytes >= u64::from(place.offset) {
                return Ok(checkpoint);
            }
        }
        report.index_rebuilt = !segments.is_empty();
        self.index.clear()?;
        Ok(None)
    }

    fn replay_segment(
        &self,
        state: &mut State,
        start: Place,
        is_last: bool,
        report: &mut OpenReport,
    ) -> Result<(), OpenFragmentsError> {
        let segment = start.segment;
        let file = self.files.get(segment).map_err(io_error("open", segment))?;
        let damaged_before = report.damaged_records;
        let mut failed = None;
        let walked = walk(&*file, &self.codec, start.offset, |found| {
            if failed.is_none() {
                failed = self.replay_record(state, segment, found, report).err();
            }
        });
        let walked = walked.map_err(io_error("read", segment))?;
        failed.map_or(Ok(()), Err)?;
        if walked.unreadable_end_bytes > 0 {
            // Of what cannot be read at all nobody knows how many records it was: at least one.
            report.damaged_records = report.damaged_records.max(damaged_before + 1);
            self.keep(state, segment)?;
        }
        // What cannot be read behind the last record may be one, and is not ours to overwrite: the segment grows no more.
        if is_last && walked.unreadable_end_bytes <= walked.end_bytes {
            if walked.end_bytes < walked.length_bytes {
                report.truncated_bytes = walked.length_bytes - walked.end_bytes;
                file.truncate(walked.end_bytes).map_err(io_error("cut off the torn end of", segment))?;
            }
            let end = u32::try_from(walked.end_bytes)
                .map_err(|_| io_error("use", segment)(io::ErrorKind::FileTooLarge.into()))?;
            state.active = Some(Active { segment, file: file.clone(), end });
        }
        report.rescanned_bytes += walked.length_bytes.saturating_sub(u64::from(start.offset));
        if walked.length_bytes > u64::from(start.offset) {
            // What was written before a crash of the process alone may still be in memory only.
            file.sync_data().map_err(io_error("sync", segment))?;
        }
        Ok(())
    }

    /// A segment of which the disk did not give everything back may hold fragments that nobody knows of: it is not removed, also not by
    /// later runs, which do not read it again.
    fn keep(&self, state: &mut State, segment: u32) -> Result<(), OpenFragmentsError> {
        self.index.set_kept(segment)?;
        state.kept_segments.insert(segment);
        Ok(())
    }

    fn replay_record(
        &self,
        state: &mut State,
        segment: u32,
        found: Found,
        report: &mut OpenReport,
    ) -> Result<(), OpenFragmentsError> {
        let Found { offset, header, is_whole } = found;
        let place = Place { segment, offset };
        match header.kind {
            Kind::Fragment { length_bytes } if is_whole && !header.is_dead => {
                self.index.apply([(&header.hash, Location { place, length_bytes })], [])?;
            }
            Kind::Fragment { .. } => {
                report.damaged_records += u64::from(!is_whole);
                self.forget(&header, place)?;
            }
            Kind::Tombstone { ended } => {
                self.forget(&header, ended)?;
                match self.mark_again(state, &header, ended) {
                    // The tombstone stands, and will be read again with the record.
                    Err(error) if is_lost(&error) => {}
                    marked => marked.map_err(io_error("mark a record in", ended.segment))?,
                }
            }
        }
        Ok(())
    }

    /// Removes the entry of a record from the index, unless it is about another record of the same name.
    fn forget(&self, header: &Header, place: Place) -> Result<(), OpenFragmentsError> {
        if self.index.get(&header.hash)?.is_some_and(|location| location.place == place) {
            self.index.apply([], [&header.hash])?;
        }
        Ok(())
    }

    /// The mark of a deletion may have been lost in a power cut; the tombstone is what remembers it.
    fn mark_again(&self, state: &mut State, tombstone: &Header, ended: Place) -> io::Result<()> {
        if !state.live_by_segment.contains_key(&ended.segment) {
            return Ok(());
        }
        let file = self.files.get(ended.segment)?;
        let mut bytes = [0; HEADER_LEN];
        if u64::from(ended.offset) + HEADER_LEN as u64 > file.len_bytes()? {
            return Ok(());
        }
        file.read_exact_at(&mut bytes, u64::from(ended.offset))?;
        match self.codec.decode(&bytes) {
            Some(header) if header.hash == tombstone.hash && !header.is_dead => self.mark_dead(state, ended),
            // By a process that may have ended before it synced the mark: the checkpoint that passes over the tombstone has to.
            Some(header) if header.hash == tombstone.hash => {
                state.unsynced_marks.insert(ended.segment, file);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts what is alive, and drops entries whose bytes are not there.
    fn count_live(&self, state: &mut State, report: &mut OpenReport) -> Result<(), OpenFragmentsError> {
        let mut length_by_segment = std::collections::BTreeMap::new();
        for &segment in state.live_by_segment.keys() {
            let file = self.files.get(segment).map_err(io_error("open", segment))?;
            length_by_segment.insert(segment, file.len_bytes().map_err(io_error("read", segment))?);
        }
        let mut gone = Vec::new();
        let (mut bytes, mut fragments) = (0, 0);
        for entry in self.index.entries() {
            let (hash, location) = entry?;
            let end = location.place.payload() + u64::from(location.length_bytes);
            if length_by_segment.get(&location.place.segment).is_some_and(|length| end <= *length) {
                *state.live_by_segment.entry(location.place.segment).or_default() += 1;
                bytes += u64::from(location.length_bytes);
                fragments += 1;
            } else {
                gone.push(hash);
            }
        }
        report.damaged_records += gone.len() as u64;
        self.index.apply([], &gone)?;
        self.stored.bytes.store(bytes, Ordering::Relaxed);
        self.stored.fragments.store(fragments, Ordering::Relaxed);
        Ok(())
    }
}
