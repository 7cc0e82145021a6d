//! The bytes that a daemon has on its own disk, as the services need them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;

/// The fragments on this daemon's disk. The calls block: the services make them on threads where they may.
pub trait Fragments: Send + Sync + 'static {
    /// The content of a fragment, checked against its name. What is damaged is set aside.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&self, fragment: &Hash) -> Result<Bytes, ReadError>;

    /// The size of a fragment in bytes if it is here. Must be cheap: it is asked for 10 000 fragments at once.
    fn size_of(&self, fragment: &Hash) -> Option<u64>;

    /// Reads a fragment from the disk itself and checks it against its name; its size in bytes. What is damaged is set aside.
    ///
    /// # Errors
    /// [`ReadError`].
    fn verify(&self, fragment: &Hash) -> Result<u64, ReadError>;

    /// Verifies fragments in the order of their names, from the first on or from behind `after`, until about `budget_bytes` are read. Each
    /// call takes a bounded time.
    ///
    /// # Errors
    /// If it cannot be told which fragments are here.
    fn verify_next(&self, after: Option<&Hash>, budget_bytes: u64) -> Result<Verified, ReadError>;
}

/// What a step of a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many fragments were read.
    pub fragments: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Those that were damaged; they are set aside.
    pub damaged: Vec<Hash>,
    /// Those that the disk did not give, for a reason that may pass.
    pub unread: Vec<Hash>,
    /// Behind which the next step goes on; none at the end.
    pub next: Option<Hash>,
}

/// Why a fragment could not be read from this daemon's disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// It is not here.
    #[error("the fragment is not here")]
    Missing,
    /// It was here, but its bytes no longer match its name. The store has set them aside.
    #[error("the stored bytes no longer match the fragment's name")]
    Damaged,
    /// The disk failed.
    #[error("the disk failed")]
    Io(#[source] Arc<io::Error>),
}
