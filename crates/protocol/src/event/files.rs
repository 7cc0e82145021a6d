//! Files come and go.

use serde::{Deserialize, Serialize};

use crate::wire::int64;
use crate::{FileName, Hash};

/// *FileInfoPublished*, `files/info`: there is a new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileInfoPublished {
    /// The hash of the whole content.
    pub hash: Hash,
    /// Length of the whole content in bytes.
    #[serde(rename = "Size", deserialize_with = "int64::deserialize")]
    pub size_bytes: u64,
    /// The hashes of the file's fragments in file order.
    pub fragment_sequence: Vec<Hash>,
    /// The name the uploader gave (an addition of ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FileName>,
}

/// *FileRemoved*, `files/removed` (an addition of ours, feature `log`): the file is no more; holders drop the fragments that no other
/// file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileRemoved {
    /// The hash of the whole content.
    pub hash: Hash,
}
