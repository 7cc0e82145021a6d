//! A machine whose power can fail, and whose disk can: what the fragment log sees of it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use storage::disk::{Disk, DiskFile};
use storage::engine::{Batch, Engine, EngineError, MemoryEngine, Pair, Space};

/// What goes wrong at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power is lost before the call takes effect; nothing works from then on.
    Crash,
    /// The call fails once, as a full disk does, after half of a write.
    NoSpace,
    /// The call fails once, after half of a write.
    Io,
}

/// A call that says it is done and is not, as if the store did not make it: that has to be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// No file is synced.
    SyncData,
    /// No directory is synced.
    SyncDir,
    /// The database is not flushed.
    Flush,
    /// The sync that fails says nothing of it.
    FailedSync,
}

/// Everything that a crash decides about, behind one lock.
#[derive(Debug, Default)]
pub struct Machine {
    /// Calls so far that change something on disk.
    pub calls: u64,
    pub fault_at: Option<(u64, Fault)>,
    pub lie: Option<Lie>,
    is_down: bool,
    /// The call that failed.
    pub failed_call: Option<&'static str>,
    pub files: BTreeMap<String, Content>,
    /// Names whose creation or removal is not synced, with the file that was there before.
    unsynced_names: BTreeMap<String, Option<Content>>,
    engine: EngineState,
}

pub type Content = Arc<Mutex<FileState>>;

#[derive(Debug, Default, Clone)]
pub struct FileState {
    pub now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// What the medium does not give back.
    unreadable: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
    Punch(usize, usize),
}

#[derive(Debug, Default)]
struct EngineState {
    now: MemoryEngine,
    /// Batches since the last flush, for the database on disk.
    unsynced: Vec<(Space, Option<Batch>)>,
    durable: MemoryEngine,
}

#[derive(Debug, Clone, Default)]
pub struct Simulated(Arc<Mutex<Machine>>);

/// Decides what a crash leaves.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

impl Machine {
    /// Counts a call; an error if it is to fail, and whether half of it is to be done.
    fn call(&mut self, name: &'static str) -> io::Result<Option<Fault>> {
        if self.is_down {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        match self.fault_at.filter(|(at, _)| *at == self.calls) {
            None => Ok(None),
            Some((_, fault)) => {
                self.failed_call = Some(name);
                if fault == Fault::Crash {
                    self.is_down = true;
                    return Err(io::Error::other("the power fails"));
                }
                Ok(Some(fault))
            }
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::Io | Self::Crash => io::Error::other("input/output error"),
        }
    }
}

impl FileState {
    fn change(content: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Truncate(length) => content.resize(*length, 0),
            Change::Punch(from, length) => {
                let end = (from + length).min(content.len());
                content[(*from).min(end)..end].fill(0);
            }
        }
    }

    fn apply(&mut self, change: Change) {
        Self::change(&mut self.now, &change);
        self.unsynced.push(change);
    }

    fn touches_unreadable(&self, range: &Range<usize>) -> bool {
        self.unreadable.iter().any(|bad| bad.start.max(range.start) < bad.end.min(range.end))
    }

    /// What is left of it: each unsynced change is there, not there, or there in part.
    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            match (random.next(4), change) {
                (0, _) => {}
                (1, Change::Write(at, bytes)) => {
                    let torn = bytes[..random.next(bytes.len() + 1)].to_vec();
                    Self::change(&mut content, &Change::Write(*at, torn));
                }
                // The length got through, and some blocks did.
                (2, Change::Write(at, bytes)) => {
                    content.resize(content.len().max(at + bytes.len()), 0);
                    for (index, block) in bytes.chunks(256).enumerate().filter(|_| random.next(2) == 0) {
                        Self::change(&mut content, &Change::Write(at + 256 * index, block.to_vec()));
                    }
                }
                (_, change) => Self::change(&mut content, change),
            }
        }
        content
    }
}

