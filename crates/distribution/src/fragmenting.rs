//! How a file is cut: how many fragments, where each begins, how long each is. The description only; nothing here reads a byte.
//!
//! The cut follows from two numbers alone (V3, V4): every fragment has the fragment size except the last, which has what remains
//! and is never empty. So an empty file has *no* fragment, not an empty one.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use protocol::limits::{DEFAULT_FRAGMENT_SIZE_BYTES, MAX_FRAGMENT_SIZE_BYTES, MIN_FRAGMENT_SIZE_BYTES};

/// The length in bytes of every fragment but a file's last: 1 KiB to 8 MiB, 256 KiB by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentSize(u64);

/// Why a number is not a [`FragmentSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fragment size of {told_bytes} bytes is out of range: use {MIN_FRAGMENT_SIZE_BYTES} (1 KiB) to \
     {MAX_FRAGMENT_SIZE_BYTES} (8 MiB) bytes"
)]
pub struct InvalidFragmentSize {
    /// The refused number of bytes.
    pub told_bytes: u64,
}

impl FragmentSize {
    /// The smallest.
    pub const MIN: Self = Self(MIN_FRAGMENT_SIZE_BYTES);
    /// The largest.
    pub const MAX: Self = Self(MAX_FRAGMENT_SIZE_BYTES);

    /// The fragment size of `told_bytes` bytes, if it is within the limits.
    pub const fn new(told_bytes: u64) -> Result<Self, InvalidFragmentSize> {
        if told_bytes < MIN_FRAGMENT_SIZE_BYTES || told_bytes > MAX_FRAGMENT_SIZE_BYTES {
            return Err(InvalidFragmentSize { told_bytes });
        }
        Ok(Self(told_bytes))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for FragmentSize {
    fn default() -> Self {
        Self(DEFAULT_FRAGMENT_SIZE_BYTES)
    }
}

impl TryFrom<u64> for FragmentSize {
    type Error = InvalidFragmentSize;

    fn try_from(told_bytes: u64) -> Result<Self, InvalidFragmentSize> {
        Self::new(told_bytes)
    }
}

impl fmt::Display for FragmentSize {
    /// The number of bytes, without a unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where one fragment lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its place in the file's sequence, from 0.
    pub index: u64,
    /// Where it begins in the file, in bytes.
    pub offset_bytes: u64,
    /// Its length in bytes: at least 1, at most the fragment size.
    pub size_bytes: u64,
}

impl Extent {
    /// Where it ends: the offset in bytes of the first byte after it.
    #[must_use]
    pub const fn end_bytes(&self) -> u64 {
        self.offset_bytes + self.size_bytes
    }
}

/// The cut of a file of a given size into fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragmenting {
    file_size_bytes: u64,
    fragment_size: FragmentSize,
}

impl Fragmenting {
    /// The cut of a file of `file_size_bytes` bytes.
    #[must_use]
    pub const fn new(file_size_bytes: u64, fragment_size: FragmentSize) -> Self {
        Self { file_size_bytes, fragment_size }
    }

    /// The size of the file in bytes.
    #[must_use]
    pub const fn file_size_bytes(&self) -> u64 {
        self.file_size_bytes
    }

    /// The length of every fragment but the last.
    #[must_use]
    pub const fn fragment_size(&self) -> FragmentSize {
        self.fragment_size
    }

    /// How many fragments the file has; an empty file has none.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.file_size_bytes.div_ceil(self.fragment_size.0)
    }

    /// Where the fragment `index` lies, if the file has so many.
    #[must_use]
    pub fn fragment(&self, index: u64) -> Option<Extent> {
        let offset_bytes = index.checked_mul(self.fragment_size.0)?;
        let rest_bytes = self.file_size_bytes.checked_sub(offset_bytes).filter(|rest| *rest > 0)?;
        Some(Extent { index, offset_bytes, size_bytes: rest_bytes.min(self.fragment_size.0) })
    }

