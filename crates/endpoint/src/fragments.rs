//! The bytes that a daemon has on its own disk, as the services need them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Hash;

/// The fragments on this daemon's disk. The calls block: the services make them on threads where they may.
pub trait Fragments: Send + Sync + 'static {
    /// The content of a fragment, checked against its name.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&self, fragment: &Hash) -> Result<Bytes, ReadError>;

    /// The size of a fragment in bytes if it is here. Must be cheap: it is asked for 10 000 fragments at once.
    fn size_of(&self, fragment: &Hash) -> Option<u64>;
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
