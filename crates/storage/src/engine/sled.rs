//! The database on disk: sled 0.34.7, and the rules without which it loses data.
//!
//! Its `flush()` does not sync the file, so we do. Opening a damaged database may panic, and reading one too, so
//! both happen once on a thread of their own; what does not survive that is moved aside, never deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Batch, Engine, EngineError, Pair, Space};

/// Memory that sled may use for what it has read, in bytes. (It takes more when values are large; ours are not.)
const CACHE_BYTES: u64 = 16 << 20;
/// sled's own threads may hold its lock for a moment after a database was dropped in this process.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// An open sled database.
#[derive(Debug)]
pub struct SledEngine {
    db: sled::Db,
    view: sled::Tree,
    index: sled::Tree,
    /// The database file, opened once: a write error that sled's own thread swallows is still reported to us here.
    file: File,
    /// Comes last, so that it is dropped last.
    held: Option<File>,
}

/// A database, and where its damaged predecessor went if there was one.
#[derive(Debug)]
pub struct OpenedEngine {
    /// The database.
    pub engine: SledEngine,
    /// Where the damaged database was moved; the new one is empty.
    pub moved_aside: Option<MovedAside>,
}

/// A damaged database that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

impl SledEngine {
    /// Opens the database in the directory `path`, or makes it. A damaged one is moved to `PATH.damaged-N` first.
    pub fn open(path: &Path) -> io::Result<OpenedEngine> {
        let reason = match open_guarded(path) {
            Ok(engine) => return Ok(OpenedEngine { engine, moved_aside: None }),
            Err(OpenFailure::Io(error)) => return Err(error),
            Err(OpenFailure::Damaged(reason)) => reason,
        };
        Self::open_fresh(path, reason)
    }

    /// Moves the closed database in the directory `path` to `PATH.damaged-N` and begins a new one.
    pub fn open_fresh(path: &Path, reason: String) -> io::Result<OpenedEngine> {
        let aside = free_name_beside(path);
        fs::rename(path, &aside)?;
        sync_parent(path)?;
        match open_guarded(path) {
            Ok(engine) => Ok(OpenedEngine { engine, moved_aside: Some(MovedAside { path: aside, reason }) }),
            Err(OpenFailure::Io(error)) => Err(error),
            Err(OpenFailure::Damaged(again)) => Err(io::Error::new(io::ErrorKind::InvalidData, again)),
        }
    }
}

enum OpenFailure {
    Io(io::Error),
    Damaged(String),
}

impl From<sled::Error> for OpenFailure {
    fn from(error: sled::Error) -> Self {
        match error {
            // sled reads past the end of a file that a crash cut short.
            sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Io(error),
            sled::Error::Corruption { .. }
            | sled::Error::ReportableBug(_)
            | sled::Error::Unsupported(_)
            | sled::Error::CollectionNotFound(_) => Self::Damaged(error.to_string()),
        }
    }
}

/// Opens the database and reads all of it once, so that what panics does so here.
fn open_guarded(path: &Path) -> Result<SledEngine, OpenFailure> {
    let directory = path.to_owned();
    let opener = thread::Builder::new().name("store-open".into()).spawn(move || {
        let engine = open_unguarded(&directory)?;
        for tree in [&engine.view, &engine.index] {
            for pair in tree {
                pair?;
            }
        }
        Ok(engine)
    });
    match opener.map_err(OpenFailure::Io)?.join() {
        Ok(result) => result,
        Err(panic) => Err(OpenFailure::Damaged(panic_text(panic.as_ref()))),
    }
}

fn open_unguarded(path: &Path) -> Result<SledEngine, OpenFailure> {
    let is_new = !path.join("db").exists();
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(500));
    let mut tries = 0;
    let db = loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_lock_error(&error) && tries < LOCK_TRIES => {
                tries += 1;
                thread::sleep(LOCK_PAUSE);
            }
            other => break other?,
        }
    };
    let (view, index) = (db.open_tree("view")?, db.open_tree("index")?);
    let file = File::open(path.join("db")).map_err(OpenFailure::Io)?;
    let engine = SledEngine { db, view, index, file, held: None };
    if is_new {
        engine.sync_new_files(path)?;
    }
    Ok(engine)
}

/// sled reports a lock that is held as an error of no particular kind.
fn is_lock_error(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string().contains("could not acquire lock")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

fn free_name_beside(path: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let name = PathBuf::from(name);
        if !name.exists() {
            return name;
        }
        number += 1;
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

impl SledEngine {
    /// Keeps `lock` until the database is closed.
    pub(crate) fn hold(&mut self, lock: File) {
        self.held = Some(lock);
    }

    /// sled syncs neither its configuration file nor its directory when it makes them.
    fn sync_new_files(&self, path: &Path) -> Result<(), OpenFailure> {
        self.db.flush()?;
        for entry in fs::read_dir(path).map_err(OpenFailure::Io)? {
            let entry = entry.map_err(OpenFailure::Io)?.path();
            File::open(&entry).and_then(|file| file.sync_all()).map_err(OpenFailure::Io)?;
        }
        File::open(path).and_then(|directory| directory.sync_all()).map_err(OpenFailure::Io)?;
        sync_parent(path).map_err(OpenFailure::Io)
    }

    fn tree(&self, space: Space) -> &sled::Tree {
        match space {
            Space::View => &self.view,
            Space::Index => &self.index,
        }
    }
}

impl From<sled::Error> for EngineError {
    fn from(error: sled::Error) -> Self {
        match OpenFailure::from(error) {
            OpenFailure::Io(error) => error.into(),
            OpenFailure::Damaged(reason) => Self::Damaged(reason),
        }
    }
}

impl Engine for SledEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.tree(space).get(key)?.map(|value| value.to_vec()))
    }

    fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut pairs = Vec::new();
        for pair in self.tree(space).range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
            let (key, value) = pair?;
            if !key.starts_with(prefix) {
                break;
            }
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, space: Space, batch: Batch) -> Result<(), EngineError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.into_writes() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        Ok(self.tree(space).apply_batch(writes)?)
    }

    fn clear(&self, space: Space) -> Result<(), EngineError> {
        Ok(self.tree(space).clear()?)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.db.flush()?;
        Ok(self.file.sync_all()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(pairs: &[(&str, &str)]) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in pairs {
            batch.put(*key, *value);
        }
        batch
    }

    #[test]
    fn a_database_is_the_same_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let opened = SledEngine::open(&path).unwrap();
        opened.engine.apply(Space::View, batch(&[("a", "1"), ("ab", "2"), ("b", "3")])).unwrap();
        opened.engine.flush().unwrap();
        drop(opened);
        let opened = SledEngine::open(&path).unwrap();
        assert_eq!(opened.moved_aside, None);
        assert_eq!(opened.engine.get(Space::View, b"ab").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(opened.engine.get(Space::Index, b"ab").unwrap(), None);
        assert_eq!(opened.engine.page(Space::View, b"a", Some(b"a"), 9).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_database_is_moved_aside_and_a_fresh_one_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        drop(SledEngine::open(&path).unwrap());
        for (expected, name) in ["db.damaged-1", "db.damaged-2"].into_iter().enumerate() {
            fs::write(path.join("conf"), format!("rubbish {expected}")).unwrap();
            let opened = SledEngine::open(&path).unwrap();
            assert_eq!(opened.moved_aside.unwrap().path, directory.path().join(name));
            assert!(opened.engine.page(Space::View, b"", None, 1).unwrap().is_empty());
        }
    }
}
