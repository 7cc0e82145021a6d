//! Which bytes a read means: the rules of `google.bytestream.ByteStream`.

use std::ops::Range;

use crate::errors::Refusal;

/// The bytes of a content of `size_bytes` that `read_offset` and `read_limit` ask for.
///
/// # Errors
/// If the limit is negative, or the offset is negative or beyond the end. An offset at the end is an empty range.
pub fn byte_range(size_bytes: u64, read_offset: i64, read_limit: i64) -> Result<Range<u64>, Refusal> {
    let limit = u64::try_from(read_limit).map_err(|_| Refusal::NegativeLimit { read_limit })?;
    let out_of_range = Refusal::OffsetOutOfRange { read_offset, size_bytes };
    let start = u64::try_from(read_offset).map_err(|_| out_of_range.clone())?;
    if start > size_bytes {
        return Err(out_of_range);
    }
    let end = if limit == 0 { size_bytes } else { start.saturating_add(limit).min(size_bytes) };
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_follows_the_rules_of_byte_stream() {
        for (size, offset, limit, range) in [
            (10, 0, 0, 0..10),
            (10, 3, 0, 3..10),
            (10, 3, 4, 3..7),
            (10, 3, i64::MAX, 3..10),
            (10, 10, 0, 10..10),
            (10, 10, 5, 10..10),
            (0, 0, 0, 0..0),
        ] {
            assert_eq!(byte_range(size, offset, limit), Ok(range), "{size} {offset} {limit}");
        }
    }

    #[test]
    fn what_is_outside_is_refused() {
        let outside = |read_offset, size_bytes| Err(Refusal::OffsetOutOfRange { read_offset, size_bytes });
        assert_eq!(byte_range(10, 11, 0), outside(11, 10));
        assert_eq!(byte_range(10, -1, 0), outside(-1, 10));
        assert_eq!(byte_range(10, 0, -1), Err(Refusal::NegativeLimit { read_limit: -1 }));
    }
}
