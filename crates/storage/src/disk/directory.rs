//! The real disk: one directory of a file system. Every system call of the fragment log is in this file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile};

/// Most slices in one `pwritev` (Linux's `IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// A directory of the file system as a [`Disk`].
#[derive(Debug)]
pub struct DirectoryDisk {
    directory: PathBuf,
    handle: File,
}

impl DirectoryDisk {
    /// The directory at `path`, which is made if it is not there; its parent must exist.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::create_dir(path) {
            Ok(()) => path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Self { directory: path.to_owned(), handle: File::open(path)? })
    }
}

impl Disk for DirectoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(self.directory.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatvfs(&self.handle)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl RealFile {
    /// Only a hint: a page that is not written yet stays, and where the system does not take hints, all do.
    fn drop_pages(&self, length_bytes: usize, offset: u64) {
        const PAGE_BYTES: u64 = 4096;
        let start = offset / PAGE_BYTES * PAGE_BYTES;
        let end = (offset + length_bytes as u64).next_multiple_of(PAGE_BYTES);
        let _ = rustix::fs::fadvise(&self.0, start, NonZeroU64::new(end - start), Advice::DontNeed);
    }
}

impl DiskFile for RealFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    /// The pages are dropped from memory before they are read, and again after: who reads a whole store must not push out of memory what
    /// others read all the time.
    fn read_exact_from_medium_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.drop_pages(buffer.len(), offset);
        let result = self.0.read_exact_at(buffer, offset);
        self.drop_pages(buffer.len(), offset);
        result
    }

    fn write_all_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0); // empty slices at the front would look like "nothing written"
        while !parts.is_empty() {
            let some = &parts[..parts.len().min(MAX_SLICES)];
            match rustix::io::pwritev(&self.0, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len(length_bytes)
    }

    fn punch_hole(&self, offset: u64, length_bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, length_bytes)?)
    }
}