    /// The fragment that contains the byte at `offset_bytes`, if the file is that long.
    #[must_use]
    pub fn fragment_at(&self, offset_bytes: u64) -> Option<Extent> {
        if offset_bytes >= self.file_size_bytes {
            return None;
        }
        self.fragment(offset_bytes / self.fragment_size.0)
    }

    /// All fragments in file order.
    #[must_use]
    pub fn fragments(&self) -> Fragments {
        Fragments { cut: *self, indices: 0..self.count() }
    }

    /// The fragments that contain at least one of the `limit_bytes` bytes from `offset_bytes` on, in file order. What lies behind
    /// the end of the file is not there: the result may be empty.
    #[must_use]
    pub fn fragments_of_range(&self, offset_bytes: u64, limit_bytes: u64) -> Fragments {
        let end_bytes = offset_bytes.saturating_add(limit_bytes).min(self.file_size_bytes);
        let indices = if offset_bytes < end_bytes {
            offset_bytes / self.fragment_size.0..end_bytes.div_ceil(self.fragment_size.0)
        } else {
            0..0
        };
        Fragments { cut: *self, indices }
    }

    /// Checks that fragments of these sizes in bytes, in file order, are this cut (V3, V4).
    pub fn check(&self, sizes: impl IntoIterator<Item = u64>) -> Result<(), FragmentationError> {
        let mut index = 0;
        for size_bytes in sizes {
            let expected = self.fragment(index).ok_or(FragmentationError::TooMany {
                file_size_bytes: self.file_size_bytes,
                fragment_size: self.fragment_size,
                expected: self.count(),
            })?;
            if expected.size_bytes != size_bytes {
                return Err(FragmentationError::WrongSize {
                    index,
                    size_bytes,
                    expected_bytes: expected.size_bytes,
                    file_size_bytes: self.file_size_bytes,
                    fragment_size: self.fragment_size,
                });
            }
            index += 1;
        }
        if index != self.count() {
            return Err(FragmentationError::TooFew {
                file_size_bytes: self.file_size_bytes,
                fragment_size: self.fragment_size,
                found: index,
                expected: self.count(),
            });
        }
        Ok(())
    }
}

/// Why a sequence of fragment sizes is not the cut of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentationError {
    /// A fragment has another size than its place demands.
    #[error(
        "fragment {index} has {size_bytes} bytes; in a file of {file_size_bytes} bytes cut every {fragment_size} it has \
         {expected_bytes}: cut the file again"
    )]
    WrongSize {
        /// Its place in the sequence, from 0.
        index: u64,
        /// Its size in bytes.
        size_bytes: u64,
        /// The size in bytes that its place demands.
        expected_bytes: u64,
        /// The size of the file in bytes.
        file_size_bytes: u64,
        /// The fragment size of the cut.
        fragment_size: FragmentSize,
    },
    /// The sequence goes on after the last byte of the file.
    #[error(
        "a file of {file_size_bytes} bytes cut every {fragment_size} has {expected} fragments, the sequence has more: cut \
         the file again"
    )]
    TooMany {
        /// The size of the file in bytes.
        file_size_bytes: u64,
        /// The fragment size of the cut.
        fragment_size: FragmentSize,
        /// How many fragments the file has.
        expected: u64,
    },
    /// The sequence ends before the file.
    #[error(
        "a file of {file_size_bytes} bytes cut every {fragment_size} has {expected} fragments, the sequence has {found}: \
         cut the file again"
    )]
    TooFew {
        /// The size of the file in bytes.
        file_size_bytes: u64,
        /// The fragment size of the cut.
        fragment_size: FragmentSize,
        /// How many fragments the sequence has.
        found: u64,
        /// How many fragments the file has.
        expected: u64,
    },
}

/// Consecutive fragments of a file: see [`Fragmenting::fragments`].
#[derive(Debug, Clone)]
pub struct Fragments {
    cut: Fragmenting,
    indices: Range<u64>,
}

