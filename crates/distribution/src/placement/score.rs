//! The numbers behind a rank: from a fragment's hash and a torrent's name to a cost, in integers only.
//!
//! Weighted rendezvous hashing: each pair of fragment and torrent draws a number `u` that looks uniform in 0 to 1, and the torrent with
//! the least `-log2(u) / weight` comes first; then each comes first in proportion to its weight. Every participant must find the same
//! numbers for ever, on every platform and in every language, so nothing here is floating point and **nothing here may change**: a
//! change moves nearly every fragment of every service. The golden values in the tests hold it.

use protocol::Hash;

use super::load::{MAX_PRESSURE, MAX_WEIGHT};

/// Fraction bits of [`surprise`].
const FRACTION_BITS: u32 = 36;

/// Bits of the mantissa that select a knot of [`KNOTS`].
const KNOT_BITS: u32 = 8;

/// `log2(1 + i/256)` for i = 0 to 256, in units of 2^-36.
const KNOTS: [u64; (1 << KNOT_BITS) + 1] = knots();

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `word`. A bijection.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A torrent's part of every draw: its name in little-endian words of 8 bytes, the last filled up with zeros, each mixed into those
/// before it, begun with the length in bytes.
pub(super) fn seed_of(client: &str) -> u64 {
    client.as_bytes().chunks(8).fold(mix(client.len() as u64), |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(state ^ u64::from_le_bytes(word))
    })
}

/// A fragment's part of every draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    first: u64,
    second: u64,
}

impl Key {
    /// The key of a fragment: the four little-endian words of its hash, mixed into each other; the first half after two of them.
    pub(super) fn of(fragment: &Hash) -> Self {
        let words = fragment.as_bytes().as_chunks::<8>().0;
        let absorb = |state: u64, word: &[u8; 8]| mix(state ^ u64::from_le_bytes(*word));
        let first = words[..2].iter().fold(0, absorb);
        Self { first, second: words[2..].iter().fold(first, absorb) }
    }

    /// What this fragment draws with the torrent of `seed`.
    pub(super) const fn draw(self, seed: u64) -> u64 {
        mix(mix(self.first ^ seed) ^ self.second)
    }
}

/// `-log2(draw / 2^64)` in units of 2^-36, at most 64 units of 2^36: falls as `draw` grows. A draw of 0 counts as 1.
///
/// Between knots it is the straight line, off by less than 3e-6, and never by more than 0.2 % of itself: the small values, which
/// win, end at the exact knot 0.
pub(super) const fn surprise(draw: u64) -> u64 {
    let draw = if draw == 0 { 1 } else { draw };
    let whole = 63 - draw.leading_zeros();
    // The bits below the leading one, moved to the top of the word: the fraction of the mantissa.
    let mantissa = (draw << (63 - whole)) << 1;
    let knot = (mantissa >> (64 - KNOT_BITS)) as usize;
    let beyond = mantissa << KNOT_BITS;
    let step = KNOTS[knot + 1] - KNOTS[knot];
    let part = ((step as u128 * beyond as u128) >> 64) as u64;
    (64 << FRACTION_BITS) - (((whole as u64) << FRACTION_BITS) + KNOTS[knot] + part)
}

/// What a cost is multiplied with in place of a division by `weight`: 2^74 / weight. A weight of 0 counts as 1.
pub(super) const fn inverse(weight: u64) -> u128 {
    (1 << INVERSE_BITS) / if weight == 0 { 1 } else { weight as u128 }
}

const INVERSE_BITS: u32 = 74;

// The largest cost fits, whatever weight and pressure; and the largest weight has an inverse of some 20 bits.
const _: () = assert!(u128::MAX / inverse(1) / MAX_PRESSURE as u128 > 64 << FRACTION_BITS);
const _: () = assert!(inverse(MAX_WEIGHT) >> 20 != 0);

