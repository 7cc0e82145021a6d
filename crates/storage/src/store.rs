//! One data directory, opened: fragments, view and meta values, and the one flush that makes the last two durable.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::disk::{DirectoryDisk, Disk, MemoryDisk};
use crate::engine::{Batch, Engine, EngineError, MemoryEngine, OpenedEngine, SledEngine, Space};
use crate::fragments::{Fragments, FragmentsOptions, OpenFragmentsError, OpenReport};
use crate::health::{Health, StoreFailed};
use crate::layout::{self, FORMAT_VERSION, Identity};
use crate::meta::{Meta, STORE_ID};
use crate::view::ViewStore;

/// How a store is opened. The defaults are right except in tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// How the fragments are kept.
    pub fragments: FragmentsOptions,
}

/// Everything that a daemon keeps. Clones share it; it is closed when the last clone, and the last of its parts, is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    fragments: Fragments,
    view: ViewStore,
    meta: Meta,
    engine: Arc<dyn Engine>,
    health: Health,
    identity: Identity,
    opened: OpenReport,
    recovered: Option<Recovered>,
}

/// The database was damaged or gone. The index of the fragments was rebuilt; the view and the meta values are empty,
/// and the next join of a torrent restores its view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Where the damaged database was moved, if there was one; it may be deleted.
    pub moved_to: Option<PathBuf>,
    /// What was wrong with it.
    pub reason: String,
}

/// Why a store could not be opened. Each message says which directory, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is open in another process: stop that one, or use another --data-dir",
        .directory.display()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
    },
    /// It cannot be understood, nor put right.
    #[error(
        "the store in {} is damaged and could not be put right: move the directory away and start again; \
         a torrent gets its fragments back from the others",
        .directory.display()
    )]
    Damaged {
        /// The data directory.
        directory: PathBuf,
        /// What was found.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("no space left to open the store in {}: free some, or use a larger disk", .directory.display())]
    NoSpace {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is of another version, or it is no store at all.
    #[error(
        "{} does not hold a store of format {FORMAT_VERSION} (found: {found:?}): \
         use the version that wrote it, or another --data-dir",
        .directory.display()
    )]
    WrongFormat {
        /// The data directory.
        directory: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// This user may not write there.
    #[error("no permission to use the store in {}: check its owner, or use another --data-dir", .directory.display())]
    Permission {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The operating system refused something else.
    #[error("the store in {} could not be opened: check the disk", .directory.display())]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn io(directory: &Path, error: io::Error) -> Self {
        Self::with_kind(directory, error.kind(), error)
    }

    fn engine(directory: &Path, error: EngineError) -> Self {
        let kind = match &error {
            EngineError::Io(error) => error.kind(),
            EngineError::Damaged(_) => io::ErrorKind::InvalidData,
        };
        Self::with_kind(directory, kind, error)
    }

    fn fragments(directory: &Path, error: OpenFragmentsError) -> Self {
        let kind = match error {
            OpenFragmentsError::Io { ref source, .. } => source.kind(),
            OpenFragmentsError::Failed(_) => io::ErrorKind::Other,
            OpenFragmentsError::Index(error) => return Self::engine(directory, error),
        };
        Self::with_kind(directory, kind, error)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind grows")]
    fn with_kind(directory: &Path, kind: io::ErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        let (directory, source) = (directory.to_owned(), Box::new(source));
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { directory, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { directory, source }
            }
            io::ErrorKind::InvalidData => Self::Damaged { directory, source },
            _ => Self::Io { directory, source },
        }
    }
}

impl Store {
    /// Opens the store in `directory`, which is made if need be. Only one process may have it open.
    ///
    /// A damaged database is moved aside and the index rebuilt: see [`Store::recovered`].
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_through(directory, options, |disk, engine| (Arc::new(disk), Arc::new(engine)))
    }

    /// The same, but the store has what `wrap` makes of its disk and its database: for tests that stand between them and the store.
    pub fn open_through(
        directory: &Path,
        options: StoreOptions,
        wrap: impl FnOnce(DirectoryDisk, SledEngine) -> (Arc<dyn Disk>, Arc<dyn Engine>),
    ) -> Result<Self, OpenError> {
        let lock = layout::lock(directory)?;
        let identity = layout::start(directory)?;
        let OpenedDatabase { mut engine, recovered, is_new } = open_database(directory, identity)?;
        engine.hold(lock);
        let disk = DirectoryDisk::open(&directory.join("segments"))
            .map_err(|error| OpenError::io(directory, error))?;
        let (disk, engine) = wrap(disk, engine);
        if is_new {
            write_id(&*engine, identity.id).map_err(|error| OpenError::engine(directory, error))?;
        }
        let store = Self::open_on(disk, engine, identity.id, options);
        let store = store.map_err(|error| OpenError::fragments(directory, error))?;
        Ok(Self { identity, recovered, ..store })
    }

    /// A store in memory, empty.
    #[must_use]
    pub fn in_memory() -> Self {
        let opened = Self::open_on(
            Arc::new(MemoryDisk::new()),
            Arc::new(MemoryEngine::new()),
            Uuid::nil(),
            StoreOptions::default(),
        );
        opened.expect("memory has no errors")
    }

    /// The store with its segments on `disk` and everything else in `engine`; `id` must be the same each time.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        engine: Arc<dyn Engine>,
        id: Uuid,
        options: StoreOptions,
    ) -> Result<Self, OpenFragmentsError> {
        let health = Health::default();
        let (fragments, opened) =
            Fragments::open_with(disk, engine.clone(), id, options.fragments, health.clone())?;
        let view = ViewStore::new(engine.clone(), health.clone());
        let meta = Meta::new(engine.clone(), health.clone());
        let identity = Identity { id, starts: 1 };
        Ok(Self { fragments, view, meta, engine, health, identity, opened, recovered: None })
    }

    /// The fragments.
    #[must_use]
    pub fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    /// The Distribution View.
    #[must_use]
    pub fn view(&self) -> &ViewStore {
        &self.view
    }

    /// The meta values.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Made with the store, and kept even when the database is lost: a torrent's `Instance`.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.identity.id
    }

    /// How often the store was opened, this time included; never goes back: a torrent's `Incarnation`.
    ///
    /// Of a store that is not in a directory: 1.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.identity.starts
    }

    /// What opening the fragments found.
    #[must_use]
    pub fn opened(&self) -> OpenReport {
        self.opened
    }

    /// What was wrong with the database, if it had to begin anew.
    #[must_use]
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// Makes all changes of the view and of the meta values durable: once for a whole batch. (Fragments need none.)
    pub fn flush(&self) -> Result<(), StoreFailed> {
        self.health.check()?;
        self.view.write_pending()?;
        self.engine.flush().map_err(|error| self.health.fail("flush the database", error))
    }

    /// An error if the store has stopped writing, for good.
    pub fn check(&self) -> Result<(), StoreFailed> {
        self.health.check()
    }

    /// Makes everything durable, so that the next start has nothing to read again. Dropping the store tries the same.
    pub fn close(self) -> Result<(), StoreFailed> {
        self.view.write_pending()?;
        self.fragments.checkpoint()
    }
}

