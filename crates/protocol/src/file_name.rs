//! The name that a file was given: data for people, never a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// Longest file name, in bytes.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// The name an uploader gave to a file (`Name`, an addition of ours): UTF-8, 1 to 255 bytes, components divided by `/`.
///
/// No absolute path, no empty, `.` or `..` component, no backslash, no control character: whoever writes a file under this name stays in
/// the directory that they chose. Nor a character that turns the direction of writing or breaks the line: whoever reads it sees what it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

/// Why a text is not a [`FileName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a file name: use at most 255 bytes, no leading '/', no empty, '.' or '..' component, no backslash, no control or direction character"
)]
pub struct InvalidFileName(String);

impl FileName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, InvalidFileName> {
        let good = text.len() <= MAX_FILE_NAME_BYTES
            && text.chars().all(|c| !c.is_control() && c != '\\' && !misleads(c))
            && text.split('/').all(|component| !matches!(component, "" | "." | ".."));
        if good { Ok(Self(text.into())) } else { Err(InvalidFileName(text.chars().take(64).collect())) }
    }
}

/// Characters that are not to be seen but change how what follows is: directions, line and paragraph breaks, byte order mark.
pub(crate) fn misleads(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_directory() {
        for good in ["a", "maps/berlin.tiles", "ünïcode", "..a", "a b"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in
            ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\0b", "a\nb", "a\\b", &"x".repeat(256)]
        {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_reads_as_it_is() {
        for bad in ["invoice\u{202e}fdp.exe", "a\u{2028}b", "\u{feff}a", "a\u{2066}b"] {
            assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
        }
    }
}
