//! Fragments by their hash, in append-only segment files.
//!
//! A fragment stays where it was written: what becomes of it, staged or stored, is in the view, and moves no bytes (S17).
//! What `put_batch` answers with `Ok` survives a power cut. The name of a fragment is the hash of its bytes, so it is
//! checked on the way in and again at every read: a torn or rotten copy is never handed out. Two ways around the hash are for callers
//! that vouch for the bytes or pass them to somebody who hashes: `FragmentWriter::put_hashed` and `Fragments::read_checksummed`.
//!
//! A reader that finds damage only remembers it. `Fragments::quarantine` makes it last.

mod buffers;
mod doubts;
mod error;
mod files;
mod index;
mod log;
mod record;
mod replay;
mod scan;
mod segments;
mod select;
mod verify;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use protocol::Hash;
use uuid::Uuid;

use crate::disk::Disk;
use crate::engine::Engine;
use crate::health::{Health, StoreFailed};

pub use error::{DeleteError, InventoryError, OpenFragmentsError, PutError, ReadError};
pub use verify::{Quarantined, Verified};
pub use writer::{FragmentWriter, OnDone};

use buffers::BufferPool;
use files::SegmentFiles;
use index::{Index, Location};
use log::{Log, LogOptions, Stored};
use record::{HEADER_LEN, HeaderCodec};

/// Largest fragment in bytes: 8 MiB.
pub const MAX_FRAGMENT_BYTES: u32 = 8 << 20;
/// A segment file that has reached this length is followed by a new one: 64 MiB.
pub const SEGMENT_BYTES: u32 = 64 << 20;
/// Space that puts leave free on the disk by default: 64 MiB.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// How the fragments are kept. The defaults are right except in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentsOptions {
    /// A segment that has reached this length in bytes takes no more records. At most 2^31.
    pub segment_bytes: u32,
    /// Space in bytes that puts leave free, so that deletions and the database can still be written.
    pub reserve_bytes: u64,
}

impl Default for FragmentsOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, reserve_bytes: RESERVE_BYTES }
    }
}

/// What opening the fragments found. All zero after a clean close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The index was missing or did not fit, and was rebuilt from the segments.
    pub index_rebuilt: bool,
    /// Bytes of segments that were read again.
    pub rescanned_bytes: u64,
    /// Bytes that a crash left behind the last whole record, cut off.
    pub truncated_bytes: u64,
    /// Records whose bytes are not what they should be; they are not listed. After a power cut some of these were never
    /// acknowledged.
    pub damaged_records: u64,
}

/// The fragments of one store. Clones share it; every method may be called from any thread, and blocks on the disk.
#[derive(Debug, Clone)]
pub struct Fragments {
    log: Arc<Log>,
}

impl Fragments {
    /// Opens the fragments in the segments on `disk`, with their index in `engine`.
    ///
    /// `store_id` must be the same each time: records of another store are not recognised.
    pub fn open(
        disk: Arc<dyn Disk>,
        engine: Arc<dyn Engine>,
        store_id: Uuid,
        options: FragmentsOptions,
    ) -> Result<(Self, OpenReport), OpenFragmentsError> {
        Self::open_with(disk, engine, store_id, options, Health::default())
    }

    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        engine: Arc<dyn Engine>,
        store_id: Uuid,
        options: FragmentsOptions,
        health: Health,
    ) -> Result<(Self, OpenReport), OpenFragmentsError> {
        let log = Log {
            files: SegmentFiles::new(disk.clone()),
            disk,
            index: Index::new(engine),
            codec: HeaderCodec::new(store_id),
            health,
            buffers: BufferPool::default(),
            options: LogOptions {
                segment_bytes: options.segment_bytes.min(1 << 31),
                reserve_bytes: options.reserve_bytes,
            },
            stored: Stored::default(),
            doubts: Mutex::default(),
            can_punch: AtomicBool::new(true),
            state: Mutex::default(),
        };
        let report = log.replay()?;
        Ok((Self { log: Arc::new(log) }, report))
    }

    /// Stores fragments: verifies that each hashes to its name, appends all, and syncs once.
    ///
    /// The answers are in the order of the fragments. A fragment that is already here, and good where it is, is `Ok` and
    /// not written again.
    pub fn put_batch(&self, fragments: Vec<(Hash, Bytes)>) -> Vec<Result<(), PutError>> {
        let refusals: Vec<_> = fragments.iter().map(|(hash, bytes)| verify(hash, bytes).err()).collect();
        let mut wanted = refusals.iter().map(Option::is_none);
        let mut verified = fragments;
        verified.retain(|_| wanted.next() == Some(true));
        let mut stored = self.log.put_verified(verified).into_iter();
        let answer = |refusal: Option<PutError>| match refusal {
            Some(refusal) => Err(refusal),
            None => stored.next().expect("one result for each verified fragment"),
        };
        refusals.into_iter().map(answer).collect()
    }

    /// The bytes of a fragment, checked against its hash.
    pub fn read(&self, hash: &Hash) -> Result<Bytes, ReadError> {
        self.log.read(hash)
    }

    /// The bytes of a fragment, checked against the checksum with which they were written: a tenth of the cost of their hash, for whoever
    /// gives them to somebody that hashes them.
    pub fn read_checksummed(&self, hash: &Hash) -> Result<Bytes, ReadError> {
        // Whatever is unusual is for the reader that hashes.
        self.log.read_checksummed(hash).map_or_else(|| self.read(hash), Ok)
    }

    /// Whether the fragment is here, and not known to be damaged.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.size_of(hash).is_some()
    }

    /// The size in bytes of a fragment that is here and not known to be damaged.
    pub fn size_of(&self, hash: &Hash) -> Option<u32> {
        let location = self.log.index.get(hash).ok().flatten()?;
        (!self.log.doubts().is_damaged(hash)).then_some(location.length_bytes)
    }

    /// Every fragment that is here with its size in bytes, in the order of the hashes; damaged ones are left out.
    ///
    /// What is put or deleted meanwhile may or may not be seen.
    pub fn inventory(&self) -> impl Iterator<Item = Result<(Hash, u32), InventoryError>> {
        self.log.index.entries().filter_map(|entry| match entry {
            Ok((hash, _)) if self.log.doubts().is_damaged(&hash) => None,
            Ok((hash, location)) => Some(Ok((hash, location.length_bytes))),
            Err(error) => Some(Err(error.into())),
        })
    }

    /// Deletes those of `hashes` that are here, with one sync, and answers how many were. Their space comes back at once.
    pub fn delete_batch(&self, hashes: &[Hash]) -> Result<usize, DeleteError> {
        self.log.delete(hashes)
    }

    /// Payload bytes of all fragments that are here; headers add 64 bytes a fragment on disk.
    pub fn used_bytes(&self) -> u64 {
        self.log.stored.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that puts may still write: what is free on the disk less the reserve.
    pub fn free_bytes(&self) -> u64 {
        self.log.room_bytes()
    }

    /// The number of fragments that are here.
    pub fn len(&self) -> u64 {
        self.log.stored.fragments.load(Ordering::Relaxed)
    }

    /// Whether no fragment is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the index durable up to here, so that the next start has nothing to read again.
    pub fn checkpoint(&self) -> Result<(), StoreFailed> {
        self.log.checkpoint(&mut self.log.state())
    }
}