impl Iterator for Fragments {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let index = self.indices.next()?;
        self.cut.fragment(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

impl DoubleEndedIterator for Fragments {
    fn next_back(&mut self) -> Option<Extent> {
        let index = self.indices.next_back()?;
        self.cut.fragment(index)
    }
}

impl FusedIterator for Fragments {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kib(count: u64) -> FragmentSize {
        FragmentSize::new(count << 10).unwrap()
    }

    fn sizes(file_size_bytes: u64, fragment_size: FragmentSize) -> Vec<u64> {
        Fragmenting::new(file_size_bytes, fragment_size).fragments().map(|extent| extent.size_bytes).collect()
    }

    #[test]
    fn a_fragment_size_is_between_1_kib_and_8_mib() {
        for good in [1024, 1025, 262_144, 8_388_607, 8_388_608] {
            assert_eq!(FragmentSize::new(good).map(FragmentSize::bytes), Ok(good));
        }
        for bad in [0, 1, 1023, 8_388_609, u64::MAX] {
            let refused = FragmentSize::try_from(bad).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "a fragment size of {bad} bytes is out of range: use 1024 (1 KiB) to 8388608 (8 MiB) bytes"
                )
            );
        }
        assert_eq!(FragmentSize::default().to_string(), "262144");
    }

    #[test]
    fn the_last_fragment_takes_what_remains() {
        assert_eq!(sizes(0, kib(1)), [0; 0]);
        assert_eq!(sizes(1, kib(1)), [1]);
        assert_eq!(sizes(1024, kib(1)), [1024]);
        assert_eq!(sizes(1025, kib(1)), [1024, 1]);
        assert_eq!(sizes(2048, kib(1)), [1024, 1024]);
    }

    #[test]
    fn the_largest_conceivable_file_can_be_described() {
        let cut = Fragmenting::new(u64::MAX, FragmentSize::MIN);
        assert_eq!(cut.count(), 1 << 54);
        let last = cut.fragment(cut.count() - 1).unwrap();
        assert_eq!((last.size_bytes, last.end_bytes()), (1023, u64::MAX));
        assert_eq!(cut.fragment(cut.count()), None);
        assert_eq!(cut.fragment(u64::MAX), None);
        assert_eq!(cut.fragments().next_back(), Some(last));
        assert_eq!(cut.fragments_of_range(u64::MAX - 1, u64::MAX).collect::<Vec<_>>(), [last]);
    }

    #[test]
    fn a_read_touches_only_the_fragments_it_needs() {
        let cut = Fragmenting::new(2500, kib(1));
        let touched = |offset, limit| -> Vec<u64> {
            cut.fragments_of_range(offset, limit).map(|extent| extent.index).collect()
        };
        assert_eq!(touched(0, 1), [0]);
        assert_eq!(touched(1023, 1), [0]);
        assert_eq!(touched(1023, 2), [0, 1]);
        assert_eq!(touched(1024, 1024), [1]);
        assert_eq!(touched(0, u64::MAX), [0, 1, 2]);
        assert_eq!(touched(2499, 100), [2]);
        for (offset, limit) in [(0, 0), (1500, 0), (2500, 1), (u64::MAX, u64::MAX)] {
            assert_eq!(touched(offset, limit), [0; 0], "{offset}+{limit}");
        }
    }

    #[test]
    fn a_wrong_sequence_is_refused_with_the_place() {
        let cut = Fragmenting::new(2500, kib(1));
        assert_eq!(cut.check([1024, 1024, 452]), Ok(()));
        let wrong = |index, size_bytes, expected_bytes| {
            Err(FragmentationError::WrongSize {
                index,
                size_bytes,
                expected_bytes,
                file_size_bytes: 2500,
                fragment_size: kib(1),
            })
        };
        assert_eq!(cut.check([1024, 1023, 453]), wrong(1, 1023, 1024));
        assert_eq!(cut.check([1024, 1024, 453]), wrong(2, 453, 452));
        assert_eq!(cut.check([1024, 1024, 0]), wrong(2, 0, 452));
        let told = cut.check([1024, 1024]).unwrap_err().to_string();
        assert!(told.contains("has 3 fragments, the sequence has 2"), "{told}");
        let told = cut.check([1024, 1024, 452, 1]).unwrap_err().to_string();
        assert!(told.contains("has 3 fragments, the sequence has more"), "{told}");
        assert_eq!(Fragmenting::new(0, kib(1)).check([]), Ok(()));
        assert!(Fragmenting::new(0, kib(1)).check([0]).is_err());
    }

