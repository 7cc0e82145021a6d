//! The optional parts of the protocol that a participant announces.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// One optional part of the protocol. It is used between two participants only when both announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// A topic of its own for each torrent.
    Direct,
    /// `Epoch` and `Revision` on the tracker's events: the view as a numbered log.
    Log,
    /// Heartbeats, and a lease that ends without them.
    Lease,
}

impl Feature {
    /// Every feature that this implementation knows. `binary` and `pull` are reserved words of the protocol.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Log, Self::Lease];

    /// The word that announces it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Log => "log",
            Self::Lease => "lease",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Direct => 1,
            Self::Log => 2,
            Self::Lease => 4,
        }
    }
}

/// The features of one participant (`Features`, an array of words). Words that we do not know are dropped when reading.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u8);

impl Features {
    /// No feature: a participant that knows only the specification.
    pub const NONE: Self = Self(0);

    /// Everything that this implementation can.
    #[must_use]
    pub fn all() -> Self {
        Feature::ALL.into_iter().collect()
    }

    /// Whether `feature` is among them.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Those that both announced.
    #[must_use]
    pub const fn shared_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none: such a participant is not told that the property exists.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Feature::ALL.into_iter().filter(|feature| self.has(*feature))).finish()
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(Feature::ALL.into_iter().filter(|feature| self.has(*feature)).map(Feature::word))
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of feature words, or null")
            }

            fn visit_unit<E>(self) -> Result<Features, E> {
                Ok(Features::NONE)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Features, A::Error> {
                let mut features = Features::NONE;
                while let Some(word) = words.next_element::<std::borrow::Cow<'_, str>>()? {
                    let known = Feature::ALL.into_iter().find(|feature| feature.word() == word);
                    features.0 |= known.map_or(0, Feature::bit);
                }
                Ok(features)
            }
        }
        deserializer.deserialize_any(Words)
    }
}
