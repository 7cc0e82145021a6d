//! The file operations that the fragment log needs, as a seam: everything that can make bytes durable, or lose
//! them, goes through [`Disk`] and [`DiskFile`].
//!
//! A test can stand in for the disk, fail any single call, and crash between any two. The real one is [`DirectoryDisk`];
//! [`MemoryDisk`] is its twin without a disk.

mod directory;
mod memory;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub use directory::DirectoryDisk;
pub use memory::MemoryDisk;

/// One flat directory of files.
///
/// What [`Disk::create`] and [`Disk::remove`] change survives a power cut only after [`Disk::sync_dir`].
pub trait Disk: Debug + Send + Sync {
    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file for reading and writing; it must not exist yet.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Who has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes earlier creations and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file.
///
/// What is written survives a power cut only after [`DiskFile::sync_data`], and may before.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes, holes included.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Fills the whole of `buffer` from `offset`; `UnexpectedEof` when the file is shorter.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same from the medium itself, where a copy in memory can be passed over: for whoever wants to know what a restart would read.
    fn read_exact_from_medium_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    /// Writes all of `parts`, one behind the other, from `offset`. After an error any prefix of them may be there.
    ///
    /// The slices are consumed on the way: their content afterwards says nothing.
    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable. After an error it is not known what is: never try again.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file off behind `length_bytes`.
    fn truncate(&self, length_bytes: u64) -> io::Result<()>;

    /// Gives the space of a range back; it then reads as zeros, and the length stays.
    ///
    /// `Unsupported` where the file system cannot.
    fn punch_hole(&self, offset: u64, length_bytes: u64) -> io::Result<()>;
}