    fn cuts() -> impl Strategy<Value = Fragmenting> {
        let sizes = FragmentSize::MIN.bytes()..=FragmentSize::MAX.bytes();
        // Whole multiples and their neighbours are where a cut goes wrong: they get half of the cases.
        (sizes, 0_u64..300, prop_oneof![Just(0), Just(1), any::<u64>()]).prop_map(|(size, whole, extra)| {
            Fragmenting::new(size * whole + extra % size, FragmentSize::new(size).unwrap())
        })
    }

    proptest! {
        #[test]
        fn the_fragments_cover_the_file_without_gap_or_overlap(cut in cuts()) {
            let mut end_bytes = 0;
            for (index, extent) in (0..).zip(cut.fragments()) {
                prop_assert_eq!((extent.index, extent.offset_bytes), (index, end_bytes));
                prop_assert_eq!(cut.fragment(index), Some(extent));
                end_bytes = extent.end_bytes();
            }
            prop_assert_eq!(end_bytes, cut.file_size_bytes());
        }

        #[test]
        fn all_but_the_last_have_the_fragment_size_and_the_last_is_not_empty(cut in cuts()) {
            let sizes: Vec<u64> = cut.fragments().map(|extent| extent.size_bytes).collect();
            prop_assert_eq!(sizes.len() as u64, cut.count());
            prop_assert_eq!(sizes.is_empty(), cut.file_size_bytes() == 0);
            if let Some((last, others)) = sizes.split_last() {
                let full = cut.fragment_size().bytes();
                prop_assert!(others.iter().all(|size| *size == full));
                prop_assert!((1..=full).contains(last));
            }
        }

        #[test]
        fn every_byte_is_in_exactly_the_fragment_that_is_found_for_it(cut in cuts(), at in any::<u64>()) {
            let size = cut.file_size_bytes();
            prop_assert_eq!(cut.fragment_at(size), None);
            if let Some(at) = at.checked_rem(size) {
                let found = cut.fragment_at(at).unwrap();
                prop_assert!((found.offset_bytes..found.end_bytes()).contains(&at));
                prop_assert_eq!(cut.fragments_of_range(at, 1).collect::<Vec<_>>(), vec![found]);
            }
        }

        #[test]
        fn a_range_touches_what_overlaps_it(cut in cuts(), a in any::<u64>(), limit in any::<u64>()) {
            let span = cut.file_size_bytes() + 2;
            let (from, limit) = (a % span, limit % span);
            let expected: Vec<Extent> = cut
                .fragments()
                .filter(|extent| limit > 0 && extent.offset_bytes < from + limit && from < extent.end_bytes())
                .collect();
            prop_assert_eq!(cut.fragments_of_range(from, limit).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn its_own_cut_is_accepted_and_any_other_refused(
            cut in cuts(), at in any::<prop::sample::Index>(), other in any::<u64>(),
        ) {
            let good: Vec<u64> = cut.fragments().map(|extent| extent.size_bytes).collect();
            prop_assert_eq!(cut.check(good.iter().copied()), Ok(()));
            let mut longer = good.clone();
            longer.push(1);
            prop_assert!(cut.check(longer).is_err());
            if !good.is_empty() {
                prop_assert!(cut.check(good[1..].iter().copied()).is_err());
                let mut bad = good.clone();
                let place = at.index(bad.len());
                bad[place] = other;
                prop_assert_eq!(cut.check(bad).is_ok(), other == good[place]);
            }
        }
    }
}
