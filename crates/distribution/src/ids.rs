//! Names for events, and jitter, from a seed that is handed in: the state machines draw no random number of their own.

use std::time::Duration;

use protocol::EventId;
use sha2::{Digest, Sha256};
use uuid::Builder;

/// A deterministic stream of event ids and of jitter.
#[derive(Debug, Clone)]
pub struct Draw {
    seed: [u8; 16],
    count: u64,
}

impl Draw {
    /// The stream that belongs to `seed`: a fresh random one for each run of a daemon.
    #[must_use]
    pub const fn new(seed: [u8; 16]) -> Self {
        Self { seed, count: 0 }
    }

    fn next(&mut self) -> [u8; 16] {
        let mut sum = Sha256::new();
        sum.update(self.seed);
        sum.update(self.count.to_be_bytes());
        self.count += 1;
        let sum: [u8; 32] = sum.finalize().into();
        sum[..16].try_into().expect("half of 32 bytes")
    }

    /// The next event id.
    pub fn event_id(&mut self) -> EventId {
        EventId(Builder::from_random_bytes(self.next()).into_uuid())
    }

    /// How long to wait after so many failures: the first of `delays`, doubled with each, at most the second; jittered.
    pub fn backoff(&mut self, delays: (Duration, Duration), failures: u32) -> Duration {
        let (first, longest) = delays;
        self.jittered(first.saturating_mul(1 << failures.min(16)).min(longest))
    }

    /// A wait between three quarters of `wait` and all of it: so that those who start together do not stay together.
    pub fn jittered(&mut self, wait: Duration) -> Duration {
        let share = u32::from(self.next()[0]);
        wait - wait / 4 * share / 255
    }
}
