//! What is put in: any length, some fragments shared with other files, made again from its seed whenever it is needed.

use crate::sim::Rng;
use crate::specification::sha256;

/// So small that a small file has many.
pub const FRAGMENT_BYTES: usize = 16 << 10;

/// Most fragments of a file.
const MAX_FRAGMENTS: usize = 24;

/// Fragments that files may have in common.
const SHARED: usize = 16;

/// The bytes that belong to a seed.
pub fn bytes(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let length = rng.below(MAX_FRAGMENTS * FRAGMENT_BYTES);
    let mut bytes = Vec::with_capacity(length + FRAGMENT_BYTES);
    while bytes.len() < length {
        let fragment = if rng.chance(1, 5) { rng.below(SHARED) as u64 } else { rng.next() };
        let mut of_fragment = Rng::new(fragment);
        while bytes.len() % FRAGMENT_BYTES != FRAGMENT_BYTES - 8 {
            bytes.extend(of_fragment.next().to_le_bytes());
        }
        bytes.extend(of_fragment.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The digests of the fragments, in file order.
pub fn fragments(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(FRAGMENT_BYTES).map(sha256).collect()
}
