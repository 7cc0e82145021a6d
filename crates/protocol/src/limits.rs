//! How large what others say may be. Each limit has a key in the daemons' configuration.

/// Limits on events, applied before (size) and after (numbers) an event is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload in bytes. A join of a service with many files is one packet, so it is generous.
    pub max_event_bytes: usize,
    /// Most entries of any one dictionary, set or sequence.
    pub max_entries: usize,
    /// Most endpoints of one torrent.
    pub max_endpoints: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_event_bytes: 64 << 20, max_entries: 1 << 20, max_endpoints: 16 }
    }
}

/// Smallest fragment size in bytes.
pub const MIN_FRAGMENT_SIZE_BYTES: u64 = 1 << 10;
/// Largest fragment size in bytes.
pub const MAX_FRAGMENT_SIZE_BYTES: u64 = 8 << 20;
/// Fragment size in bytes where nothing else is configured.
pub const DEFAULT_FRAGMENT_SIZE_BYTES: u64 = 256 << 10;

/// What an event with a fragment of `fragment_size_bytes` takes: base64, and room for the rest.
#[must_use]
pub const fn delivered_event_bytes(fragment_size_bytes: u64) -> u64 {
    fragment_size_bytes.div_ceil(3) * 4 + (16 << 10)
}

const _: () = assert!(delivered_event_bytes(MAX_FRAGMENT_SIZE_BYTES) < 64 << 20);
