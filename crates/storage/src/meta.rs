//! A few single values: a torrent's name, the tracker's epoch, which tracker was seen last.

use std::marker::PhantomData;
use std::sync::Arc;

use protocol::Hash;
use uuid::Uuid;

use crate::engine::{Batch, Engine, EngineError, MAX_VALUE_BYTES, Space};
use crate::health::{Health, StoreFailed};

/// Begins the key of every meta value in the database.
const META: u8 = b'm';

/// The name and the type of a meta value.
#[derive(Debug)]
pub struct MetaKey<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

// Derived, these would ask the same of `T`, which is never there.
impl<T> Clone for MetaKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MetaKey<T> {}

impl<T> MetaKey<T> {
    /// The value called `name`. A name belongs to one type for ever.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    pub(crate) fn key(self) -> Vec<u8> {
        let mut key = vec![META];
        key.extend_from_slice(self.name.as_bytes());
        key
    }
}

/// A torrent's `ClientIdentifier`, if it was not configured.
pub const CLIENT_ID: MetaKey<String> = MetaKey::new("client-id");
/// The epoch of this tracker's last start.
pub const EPOCH: MetaKey<u64> = MetaKey::new("epoch");
/// The instance of this tracker's last connection: if a broker still has a hello of an instance that begins alike, it is nobody else's.
pub const TRACKER_INSTANCE: MetaKey<Uuid> = MetaKey::new("tracker-instance");
/// 1 from when it is known that another tracker was in charge until what this one had deleted before is forgotten.
pub const OTHERS_DECIDED: MetaKey<u64> = MetaKey::new("others-decided");
/// The epoch in which this tracker ordered the oldest deletion that it remembers.
pub const DELETIONS_SINCE: MetaKey<u64> = MetaKey::new("deletions-since");
/// 1 from when this tracker started without the view that its own fragments belonged to until whoever may know it had time to come back.
pub const VIEW_FORGOTTEN: MetaKey<u64> = MetaKey::new("view-forgotten");
/// The highest epoch of a tracker that was seen.
pub const SEEN_EPOCH: MetaKey<u64> = MetaKey::new("seen-epoch");
/// The instance of the tracker with the highest epoch that was seen.
pub const SEEN_TRACKER: MetaKey<Uuid> = MetaKey::new("seen-tracker");
/// The instance of the tracker that registered this torrent last.
pub const REGISTERED_BY: MetaKey<Uuid> = MetaKey::new("registered-by");
/// The epoch of that tracker then.
pub const REGISTERED_EPOCH: MetaKey<u64> = MetaKey::new("registered-epoch");
/// The fragment size in bytes that this tracker was started with.
pub const FRAGMENT_SIZE_BYTES: MetaKey<u64> = MetaKey::new("fragment-size-bytes");
/// The number of copies that this tracker was started with.
pub const COPIES: MetaKey<u64> = MetaKey::new("copies");
/// The fragment behind which the scrub goes on. Before the first of a pass: 64 zeros.
pub const SCRUB_AFTER: MetaKey<Hash> = MetaKey::new("scrub-after");
/// When the last whole pass of the scrub ended, in seconds of Unix time.
pub const SCRUB_ENDED: MetaKey<u64> = MetaKey::new("scrub-ended");

/// The id of the store, so that a database that lost everything, or came from elsewhere, is noticed.
pub(crate) const STORE_ID: MetaKey<Uuid> = MetaKey::new("store-id");

/// A type that a meta value may have.
pub trait MetaValue: Sized {
    /// The value as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// The value that [`MetaValue::to_bytes`] made these bytes of.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl MetaValue for u64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }
}

impl MetaValue for Uuid {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_slice(bytes).ok()
    }
}

impl MetaValue for Hash {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

impl MetaValue for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

/// Why a meta value could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MetaError {
    /// The database could not be read.
    #[error("the value {name:?} could not be read")]
    Engine {
        /// Its name.
        name: &'static str,
        /// What the database said.
        #[source]
        source: EngineError,
    },
    /// It is not what was written under this name.
    #[error("the value {name:?} cannot be understood: was the store written by a newer version?")]
    Unreadable {
        /// Its name.
        name: &'static str,
    },
    /// Too long to be stored.
    #[error("the value {name:?} has {length_bytes} bytes; at most {MAX_VALUE_BYTES} are allowed")]
    TooLong {
        /// Its name.
        name: &'static str,
        /// Its length in bytes.
        length_bytes: usize,
    },
    /// The store no longer writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// The meta values of one store. Clones share them.
#[derive(Debug, Clone)]
pub struct Meta {
    engine: Arc<dyn Engine>,
    health: Health,
}

impl Meta {
    pub(crate) fn new(engine: Arc<dyn Engine>, health: Health) -> Self {
        Self { engine, health }
    }

    /// The value of `key`, if it was ever set.
    pub fn get<T: MetaValue>(&self, key: MetaKey<T>) -> Result<Option<T>, MetaError> {
        let bytes = self.engine.get(Space::View, &key.key());
        let bytes = bytes.map_err(|source| MetaError::Engine { name: key.name, source })?;
        let read = |bytes: Vec<u8>| T::from_bytes(&bytes).ok_or(MetaError::Unreadable { name: key.name });
        bytes.map(read).transpose()
    }

    /// Sets `key`; durable after the next flush of the store.
    pub fn set<T: MetaValue>(&self, key: MetaKey<T>, value: &T) -> Result<(), MetaError> {
        self.health.check()?;
        let bytes = value.to_bytes();
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(MetaError::TooLong { name: key.name, length_bytes: bytes.len() });
        }
        let mut batch = Batch::default();
        batch.put(key.key(), bytes);
        let applied = self.engine.apply(Space::View, batch);
        applied.map_err(|error| self.health.fail("write a value", error).into())
    }
}
