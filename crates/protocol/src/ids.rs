//! Who speaks, and which of several.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Longest client identifier, in bytes: a topic segment that every broker accepts.
pub const MAX_CLIENT_ID_BYTES: usize = 64;

/// The MQTT client identifier of a torrent server (`ClientIdentifier`): `[a-z0-9_-]`, 1 to 64 characters.
///
/// It is also a topic segment. A dot, a capital or a slash breaks one broker or another, so they are refused.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`ClientId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a client identifier: use 1 to 64 of a-z, 0-9, '_' and '-'")]
pub struct InvalidClientId(String);

/// Whether `text` may stand as one segment of a topic: the rule of [`ClientId`].
#[must_use]
pub fn is_segment(text: &str) -> bool {
    (1..=MAX_CLIENT_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        if is_segment(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidClientId(text.chars().take(MAX_CLIENT_ID_BYTES).collect()))
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ClientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "guid_text")] pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:.8}", self.0.simple().to_string())
            }
        }
    };
}

/// A GUID is written 8-4-4-4-12 and read in no other form.
mod guid_text {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Uuid, de};

    pub fn serialize<S: Serializer>(guid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        guid.hyphenated().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        if text.len() == 36
            && let Ok(guid) = Uuid::try_parse(&text)
        {
            Ok(guid)
        } else {
            Err(de::Error::custom("a GUID is 8-4-4-4-12 hex digits"))
        }
    }
}

guid! {
    /// `EventId`: names one event, so that a repeat can be recognised and an answer can say what it answers.
    EventId
}

guid! {
    /// `Instance`. Of a torrent: made once with its data directory. Of a tracker: made anew for every connection to the bus, and all that
    /// come from one data directory begin alike.
    InstanceId
}

impl InstanceId {
    /// Stands for a tracker that knows only the specification, which has none.
    pub const NONE: Self = Self(Uuid::nil());

    /// A new one of the same tracker: its first half stays, so that every one of them is known again, whatever a broker has kept.
    #[must_use]
    pub fn renewed(self, random: Uuid) -> Self {
        Self(Uuid::from_u64_pair(self.0.as_u64_pair().0, random.as_u64_pair().1))
    }

    /// Whether both are of one tracker, with one data directory.
    #[must_use]
    pub fn is_kin(self, other: Self) -> bool {
        self.0.as_u64_pair().0 == other.0.as_u64_pair().0
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The one that follows; the last that an Int64 can carry is followed by itself, for no participant would read another.
            #[must_use]
            pub const fn next(self) -> Self {
                if self.0 < i64::MAX as u64 { Self(self.0 + 1) } else { Self(i64::MAX as u64) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::wire::int64::deserialize(deserializer).map(Self)
            }
        }
    };
}

counter! {
    /// `Epoch`: grows by one with every connection of a tracker to the bus; of two trackers the one with the higher epoch is right.
    Epoch
}

impl Epoch {
    /// Nobody comes to an epoch above this, also if they are nanoseconds since 1970.
    const LAST: u64 = 1 << 62;

    /// Whether a tracker may have come to this epoch. One that is not so, once believed, would leave none for the trackers after it.
    #[must_use]
    pub const fn is_believable(self) -> bool {
        self.0 <= Self::LAST
    }
}

counter! {
    /// `Revision`: the number of a change of the view, given by the tracker; consecutive within an epoch.
    Revision
}

counter! {
    /// `Incarnation`: how often a torrent has started with its data directory; orders its inventories and votes.
    Incarnation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_a_topic_segment() {
        for good in ["a", "torrent-1", "0_9", &"x".repeat(64)] {
            assert!(good.parse::<ClientId>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a.b", "a/b", "+", "#", "ä", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_counter_never_leaves_what_can_be_said() {
        assert_eq!(Epoch(0).next(), Epoch(1));
        let last = Epoch(i64::MAX as u64);
        assert_eq!(last.next(), last);
        let text = serde_json::to_string(&last.next()).unwrap();
        assert_eq!(serde_json::from_str::<Epoch>(&text).unwrap(), last);
    }

    #[test]
    fn a_guid_has_one_form() {
        let text = "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"";
        let id: EventId = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), text);
        for bad in
            ["\"67e5504410b1426f9247bb680e5fe0c8\"", "\"\"", "7", "\"{67e55044-10b1-426f-9247-bb680e5fe0}\""]
        {
            assert!(serde_json::from_str::<EventId>(bad).is_err(), "{bad}");
        }
    }
}
