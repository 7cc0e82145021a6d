//! Who is there: the tracker's hello and goodbye, a torrent's goodbye.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::EndpointUri;
use crate::features::Features;
use crate::wire::int64;

/// *TrackerHello*, `tracker/hello`, retained: the tracker is online and takes joins.
///
/// The specification gives it no property but the event's id; all of these are additions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrackerHello {
    /// The optional parts of the protocol that the tracker speaks.
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// The hash algorithm in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_algorithm: Option<String>,
    /// The fragment size in use, in bytes.
    #[serde(
        rename = "FragmentSize",
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub fragment_size_bytes: Option<u64>,
    /// How many holders each fragment should have; 0 means every torrent.
    #[serde(
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub copies: Option<u64>,
    /// How long a torrent stays registered without a heartbeat, in milliseconds.
    #[serde(
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub lease_ms: Option<u64>,
    /// How often a torrent sends a heartbeat, in milliseconds.
    #[serde(
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub heartbeat_ms: Option<u64>,
    /// Where the tracker can be asked, and given files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<BTreeSet<EndpointUri>>,
    /// Padding: the tracker sends a hello of the largest size to itself to see that the broker lets it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// *TrackerGoodbye*, `tracker/goodbye`, retained, and the tracker's Last Will: it no longer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrackerGoodbye {}

/// *ClientGoodbye*, `clients/goodbye`, and a torrent's Last Will: it no longer answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientGoodbye {
    /// Why (an addition of ours): [`reason::LEAVING`] or [`reason::CONNECTION_LOST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The words of [`ClientGoodbye::reason`].
pub mod reason {
    /// The torrent leaves on purpose.
    pub const LEAVING: &str = "Leaving";
    /// The broker says it: the connection broke.
    pub const CONNECTION_LOST: &str = "ConnectionLost";
}
