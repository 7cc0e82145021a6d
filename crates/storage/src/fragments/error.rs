//! What can go wrong with a fragment. Every error is cheap to clone: one failed sync has a whole batch of victims.

use std::io;
use std::sync::Arc;

use protocol::Hash;

use super::MAX_FRAGMENT_BYTES;
use crate::engine::EngineError;
use crate::health::StoreFailed;

/// Why a fragment was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PutError {
    /// The bytes are not the ones that the name promises.
    #[error("the bytes of fragment {expected} hash to {actual}: fetch them again from someone else")]
    HashMismatch {
        /// The name that they were given under.
        expected: Hash,
        /// Their real name.
        actual: Hash,
    },
    /// More bytes than a fragment may have.
    #[error("fragment {hash} has {length_bytes} bytes; at most {MAX_FRAGMENT_BYTES} are allowed")]
    TooLarge {
        /// The fragment.
        hash: Hash,
        /// Its length in bytes.
        length_bytes: usize,
    },
    /// The disk, or its share that we may use, is full. The store goes on.
    #[error("no space left for fragment {hash}: free some, or use a larger disk")]
    NoSpace {
        /// The fragment.
        hash: Hash,
    },
    /// The fragment could not be written; nothing of it is kept. The store goes on.
    #[error("fragment {hash} could not be written")]
    Io {
        /// The fragment.
        hash: Hash,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The writer ended before it came to this fragment.
    #[error("fragment {hash} was not stored: the store was closed")]
    Stopped {
        /// The fragment.
        hash: Hash,
    },
    /// The store no longer writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// Why a fragment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not here.
    #[error("fragment {0} is not in this store")]
    Missing(Hash),
    /// What is on disk no longer hashes to its name. The store takes a new copy by a put.
    #[error("the stored bytes of fragment {0} are damaged: it has to be fetched from another holder")]
    Damaged(Hash),
    /// The operating system could not read it; the next try may.
    #[error("fragment {hash} could not be read")]
    Io {
        /// The fragment.
        hash: Hash,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The index could not be read.
    #[error("fragment {hash} could not be looked up")]
    Index {
        /// The fragment.
        hash: Hash,
        /// What the database said.
        #[source]
        source: EngineError,
    },
}

/// Why fragments were not deleted. Those of the call are all still there, or all gone at the next start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteError {
    /// Even deleting writes a little.
    #[error("the disk is so full that not even a deletion can be written: free some space outside the store")]
    NoSpace,
    /// The deletion could not be written; nothing was deleted. The store goes on.
    #[error("the deletion could not be written")]
    Io(#[source] Arc<io::Error>),
    /// The store no longer writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// Why the list of fragments, or one entry of it, could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the index of the fragments could not be read")]
pub struct InventoryError(#[from] pub(super) EngineError);

/// Why the fragments could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFragmentsError {
    /// A segment file, or their directory, could not be read or written.
    #[error("{operation} {file}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The index could not be read or written.
    #[error("the index of the fragments could not be read or written")]
    Index(#[from] EngineError),
    /// A sync failed while opening.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

/// Whether the disk, or a quota on it, is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
