//! How a life may go wrong.

use std::fmt;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes or a file are gone that were promised (L1, L3).
    Lost,
    /// Copies are not made again.
    UnderReplicated,
    /// Something stays that should have gone: bytes, or a step of a procedure that never ends (L5).
    Leaked,
    /// Views differ at rest (L4), as they would if two trackers both changed them (L6).
    Divergent,
    /// A machine or its shell breaks a rule: a view is not consistent (V1 to V6), or something is said before it is durable (L2).
    Broken,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Lost, Self::UnderReplicated, Self::Leaked, Self::Divergent, Self::Broken];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lost => "lost",
            Self::UnderReplicated => "under-replicated",
            Self::Leaked => "leaked",
            Self::Divergent => "divergent",
            Self::Broken => "broken",
        })
    }
}

/// A rule that a life broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub kind: Kind,
    /// What, for people.
    pub what: String,
}

impl Violation {
    /// A violation.
    #[must_use]
    pub const fn new(kind: Kind, what: String) -> Self {
        Self { kind, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}
