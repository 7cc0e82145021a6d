//! How many holders each fragment should have.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The number of copies aimed at: a number, or one at every registered torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// This many.
    Each(NonZeroU32),
    /// One at every registered torrent.
    All,
}

impl Copies {
    /// How many holders that means while `registered` torrents are registered. Fewer torrents than copies do not lower it.
    #[must_use]
    pub fn target(self, registered: usize) -> usize {
        match self {
            Self::Each(copies) => copies.get() as usize,
            Self::All => registered.max(1),
        }
    }

    /// As it stands in *TrackerHello*: 0 means every torrent.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Each(copies) => u64::from(copies.get()),
            Self::All => 0,
        }
    }

    /// From the number in *TrackerHello*. More than a `u32` counts as every torrent.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        u32::try_from(number).ok().and_then(NonZeroU32::new).map_or(Self::All, Self::Each)
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::Each(NonZeroU32::MIN.saturating_add(1))
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(copies) => copies.fmt(f),
            Self::All => f.pad("all"),
        }
    }
}

/// Why a text is not a number of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of copies is 1 or more, or 'all'")]
pub struct InvalidCopies;

impl FromStr for Copies {
    type Err = InvalidCopies;

    fn from_str(text: &str) -> Result<Self, InvalidCopies> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Each).map_err(|_| InvalidCopies) }
    }
}
