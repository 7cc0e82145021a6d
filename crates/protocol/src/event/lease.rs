//! Staying registered (features `lease` and `log`): events that the specification does not have.

use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

use crate::wire::int64;
use crate::{ClientId, Hash, Revision};

/// *ClientHeartbeat*, `clients/heartbeat`: a registered torrent lives, and tells what it has seen.
///
/// It is at once the proof of life, the cumulative acknowledgement of changes, and the check that the views are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientHeartbeat {
    /// The last change that the torrent applied and made durable.
    pub revision: Revision,
    /// The digest of its view at that change.
    pub digest: Hash,
    /// The digest of its own inventory.
    pub inventory_digest: Hash,
    /// How many fragments it stores.
    #[serde(deserialize_with = "int64::deserialize")]
    pub stored: u64,
    /// How many more bytes of fragments it may store.
    #[serde(deserialize_with = "int64::deserialize")]
    pub free_bytes: u64,
}

/// *ClientUnregistered*, `clients/unregistered`: the torrent is no longer a registered client and holds nothing, for the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientUnregistered {
    /// The torrent.
    pub client_identifier: ClientId,
    /// Why.
    pub reason: UnregisteredReason,
}

/// Why a torrent is no longer registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnregisteredReason {
    /// It said goodbye.
    Leaving,
    /// Its connection broke and it has no lease that could run on.
    ConnectionLost,
    /// No heartbeat came in time.
    LeaseExpired,
    /// It joined again.
    Replaced,
    /// A word of a later version.
    Other,
}

impl UnregisteredReason {
    /// The word that stands for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leaving => "Leaving",
            Self::ConnectionLost => "ConnectionLost",
            Self::LeaseExpired => "LeaseExpired",
            Self::Replaced => "Replaced",
            Self::Other => "Other",
        }
    }
}

impl Serialize for UnregisteredReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for UnregisteredReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok([Self::Leaving, Self::ConnectionLost, Self::LeaseExpired, Self::Replaced]
            .into_iter()
            .find(|reason| reason.word() == word)
            .unwrap_or(Self::Other))
    }
}