/// Whether `bytes` may be stored as `hash`.
fn verify(hash: &Hash, bytes: &Bytes) -> Result<(), PutError> {
    check_length(hash, bytes)?;
    let actual = Hash::of(bytes);
    if actual == *hash { Ok(()) } else { Err(PutError::HashMismatch { expected: *hash, actual }) }
}

fn check_length(hash: &Hash, bytes: &Bytes) -> Result<(), PutError> {
    if bytes.len() > MAX_FRAGMENT_BYTES as usize {
        return Err(PutError::TooLarge { hash: *hash, length_bytes: bytes.len() });
    }
    Ok(())
}

impl Log {
    fn read(&self, hash: &Hash) -> Result<Bytes, ReadError> {
        self.read_by(hash, Self::read_at)
    }

    /// Reads with `read_at`, and checks the bytes against the hash.
    fn read_by(
        &self,
        hash: &Hash,
        read_at: impl Fn(&Self, Location) -> io::Result<Bytes>,
    ) -> Result<Bytes, ReadError> {
        let lookup = || self.index.get(hash).map_err(|source| ReadError::Index { hash: *hash, source });
        let mut location = lookup()?.ok_or(ReadError::Missing(*hash))?;
        loop {
            let error = match read_at(self, location) {
                Ok(bytes) if Hash::of(&bytes) == *hash => {
                    self.doubts().forget(hash);
                    return Ok(bytes);
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            // It may have been deleted, or put anew, while it was read.
            let now = lookup()?.ok_or(ReadError::Missing(*hash))?;
            if now == location {
                return Err(self.unreadable(hash, error));
            }
            location = now;
        }
    }

    /// None if there is no checksum, it does not match, the fragment is in doubt, or it is not where it was.
    fn read_checksummed(&self, hash: &Hash) -> Option<Bytes> {
        if self.doubts().is_damaged(hash) {
            return None;
        }
        let location = self.index.get(hash).ok()??;
        let header = self.header_at(hash, location)?;
        let bytes = self.read_at(location).ok()?;
        (header.payload_checksum == Some(crc32fast::hash(&bytes))).then_some(bytes)
    }

    fn read_at(&self, location: Location) -> io::Result<Bytes> {
        let mut buffer = self.buffers.take(location.length_bytes as usize);
        self.files.get(location.place.segment)?.read_exact_at(buffer.as_mut(), location.place.payload())?;
        Ok(buffer.into_bytes())
    }

    fn unreadable(&self, hash: &Hash, error: Option<io::Error>) -> ReadError {
        match error {
            Some(source) if !verify::is_gone(&source) => ReadError::Io { hash: *hash, source },
            // The bytes are wrong, or there are none.
            Some(_) | None => {
                self.doubts().set_damaged(*hash);
                ReadError::Damaged(*hash)
            }
        }
    }
}
