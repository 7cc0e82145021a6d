//! The specification's custom data types: what events say about files, fragments and torrents.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::wire::int64;
use crate::{EndpointUri, FileName, Hash, Zone};

/// `FileMetadata`: what is known of a file besides its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileMetadata {
    /// Length of the whole content in bytes.
    #[serde(rename = "Size", deserialize_with = "int64::deserialize")]
    pub size_bytes: u64,
    /// The hashes of the file's fragments in file order; a hash may occur more than once.
    pub fragment_sequence: Vec<Hash>,
    /// The name the uploader gave (an addition of ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<FileName>,
}

/// `FragmentMetadata`: what is known of a fragment besides its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentMetadata {
    /// Length of the content in bytes.
    #[serde(rename = "Size", deserialize_with = "int64::deserialize")]
    pub size_bytes: u64,
}

/// `ClientMetadata`: what is known of a registered torrent besides its identifier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientMetadata {
    /// Where the torrent can be asked for fragments.
    pub endpoints: BTreeSet<EndpointUri>,
    /// The fragments it stores.
    pub stored_fragments: BTreeSet<Hash>,
    /// How many bytes of fragments it may store (an addition of ours); unknown of a torrent that did not say.
    #[serde(
        rename = "Capacity",
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub capacity_bytes: Option<u64>,
    /// The failure domain it stands in (an addition of ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// `ClientJoinDeniedCode`: why a torrent may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedCode {
    /// 1: its fragment size is not the one in use.
    WrongFragmentSize,
    /// 2: its hash algorithm is not the one in use.
    WrongHashAlgorithm,
    /// 4: one of its endpoints belongs to another torrent.
    EndpointConflict,
    /// 128: see the reason's text.
    Other,
    /// A number that the specification does not list.
    Unlisted(i64),
}

impl DeniedCode {
    /// The number that stands for the code.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::WrongFragmentSize => 1,
            Self::WrongHashAlgorithm => 2,
            Self::EndpointConflict => 4,
            Self::Other => 128,
            Self::Unlisted(number) => number,
        }
    }
}

impl From<i64> for DeniedCode {
    fn from(number: i64) -> Self {
        match number {
            1 => Self::WrongFragmentSize,
            2 => Self::WrongHashAlgorithm,
            4 => Self::EndpointConflict,
            128 => Self::Other,
            number => Self::Unlisted(number),
        }
    }
}

impl Serialize for DeniedCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.number())
    }
}

impl<'de> Deserialize<'de> for DeniedCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::from)
    }
}