/// A database that is of this store, or has no id yet.
struct OpenedDatabase {
    engine: SledEngine,
    recovered: Option<Recovered>,
    /// Whether the id of the store has to be written.
    is_new: bool,
}

/// Opens the database and makes sure that it is of no other store.
fn open_database(directory: &Path, identity: Identity) -> Result<OpenedDatabase, OpenError> {
    let io_error = |error| OpenError::io(directory, error);
    let path = directory.join("db");
    let mut opened = SledEngine::open(&path).map_err(io_error)?;
    let mut known = stored_id(&opened.engine).map_err(|error| OpenError::engine(directory, error))?;
    if let Some(other) = known.filter(|known| *known != identity.id) {
        drop(opened);
        opened =
            SledEngine::open_fresh(&path, format!("it is of another store, {other}")).map_err(io_error)?;
        known = None;
    }
    let OpenedEngine { engine, moved_aside } = opened;
    let recovered = match moved_aside {
        Some(aside) => Some(Recovered { moved_to: Some(aside.path), reason: aside.reason }),
        // sled takes a file that it cannot make sense of for an empty database.
        None if known.is_none() && identity.starts > 1 => {
            Some(Recovered { moved_to: None, reason: "it was found empty".to_owned() })
        }
        None => None,
    };
    Ok(OpenedDatabase { engine, recovered, is_new: known.is_none() })
}

fn stored_id(engine: &SledEngine) -> Result<Option<Uuid>, EngineError> {
    let id = engine.get(Space::View, &STORE_ID.key())?;
    Ok(id.map(|id| Uuid::from_slice(&id).unwrap_or_default()))
}

fn write_id(engine: &dyn Engine, id: Uuid) -> Result<(), EngineError> {
    let mut batch = Batch::default();
    batch.put(STORE_ID.key(), id.as_bytes().as_slice());
    engine.apply(Space::View, batch)?;
    engine.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_failed_says_so_before_anything_is_flushed() {
        let store = Store::in_memory();
        store.check().unwrap();
        let failed = store.health.fail("sync a segment", io::Error::other("gone"));
        assert_eq!(store.check().unwrap_err().to_string(), failed.to_string());
    }

    #[test]
    fn each_reason_not_to_open_names_the_directory_and_what_to_do() {
        type IsIt = fn(&OpenError) -> bool;
        let cases: [(io::ErrorKind, &str, IsIt); 6] = [
            (io::ErrorKind::StorageFull, "free some", |error| matches!(error, OpenError::NoSpace { .. })),
            (io::ErrorKind::QuotaExceeded, "free some", |error| matches!(error, OpenError::NoSpace { .. })),
            (io::ErrorKind::PermissionDenied, "owner", |error| matches!(error, OpenError::Permission { .. })),
            (io::ErrorKind::ReadOnlyFilesystem, "owner", |error| {
                matches!(error, OpenError::Permission { .. })
            }),
            (io::ErrorKind::InvalidData, "move the directory", |error| {
                matches!(error, OpenError::Damaged { .. })
            }),
            (io::ErrorKind::Other, "check the disk", |error| matches!(error, OpenError::Io { .. })),
        ];
        let directory = Path::new("/data/torrent");
        for (kind, advice, is_it) in cases {
            let in_a_segment =
                OpenFragmentsError::Io { operation: "read", file: "x".into(), source: kind.into() };
            for error in [
                OpenError::io(directory, kind.into()),
                OpenError::engine(directory, io::Error::from(kind).into()),
                OpenError::fragments(directory, in_a_segment),
            ] {
                assert!(is_it(&error), "{kind}: {error:?}");
                let text = error.to_string();
                assert!(text.contains("/data/torrent") && text.contains(advice), "{text}");
            }
        }
    }
}