const fn knots() -> [u64; (1 << KNOT_BITS) + 1] {
    let mut knots = [0; (1 << KNOT_BITS) + 1];
    let mut i = 1;
    while i < 1 << KNOT_BITS {
        // 1 + i/256 with 63 fraction bits. Squaring it doubles the logarithm: each square tells the next bit.
        let mut power = (1_u128 << 63) + ((i as u128) << (63 - KNOT_BITS));
        let mut bit = FRACTION_BITS;
        while bit > 0 {
            bit -= 1;
            power = (power * power) >> 63;
            if power >> 64 != 0 {
                power >>= 1;
                knots[i] |= 1 << bit;
            }
        }
        i += 1;
    }
    knots[1 << KNOT_BITS] = 1 << FRACTION_BITS;
    knots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_are_fixed_for_ever() {
        let key = Key::of(&Hash::of(b"abc"));
        assert_eq!((key.first, key.second), (0xc3e9_60e9_604a_9fe6, 0x3f3a_1c81_807b_352f));
        let longest = "x".repeat(64);
        for (client, seed, draw, told) in [
            ("a", 0x5e02_5f9a_de9e_af3e, 0xa509_380b_b8d1_8f44, 43_524_400_884),
            ("torrent-1", 0x4e75_65a3_67e7_4a0a, 0x64a1_d29a_ff9d_7d98, 92_568_850_181),
            ("torrent-2", 0x5d99_3e40_3fc6_ba88, 0x3d9f_20ff_ea94_9737, 141_193_504_279),
            ("0123456789abcdef", 0x3449_a2b4_e7ea_18d2, 0x28c6_e4f9_dc5e_5d1e, 182_128_592_442),
            (&longest, 0xc97d_3dbc_deaf_e97b, 0xb85e_2ab8_4317_355f, 32_542_645_941),
        ] {
            assert_eq!(seed_of(client), seed, "{client}");
            assert_eq!(key.draw(seed), draw, "{client}");
            assert_eq!(surprise(draw), told, "{client}");
        }
        assert_eq!(
            (KNOTS[0], KNOTS[1], KNOTS[128], KNOTS[255]),
            (0, 386_516_077, 40_198_316_959, 68_525_652_141)
        );
        let sum: u64 = (1..).zip(KNOTS).map(|(place, knot)| place * knot).sum();
        assert_eq!(sum, 0x5_d646_dc7c_ceaf);
    }

    #[test]
    fn every_byte_of_name_and_hash_counts() {
        let names =
            ["a", "b", "aa", "a-", "torrent-1", "torrent-2", "torrent-10", &"x".repeat(63), &"x".repeat(64)];
        let seeds: std::collections::BTreeSet<u64> = names.iter().map(|name| seed_of(name)).collect();
        assert_eq!(seeds.len(), names.len());
        let zero = Key::of(&Hash::from_bytes([0; 32])).draw(7);
        for place in 0..32 {
            let mut bytes = [0; 32];
            bytes[place] = 1;
            assert_ne!(Key::of(&Hash::from_bytes(bytes)).draw(7), zero, "byte {place}");
        }
    }

    #[test]
    fn the_surprise_is_the_logarithm() {
        assert_eq!(surprise(0), 64 << FRACTION_BITS);
        assert_eq!(surprise(1), 64 << FRACTION_BITS);
        assert_eq!(surprise(1 << 63), 1 << FRACTION_BITS);
        assert_eq!(surprise(3 << 62), (1 << FRACTION_BITS) - KNOTS[128]);
        assert!(surprise(u64::MAX) <= 1);
        for step in 1..=10_000_u64 {
            let draw = step * (u64::MAX / 10_000);
            let exact = 64.0 - (draw as f64).log2();
            let ours = surprise(draw) as f64 / (1_u64 << FRACTION_BITS) as f64;
            assert!((ours - exact).abs() < 3e-6, "{draw}: {ours} {exact}");
            assert!((ours - exact).abs() <= exact * 2e-3 + 1e-10, "{draw}: {ours} {exact}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_draw_never_costs_more(a in any::<u64>(), b in any::<u64>(), shift in 0_u32..64) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert!(surprise(a.min(b)) >= surprise(a.max(b)));
            prop_assert!(surprise(a) >= surprise(a.saturating_add(1)));
        }

        #[test]
        fn a_larger_weight_never_costs_more(a in any::<u64>(), b in any::<u64>()) {
            prop_assert!(inverse(a.min(b)) >= inverse(a.max(b)));
        }
    }
}
