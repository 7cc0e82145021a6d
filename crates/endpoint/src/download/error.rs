//! Why a download did not succeed.

use std::io;

use protocol::Hash;

use crate::client::ClientError;

/// Why a download did not succeed. What arrived before has been handed to the sink and is good: the download can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The range begins or ends outside of the file.
    #[error("the range {start}..{end} is outside of the {size_bytes} bytes of the file")]
    OutOfRange {
        /// First byte of the range.
        start: u64,
        /// One behind its last byte.
        end: u64,
        /// Size of the file in bytes.
        size_bytes: u64,
    },
    /// Fragments that nobody could be asked for.
    #[error(
        "{} fragment(s) of file {file} have no holder that can be reached{}: try again when more torrents are online",
        .fragments.len(),
        do_not_deliver(.failed)
    )]
    Unavailable {
        /// The file.
        file: Hash,
        /// The fragments, in file order.
        fragments: Vec<Hash>,
        /// Who was asked and did not deliver what was asked for last, by identifier.
        failed: Vec<String>,
    },
    /// All fragments are good, but together they are not the file: whoever told of the file told something wrong.
    #[error(
        "the content hashes to {actual}, not to {expected}: the network's list of the file's fragments is wrong"
    )]
    DigestMismatch {
        /// The file's digest.
        expected: Hash,
        /// The digest of what was downloaded.
        actual: Hash,
    },
    /// The sink failed.
    #[error("the downloaded bytes could not be written")]
    Sink(#[source] io::Error),
    /// The network could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

fn do_not_deliver(failed: &[String]) -> String {
    match failed {
        [] => String::new(),
        [one] => format!(" ({one} does not deliver)"),
        several => format!(" ({} do not deliver)", several.join(", ")),
    }
}
