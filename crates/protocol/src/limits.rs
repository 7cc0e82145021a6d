//! How large what others say may be. Each limit of [`Limits`] has a key in the daemons' configuration.

use crate::EventKind;

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

impl Limits {
    /// Largest payload of one event in bytes: those that carry no list, no bytes and no padding have no reason to be long.
    #[must_use]
    pub fn event_bytes(&self, kind: EventKind) -> usize {
        match kind {
            EventKind::TrackerHello
            | EventKind::ClientJoinRequested
            | EventKind::ClientJoinAccepted
            | EventKind::ClientRegistered
            | EventKind::FileInfoPublished
            | EventKind::FragmentDistributionDelivered
            | EventKind::FragmentDistributionEnded => self.max_event_bytes,
            EventKind::TrackerGoodbye
            | EventKind::ClientJoinDenied
            | EventKind::ClientJoinSucceeded
            | EventKind::ClientJoinFailed
            | EventKind::ClientGoodbye
            | EventKind::FragmentDistributionStarted
            | EventKind::FragmentDistributionRequested
            | EventKind::FragmentDistributionObtained
            | EventKind::FragmentDistributionFailed
            | EventKind::ClientUnregistered
            | EventKind::FileRemoved
            | EventKind::ClientHeartbeat => self.max_event_bytes.min(MAX_SHORT_EVENT_BYTES),
        }
    }
}

/// Largest payload in bytes of an event that has no list, no fragment and no padding in it.
pub const MAX_SHORT_EVENT_BYTES: usize = 64 << 10;
/// Longest free text (`Reason`, `HashAlgorithm`) in bytes: it ends up in logs.
pub const MAX_TEXT_BYTES: usize = 16 << 10;

/// Smallest fragment size in bytes.
pub const MIN_FRAGMENT_SIZE_BYTES: u64 = 1 << 10;
/// Largest fragment size in bytes.
pub const MAX_FRAGMENT_SIZE_BYTES: u64 = 8 << 20;
/// Fragment size in bytes where nothing else is configured.
pub const DEFAULT_FRAGMENT_SIZE_BYTES: u64 = 256 << 10;

/// The most bytes of an event that describes a file of so many fragments: a digest in hex, its quotes and a comma for each, and the rest.
#[must_use]
pub const fn described_event_bytes(fragments: u64) -> u64 {
    fragments.saturating_mul(67).saturating_add(1024)
}

/// What an event with a fragment of `fragment_size_bytes` takes: base64, and room for the rest.
#[must_use]
pub const fn delivered_event_bytes(fragment_size_bytes: u64) -> u64 {
    fragment_size_bytes.div_ceil(3) * 4 + (16 << 10)
}

const _: () = assert!(delivered_event_bytes(MAX_FRAGMENT_SIZE_BYTES) < 64 << 20);
