//! Integrity at rest: verifying what is stored, and setting aside what is damaged.
//!
//! A quarantined fragment is no longer here: a tombstone ends its record, as after a deletion, and a later put writes it anew. Its bytes
//! stay where they are, in a record that is marked dead, until the segment dies: an operator finds them there, and the file system
//! does not give blocks that went bad to the next fragment.
//!
//! Verification walks in the order of the hashes, so that the place it has reached means the same after puts, deletions and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use protocol::Hash;
use rustix::io::Errno;

use super::error::{DeleteError, InventoryError, ReadError};
use super::files::name_of;
use super::index::Location;
use super::log::{Log, State};
use super::segments::dead_segments;
use super::{Fragments, HEADER_LEN};

/// Entries of the index that are looked up at once.
const PAGE: usize = 64;
/// Most fragments of a step, however small they are.
const STEP_FRAGMENTS: u64 = 4096;

/// What a step of a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// How many fragments were read.
    pub fragments: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Those whose stored bytes do not match their names, and those that the disk could not read at an earlier verification either: to be
    /// quarantined.
    pub damaged: Vec<Hash>,
    /// Those that could not be read for a reason that may pass.
    pub unread: Vec<ReadError>,
    /// Where the next step goes on: behind this fragment. None at the end.
    pub next: Option<Hash>,
}

/// A fragment that was set aside, and where its bytes are until its segment dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The fragment.
    pub hash: Hash,
    /// The name of the segment's file.
    pub segment: String,
    /// Where in it the bytes begin.
    pub offset_bytes: u64,
    /// How many they are.
    pub length_bytes: u32,
}

impl Fragments {
    /// Reads a fragment from the medium and checks it against its hash; answers its size in bytes.
    ///
    /// A copy of it that the system has in memory does not count, as far as the system can be asked to let go of it. If the disk cannot
    /// read it, that may pass: it is damaged if a later verification cannot either. In between this is remembered in memory only.
    pub fn verify(&self, hash: &Hash) -> Result<u64, ReadError> {
        self.log.verify(hash)
    }

    /// Verifies the fragments behind `after`, or from the first on, until `budget_bytes` are read or exceeded, or 4096
    /// fragments are; at least one if there is one.
    ///
    /// What is put or deleted meanwhile may or may not be seen.
    pub fn verify_next(&self, after: Option<&Hash>, budget_bytes: u64) -> Result<Verified, InventoryError> {
        let mut verified = Verified::default();
        for entry in self.log.index.entries_after(after, PAGE) {
            let (hash, location) = entry?;
            match self.verify(&hash) {
                Ok(_) => {}
                Err(ReadError::Missing(_)) => continue,
                Err(ReadError::Damaged(_)) => verified.damaged.push(hash),
                Err(error @ (ReadError::Io { .. } | ReadError::Index { .. })) => verified.unread.push(error),
            }
            verified.fragments += 1;
            verified.bytes += u64::from(location.length_bytes);
            if verified.bytes >= budget_bytes || verified.fragments == STEP_FRAGMENTS {
                verified.next = Some(hash);
                break;
            }
        }
        Ok(verified)
    }

    /// Sets aside those of `hashes` that are here and whose bytes do not match their names: from now on, also after a restart, they are
    /// not here. Each is read once more before; one that was put anew in the meantime, or can be read again, stays. One that the disk cannot
    /// read goes only if two verifications could not either.
    pub fn quarantine(&self, hashes: &[Hash]) -> Result<Vec<Quarantined>, DeleteError> {
        self.log.quarantine(hashes)
    }
}

impl Log {
    fn verify(&self, hash: &Hash) -> Result<u64, ReadError> {
        match self.read_by(hash, Self::read_from_medium_at) {
            Ok(bytes) => Ok(bytes.len() as u64),
            Err(ReadError::Io { source, .. }) if is_unreadable(&source) && self.is_unreadable_again(hash) => {
                Err(ReadError::Damaged(*hash))
            }
            Err(error) => Err(error),
        }
    }

    fn is_unreadable_again(&self, hash: &Hash) -> bool {
        // Should it have been put anew this instant, quarantine reads it before it ends it.
        let location = self.index.get(hash).ok().flatten();
        location.is_some_and(|location| self.doubts().set_unreadable(*hash, location))
    }

    fn read_from_medium_at(&self, location: Location) -> io::Result<Bytes> {
        let mut buffer = self.buffers.take(location.length_bytes as usize);
        let file = self.files.get(location.place.segment)?;
        file.read_exact_from_medium_at(buffer.as_mut(), location.place.payload())?;
        Ok(buffer.into_bytes())
    }

    fn quarantine(&self, hashes: &[Hash]) -> Result<Vec<Quarantined>, DeleteError> {
        let mut state = self.state();
        self.health.check()?;
        let mut ended = BTreeMap::new();
        for hash in hashes.iter().collect::<BTreeSet<_>>() {
            let location = self.index.get(hash);
            let location =
                location.map_err(|error| self.health.fail("read the index of the fragments", error))?;
            match location.map(|location| (location, self.is_damaged(hash, location))) {
                Some((location, Some(true))) => drop(ended.insert(*hash, location)),
                // What was known of it stays as it was.
                Some((_, None)) => {}
                Some((_, Some(false))) | None => self.doubts().forget(hash),
            }
        }
        let ended: Vec<(Hash, Location)> = ended.into_iter().collect();
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        self.end_records(&mut state, &ended)?;
        for (_, location) in &ended {
            self.mark_damaged(&mut state, *location);
        }
        if !dead_segments(&state).is_empty() {
            self.checkpoint(&mut state)?;
        }
        let aside = ended.into_iter().map(|(hash, Location { place, length_bytes })| Quarantined {
            hash,
            segment: name_of(place.segment),
            offset_bytes: place.payload(),
            length_bytes,
        });
        Ok(aside.collect())
    }

    /// None if that cannot be told now.
    fn is_damaged(&self, hash: &Hash, location: Location) -> Option<bool> {
        match self.read_from_medium_at(location) {
            Ok(bytes) => Some(Hash::of(&bytes) != *hash),
            Err(error) if is_unreadable(&error) => self.doubts().is_given_up(hash, location).then_some(true),
            Err(error) => is_gone(&error).then_some(true),
        }
    }

    /// Where the disk does not take the mark, the tombstone and the hash are what keeps the record from being taken for a fragment: one
    /// bad block does not end the whole store. Nothing is written where the record's header is not.
    pub fn mark_damaged(&self, state: &mut State, location: Location) {
        let mut header = [0; HEADER_LEN];
        let is_its_header = self
            .files
            .get(location.place.segment)
            .and_then(|file| file.read_exact_at(&mut header, u64::from(location.place.offset)))
            .is_ok_and(|()| self.codec.decode(&header).is_some());
        if is_its_header {
            drop(self.mark_dead(state, location.place));
        }
    }
}

/// Whether bytes that could not be read are not there at all: the file ends before them, or is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
}

/// Whether the medium does not give bytes back. The next try may, if it is not the medium but what is in front of it.
fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Whether an error is about these bytes, so that others may still be read or written.
pub(super) fn is_lost(error: &io::Error) -> bool {
    is_gone(error) || is_unreadable(error)
}
