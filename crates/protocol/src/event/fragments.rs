//! The distribution of one fragment, in the order in which the events are said.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::{base64, int64};
use crate::{ClientId, Hash};

/// *FragmentDistributionStarted*, `fragments/distribution/started`: who should hold this fragment may ask for it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionStarted {
    /// The fragment.
    pub hash: Hash,
    /// Its length in bytes.
    #[serde(rename = "Size", deserialize_with = "int64::deserialize")]
    pub size_bytes: u64,
    /// How often it was tried before (an addition of ours): with each attempt more torrents feel addressed.
    #[serde(
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub attempt: Option<u64>,
}

/// *FragmentDistributionRequested*, `fragments/distribution/requested`: the torrent wants the fragment and has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionRequested {
    /// The fragment.
    pub hash: Hash,
}

/// *FragmentDistributionDelivered*, `fragments/distribution/delivered`: the bytes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionDelivered {
    /// The fragment.
    pub hash: Hash,
    /// Its content. A receiver checks it against the hash before it believes a byte.
    #[serde(deserialize_with = "base64::deserialize")]
    pub data: Bytes,
    /// Who should store it; the others ignore the event.
    pub receivers: BTreeSet<ClientId>,
}

impl std::fmt::Debug for FragmentDistributionDelivered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FragmentDistributionDelivered")
            .field("hash", &self.hash)
            .field("data_bytes", &self.data.len())
            .field("receivers", &self.receivers)
            .finish()
    }
}

/// *FragmentDistributionObtained*, `fragments/distribution/obtained`: the torrent has the fragment, checked and durable. From now on
/// it keeps the bytes until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionObtained {
    /// The fragment.
    pub hash: Hash,
}

/// *FragmentDistributionFailed*, `fragments/distribution/failed`: the torrent could not store the fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionFailed {
    /// The fragment.
    pub hash: Hash,
    /// Why (an addition of ours), for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// *FragmentDistributionEnded*, `fragments/distribution/ended`: how it ended, for everybody's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FragmentDistributionEnded {
    /// The fragment.
    pub hash: Hash,
    /// Its length in bytes.
    #[serde(rename = "Size", deserialize_with = "int64::deserialize")]
    pub size_bytes: u64,
    /// Who obtained it; they are added to its holders.
    pub receivers: BTreeSet<ClientId>,
}
