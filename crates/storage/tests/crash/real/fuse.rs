//! The real disk and the real database with a fuse before them: it counts the calls that write, and one of them ends the process.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Signal, getpid, kill_process};
use storage::disk::{DirectoryDisk, Disk, DiskFile};
use storage::engine::{Batch, Engine, EngineError, Pair, SledEngine, Space};

/// When the process ends, seen from the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    /// After half of a write.
    Within,
    After,
}

/// A call that says it is done and is not: that has to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The database is not flushed.
    Flush,
    /// What is written to a file is kept back until the next write to it.
    Write,
}

/// Counts calls, and ends the process at one of them.
#[derive(Debug)]
pub struct Fuse {
    calls: AtomicU64,
    end: Option<(u64, Moment)>,
    lie: Option<Lie>,
}

impl Fuse {
    pub fn new(end: Option<(u64, Moment)>, lie: Option<Lie>) -> Arc<Self> {
        Arc::new(Self { calls: AtomicU64::new(0), end, lie })
    }

    /// For [`storage::Store::open_through`].
    pub fn before(
        self: Arc<Self>,
    ) -> impl FnOnce(DirectoryDisk, SledEngine) -> (Arc<dyn Disk>, Arc<dyn Engine>) {
        move |disk, engine| (Arc::new(FusedDisk(disk, self.clone())), Arc::new(FusedEngine(engine, self)))
    }

    fn call<R>(&self, name: &'static str, act: impl FnOnce() -> R) -> R {
        self.call_in_halves(name, || {}, act)
    }

    fn call_in_halves<R>(&self, name: &'static str, half: impl FnOnce(), act: impl FnOnce() -> R) -> R {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        println!("call {name}");
        match self.end.filter(|(at, _)| *at == call).map(|(_, moment)| moment) {
            None => act(),
            Some(Moment::Before) => die(),
            Some(Moment::Within) => {
                half();
                die()
            }
            Some(Moment::After) => {
                act();
                die()
            }
        }
    }
}

/// No destructor runs, and nothing that waits in this process is written.
fn die() -> ! {
    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    loop {
        std::thread::park();
    }
}

#[derive(Debug)]
struct FusedDisk(DirectoryDisk, Arc<Fuse>);

impl FusedDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FusedFile { file, fuse: self.1.clone(), kept_back: Mutex::default() })
    }
}

impl Disk for FusedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.1.call("create", || self.0.create(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.0.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.call("remove", || self.0.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.1.call("sync_dir", || self.0.sync_dir())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

#[derive(Debug)]
struct FusedFile {
    file: Arc<dyn DiskFile>,
    fuse: Arc<Fuse>,
    kept_back: Mutex<Option<(Vec<u8>, u64)>>,
}

impl FusedFile {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(&mut [IoSlice::new(bytes)], offset)
    }

    fn write_late(&self, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        let mut kept_back = self.kept_back.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept_back.replace((bytes, offset));
        before.map_or(Ok(()), |(bytes, offset)| self.write(&bytes, offset))
    }
}

impl DiskFile for FusedFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_exact_from_medium_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_from_medium_at(buffer, offset)
    }

    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let half = || self.write(&bytes[..bytes.len() / 2], offset).expect("the disk writes");
        self.fuse.call_in_halves("write", half, || match self.fuse.lie {
            Some(Lie::Write) => self.write_late(bytes.clone(), offset),
            Some(Lie::Flush) | None => self.file.write_all_at(parts, offset),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fuse.call("sync_data", || self.file.sync_data())
    }

    fn truncate(&self, length_bytes: u64) -> io::Result<()> {
        self.fuse.call("truncate", || self.file.truncate(length_bytes))
    }

    fn punch_hole(&self, offset: u64, length_bytes: u64) -> io::Result<()> {
        self.fuse.call("punch_hole", || self.file.punch_hole(offset, length_bytes))
    }
}

#[derive(Debug)]
struct FusedEngine(SledEngine, Arc<Fuse>);

impl Engine for FusedEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.0.get(space, key)
    }

    fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.0.page(space, prefix, after, limit)
    }

    fn apply(&self, space: Space, batch: Batch) -> Result<(), EngineError> {
        self.1.call("engine apply", || self.0.apply(space, batch))
    }

    fn clear(&self, space: Space) -> Result<(), EngineError> {
        self.1.call("engine clear", || self.0.clear(space))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.1.call("engine flush", || match self.1.lie {
            Some(Lie::Flush) => Ok(()),
            Some(Lie::Write) | None => self.0.flush(),
        })
    }
}
