//! Which bytes a `Range` field asks for (RFC 9110, section 14).

use std::ops::RangeInclusive;

/// The part of a representation that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it, with 200: there is no range, or none that has to be obeyed.
    Whole,
    /// These bytes, with 206. There is at least one.
    Bytes(RangeInclusive<u64>),
    /// The range lies outside: 416.
    Unsatisfiable,
}

impl Part {
    /// What `field` asks of a representation of `size_bytes`. What cannot be read, or asks for several ranges, asks for everything: a
    /// server may ignore a range.
    #[must_use]
    pub fn of(field: &str, size_bytes: u64) -> Self {
        let Some(range) = single(field) else { return Self::Whole };
        let bytes = match range {
            Spec::From(first) => first..=u64::MAX,
            Spec::Within(first, last) if first > last => return Self::Whole,
            Spec::Within(first, last) => first..=last,
            Spec::Last(0) => return Self::Unsatisfiable,
            // There is no way to say so with 206.
            Spec::Last(_) if size_bytes == 0 => return Self::Whole,
            Spec::Last(count) => size_bytes.saturating_sub(count)..=u64::MAX,
        };
        if *bytes.start() >= size_bytes {
            return Self::Unsatisfiable;
        }
        Self::Bytes(*bytes.start()..=(*bytes.end()).min(size_bytes - 1))
    }
}

enum Spec {
    From(u64),
    Within(u64, u64),
    Last(u64),
}

/// The one range of the field.
fn single(field: &str) -> Option<Spec> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list may have empty elements.
    let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (first, last) = specs.next()?.split_once('-')?;
    if specs.next().is_some() {
        return None;
    }
    match (first, last) {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?)),
        (first, last) => Some(Spec::Within(number(first)?, number(last)?)),
    }
}

/// A number of any length; one that does not fit is larger than everything here.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 10_000;

    #[test]
    fn a_range_means_what_the_rfc_says() {
        for (field, first, last) in [
            ("bytes=0-499", 0, 499),
            ("bytes=500-999", 500, 999),
            ("bytes=-500", 9500, 9999),
            ("bytes=9500-", 9500, 9999),
            ("bytes=0-0", 0, 0),
            ("bytes=-1", 9999, 9999),
            ("bytes=-20000", 0, 9999),
            ("bytes=9999-99999999999999999999999999", 9999, 9999),
            ("Bytes=0-", 0, 9999),
            ("bytes= 5-6", 5, 6),
            ("bytes=,,5-6 ,", 5, 6),
        ] {
            assert_eq!(Part::of(field, SIZE), Part::Bytes(first..=last), "{field}");
        }
    }

    #[test]
    fn a_range_outside_is_told_apart_from_one_that_means_nothing() {
        for field in ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(Part::of(field, SIZE), Part::Unsatisfiable, "{field}");
        }
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-3",
            "lines=0-5",
            "bytes=0-5,7-9",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=--5",
            "bytes=0x1-2",
        ] {
            assert_eq!(Part::of(field, SIZE), Part::Whole, "{field}");
        }
    }

    #[test]
    fn nothing_can_be_taken_from_an_empty_representation() {
        assert_eq!(Part::of("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(Part::of("bytes=-5", 0), Part::Whole);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_stays_inside(field in ".{0,40}", spec in "bytes=[-0-9, ]{0,30}", size in any::<u64>()) {
            for field in [field, spec] {
                if let Part::Bytes(bytes) = Part::of(&field, size) {
                    prop_assert!(bytes.start() <= bytes.end() && *bytes.end() < size, "{field}");
                }
            }
        }

        #[test]
        fn a_range_inside_is_obeyed_to_the_byte(size in 1..u64::MAX, a in any::<u64>(), b in any::<u64>()) {
            let (first, last) = ((a % size).min(b % size), (a % size).max(b % size));
            prop_assert_eq!(Part::of(&format!("bytes={first}-{last}"), size), Part::Bytes(first..=last));
            prop_assert_eq!(Part::of(&format!("bytes={first}-"), size), Part::Bytes(first..=size - 1));
            prop_assert_eq!(Part::of(&format!("bytes=-{}", size - first), size), Part::Bytes(first..=size - 1));
        }
    }
}