impl Simulated {
    pub fn with<R>(&self, act: impl FnOnce(&mut Machine) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    /// Flips a bit of these bytes wherever they are on the disk, durably.
    pub fn rot(&self, bytes: &[u8]) {
        let mut hit = 0;
        self.with(|machine| {
            for content in machine.files.values() {
                let FileState { now, durable, .. } = &mut *content.lock().unwrap();
                let windows = now.windows(bytes.len()).enumerate();
                let found: Vec<usize> =
                    windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect();
                for at in found {
                    hit += 1;
                    now[at] ^= 1;
                    // Of what is not durable there is nothing yet.
                    durable.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                }
            }
        });
        assert!(hit > 0, "the bytes are not on the disk");
    }

    /// Reads of these bytes of a file answer EIO, and writes of a part of them, also after crashes. An empty range is none.
    pub fn make_unreadable(&self, file: &str, range: Range<usize>) {
        self.with(|machine| {
            let content = machine.files.get(file).expect("there is such a file");
            content.lock().unwrap().unreadable.push(range);
        });
    }

    /// The same for these bytes wherever they are on the disk.
    pub fn make_bytes_unreadable(&self, bytes: &[u8]) {
        let mut hit = 0;
        self.with(|machine| {
            for content in machine.files.values() {
                let FileState { now, unreadable, .. } = &mut *content.lock().unwrap();
                let windows = now.windows(bytes.len()).enumerate();
                let found = windows.filter(|(_, window)| *window == bytes);
                let before = unreadable.len();
                unreadable.extend(found.map(|(at, _)| at..at + bytes.len()));
                hit += unreadable.len() - before;
            }
        });
        assert!(hit > 0, "the bytes are not on the disk");
    }

    /// It was the cable: everything can be read again.
    pub fn make_readable(&self) {
        self.with(|machine| {
            machine.files.values().for_each(|content| content.lock().unwrap().unreadable.clear());
        });
    }

    /// The machine after the process was killed: nothing is lost yet, and nothing more is synced.
    pub fn after_kill(&self) -> Self {
        self.with(|machine| {
            let copy = |content: &Content| Arc::new(Mutex::new(content.lock().unwrap().clone()));
            let files = machine.files.iter().map(|(name, content)| (name.clone(), copy(content))).collect();
            let engine = EngineState { unsynced: machine.engine.unsynced.clone(), ..EngineState::default() };
            copy_engine(&machine.engine.now, &engine.now);
            copy_engine(&machine.engine.durable, &engine.durable);
            let unsynced_names = machine.unsynced_names.clone();
            Self(Arc::new(Mutex::new(Machine { files, engine, unsynced_names, ..Machine::default() })))
        })
    }

    /// The machine after power came back. With `keep_index` the database has lost a tail of its batches; else everything.
    pub fn after_crash(&self, random: &mut Random, keep_index: bool) -> Self {
        self.with(|machine| {
            let mut names = machine.files.clone();
            for (name, before) in &machine.unsynced_names {
                if random.next(2) == 0 {
                    match before {
                        Some(file) => drop(names.insert(name.clone(), file.clone())),
                        None => drop(names.remove(name)),
                    }
                }
            }
            let file = |content: &Content| {
                let before = content.lock().unwrap();
                let (content, unreadable) = (before.after_crash(random), before.unreadable.clone());
                let (now, unsynced) = (content.clone(), Vec::new());
                Arc::new(Mutex::new(FileState { now, durable: content, unsynced, unreadable }))
            };
            let mut file = file;
            let files = names.iter().map(|(name, content)| (name.clone(), file(content))).collect();
            let engine = EngineState::default();
            if keep_index {
                let kept = random.next(machine.engine.unsynced.len() + 1);
                for target in [&engine.now, &engine.durable] {
                    copy_engine(&machine.engine.durable, target);
                    machine.engine.unsynced[..kept].iter().for_each(|change| replay(target, change));
                }
            }
            Self(Arc::new(Mutex::new(Machine { files, engine, ..Machine::default() })))
        })
    }
}

fn copy_engine(from: &MemoryEngine, to: &MemoryEngine) {
    for space in [Space::View, Space::Index] {
        let mut batch = Batch::default();
        storage::engine::scan(from, space, b"")
            .map(Result::unwrap)
            .for_each(|(key, value)| batch.put(key, value));
        to.apply(space, batch).unwrap();
    }
}

fn replay(engine: &MemoryEngine, (space, batch): &(Space, Option<Batch>)) {
    match batch {
        Some(batch) => engine.apply(*space, batch.clone()).unwrap(),
        None => engine.clear(*space).unwrap(),
    }
}

impl Disk for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        self.with(|machine| Ok(machine.files.keys().cloned().collect()))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.with(|machine| {
            if let Some(fault) = machine.call("create")? {
                return Err(fault.error());
            }
            assert!(!machine.files.contains_key(name), "{name} exists");
            let content = Content::default();
            machine.files.insert(name.to_owned(), content.clone());
            machine.unsynced_names.entry(name.to_owned()).or_insert(None);
            Ok(Arc::new(SimulatedFile { machine: self.clone(), content }) as Arc<dyn DiskFile>)
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.with(|machine| machine.files.get(name).cloned());
        let content = content.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { machine: self.clone(), content }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|machine| {
            if let Some(fault) = machine.call("remove")? {
                return Err(fault.error());
            }
            let file = machine.files.remove(name);
            machine.unsynced_names.entry(name.to_owned()).or_insert(file);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.with(|machine| {
            if let Some(fault) = machine.call("sync_dir")? {
                return Err(fault.error());
            }
            if machine.lie != Some(Lie::SyncDir) {
                machine.unsynced_names.clear();
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    machine: Simulated,
    content: Content,
}

impl SimulatedFile {
    fn change(&self, name: &'static str, change: Change) -> io::Result<()> {
        let fault = self.machine.with(|machine| machine.call(name))?;
        let mut file = self.content.lock().unwrap();
        if let Change::Write(at, bytes) = &change
            && file.touches_unreadable(&(*at..at + bytes.len()))
        {
            // The rest of the block would have to be read first.
            return Err(unreadable());
        }
        match (fault, change) {
            (None, change) => {
                file.apply(change);
                Ok(())
            }
            (Some(fault), Change::Write(at, mut bytes)) => {
                bytes.truncate(bytes.len() / 2);
                file.apply(Change::Write(at, bytes));
                Err(fault.error())
            }
            (Some(fault), Change::Truncate(_) | Change::Punch(..)) => Err(fault.error()),
        }
    }
}

fn unreadable() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl DiskFile for SimulatedFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().now.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let file = self.content.lock().unwrap();
        let range = offset as usize..offset as usize + buffer.len();
        if file.touches_unreadable(&range) {
            return Err(unreadable());
        }
        let bytes = file.now.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.change("write", Change::Write(offset as usize, bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (fault, lie) =
            self.machine.with(|machine| io::Result::Ok((machine.call("sync_data")?, machine.lie)))?;
        match (fault, lie) {
            (_, Some(Lie::SyncData)) | (Some(_), Some(Lie::FailedSync)) => return Ok(()),
            (Some(fault), _) => return Err(fault.error()),
            (None, _) => {}
        }
        let mut file = self.content.lock().unwrap();
        file.durable = file.now.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn truncate(&self, length_bytes: u64) -> io::Result<()> {
        self.change("truncate", Change::Truncate(length_bytes as usize))
    }

    fn punch_hole(&self, offset: u64, length_bytes: u64) -> io::Result<()> {
        self.change("punch_hole", Change::Punch(offset as usize, length_bytes as usize))
    }
}

impl Engine for Simulated {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.with(|machine| machine.engine.now.get(space, key))
    }

    fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.with(|machine| machine.engine.now.page(space, prefix, after, limit))
    }

    fn apply(&self, space: Space, batch: Batch) -> Result<(), EngineError> {
        self.with(|machine| {
            if let Some(fault) = machine.call("engine apply")? {
                return Err(fault.error().into());
            }
            machine.engine.now.apply(space, batch.clone())?;
            machine.engine.unsynced.push((space, Some(batch)));
            Ok(())
        })
    }

    fn clear(&self, space: Space) -> Result<(), EngineError> {
        self.with(|machine| {
            if let Some(fault) = machine.call("engine clear")? {
                return Err(fault.error().into());
            }
            machine.engine.unsynced.push((space, None));
            machine.engine.now.clear(space)
        })
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.with(|machine| {
            if let Some(fault) = machine.call("engine flush")? {
                return Err(fault.error().into());
            }
            if machine.lie == Some(Lie::Flush) {
                return Ok(());
            }
            let EngineState { unsynced, durable, .. } = &mut machine.engine;
            unsynced.drain(..).for_each(|change| replay(durable, &change));
            Ok(())
        })
    }
}
