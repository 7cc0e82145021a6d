//! Failure domains.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::file_name::misleads;

/// Longest zone, in bytes.
pub const MAX_ZONE_BYTES: usize = 64;

/// The failure domain that a torrent stands in, as its operator calls it: a rack, a room, a site. 1 to 64 bytes of text in one line, without
/// spaces around it, and without what changes the direction of writing.
///
/// Copies are spread over zones; what they are called means nothing else. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(Arc<str>);

impl Zone {
    /// The zone as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`Zone`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a zone: use 1 to 64 bytes in one line, without spaces around them")]
pub struct InvalidZone(String);

impl FromStr for Zone {
    type Err = InvalidZone;

    fn from_str(text: &str) -> Result<Self, InvalidZone> {
        let is_plain = !text.contains(|c: char| c.is_control() || misleads(c)) && text.trim() == text;
        if (1..=MAX_ZONE_BYTES).contains(&text.len()) && is_plain {
            Ok(Self(text.into()))
        } else {
            Err(InvalidZone(text.chars().take(MAX_ZONE_BYTES).collect()))
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_called_as_its_operator_likes() {
        for good in ["a", "Rack A", "eu-west.1/Köln", &"z".repeat(MAX_ZONE_BYTES)] {
            assert_eq!(good.parse::<Zone>().unwrap().as_str(), good);
        }
        for bad in
            ["", "a\nb", "\u{7f}", " a", "a ", "a\u{2028}b", "a\u{202e}b", &"z".repeat(MAX_ZONE_BYTES + 1)]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad:?}");
        }
    }
}
