//! Values of the command line that are more than a text or a number.

use std::ops::Range;
use std::str::FromStr;

/// How many copies to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// This many.
    Copies(u32),
    /// As many as the network makes of a file.
    All,
}

impl FromStr for Wait {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "all" => Ok(Self::All),
            Ok(copies) if copies > 0 => Ok(Self::Copies(copies)),
            Ok(_) | Err(_) => Err("use a number of copies from 1 on, or 'all'"),
        }
    }
}

/// A part of a file, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRange(pub Range<u64>);

impl FromStr for ByteRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOW: &str = "use OFFSET+LENGTH in bytes, as in 1048576+4096";
        let number = |digits: &str| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            if all_digits { digits.parse::<u64>().map_err(|_| HOW) } else { Err(HOW) }
        };
        let (offset, length) = text.split_once('+').ok_or(HOW)?;
        let (offset, length) = (number(offset)?, number(length)?);
        Ok(Self(offset..offset.checked_add(length).ok_or(HOW)?))
    }
}
