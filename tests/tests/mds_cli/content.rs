//! Bytes for files.

use protocol::Hash;

/// Bytes without a pattern, others for every `seed`.
pub fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::from_fn(|| Some(next())).flatten().take(size + 8).collect();
    bytes.truncate(size);
    bytes
}

/// What `sha256sum` prints.
pub fn digest(bytes: &[u8]) -> String {
    Hash::of(bytes).to_string()
}
