//! Every number that bounds the work of the state machines, with its default. Each has a key in the daemons' configuration.

use std::time::Duration;

use crate::rules::Rule;

/// Torrents that ask for a fragment besides those that should hold it, so that one that is silent can be replaced at once.
pub const SPARE_CANDIDATES: usize = 2;

/// Most events that the fragments in flight may owe to one subscriber: brokers drop silently from 1000 on (Q4).
pub const MAX_OWED_EVENTS: usize = 500;

/// Events that a candidate sends for one fragment: *Requested*, and *Obtained* or *Failed*.
pub const EVENTS_OF_A_CANDIDATE: usize = 2;

/// The limits of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Most fragments in flight at once.
    pub fragments_in_flight: usize,
    /// Most bytes of fragments in flight at once; one fragment may always be.
    pub in_flight_bytes: u64,
    /// How long the tracker waits for the preferred candidates before it takes others.
    pub request_window: Duration,
    /// How long a receiver may take, and how long nobody may ask, before the attempt ends.
    pub distribution_timeout: Duration,
    /// How long a torrent may take to confirm its join.
    pub join_timeout: Duration,
    /// Most joins that may wait for their confirmation.
    pub pending_joins: usize,
    /// First and longest wait before a fragment is tried again.
    pub retry_delay: (Duration, Duration),
    /// Most fragments fetched from holders at once, to repair them.
    pub fetches_at_once: usize,
    /// How long a holder may take to give a fragment.
    pub fetch_timeout: Duration,
}

/// How long a torrent may be gone before what it held is repaired, unless told otherwise.
pub const REPAIR_AFTER: Duration = Duration::from_secs(5 * 60);

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            fragments_in_flight: 32,
            in_flight_bytes: 8 << 20,
            request_window: Duration::from_millis(500),
            distribution_timeout: Duration::from_secs(10),
            join_timeout: Duration::from_secs(10),
            pending_joins: 64,
            retry_delay: (Duration::from_secs(1), Duration::from_secs(60)),
            fetches_at_once: 8,
            fetch_timeout: Duration::from_secs(30),
        }
    }
}

/// The clocks that tracker and torrents share; the tracker announces its own in *TrackerHello*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How often the tracker repeats its hello.
    pub hello: Duration,
    /// How long the tracker's own hello may stay away before it stops deciding (T5).
    pub hello_echo: Duration,
    /// How often a torrent sends a heartbeat.
    pub heartbeat: Duration,
    /// How long a torrent stays registered without one.
    pub lease: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            hello_echo: Duration::from_secs(15),
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(10),
        }
    }
}

/// The limits of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TorrentLimits {
    /// How long the tracker may take to answer a step of the join.
    pub join_timeout: Duration,
    /// First and longest wait before the torrent asks to join again.
    pub retry_delay: (Duration, Duration),
    /// How long a torrent waits for a retained hello before it asks to join without knowing the tracker.
    pub hello_grace: Duration,
    /// Most changes held because one before them is missing.
    pub held_changes: usize,
    /// How long a missing change may stay away before the torrent joins again.
    pub gap_timeout: Duration,
    /// How long room stays reserved for a fragment that was asked for and not delivered.
    pub reservation: Duration,
    /// How long the tracker in charge may be silent before a lower one that says hello is asked: three hellos and a half (Q8).
    pub tracker_silence: Duration,
}

impl Default for TorrentLimits {
    fn default() -> Self {
        Self {
            join_timeout: Duration::from_secs(10),
            retry_delay: (Duration::from_secs(1), Duration::from_secs(60)),
            hello_grace: Duration::from_secs(1),
            held_changes: 10_000,
            gap_timeout: Duration::from_secs(3),
            reservation: Duration::from_secs(30),
            tracker_silence: Duration::from_secs(35),
        }
    }
}

impl TrackerLimits {
    /// How many fragments may be in flight when each addresses `candidates` torrents (fan-in to the tracker is the tight spot).
    #[must_use]
    pub fn window(&self, candidates: usize) -> usize {
        if !Rule::FewAreUnderWay.is_kept() {
            return self.fragments_in_flight;
        }
        let owed = MAX_OWED_EVENTS / (candidates.max(1) * EVENTS_OF_A_CANDIDATE);
        self.fragments_in_flight.min(owed).max(1)
    }
}
