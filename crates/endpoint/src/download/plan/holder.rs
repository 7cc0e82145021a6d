//! What is known of one holder: how fast it is, how much it may have in flight, and whether it still gives a sign of life.
//!
//! All times are seconds since the download began.

use std::time::Duration;

use super::Dropped;

/// How much of what was measured counts after one more fragment: the last twenty or so decide.
const MEMORY: f64 = 0.95;
/// A holder has as much in flight as keeps it busy for this long, in seconds, or for two of its shortest trips.
const KEEP_BUSY: f64 = 0.1;
/// It is stalled after this many times what all it has in flight should take.
const STALLED_FACTOR: f64 = 4.0;
/// The same where no holder's speed is known yet, in seconds.
const STALLED_IF_UNKNOWN: f64 = 0.5;
/// How often in a row a holder may fail to answer before it is asked no more.
pub(super) const MAX_STRIKES: u32 = 3;
/// How long a holder is left alone after the first failure in a row, in seconds; four times as long after each further one.
const LOST_PAUSE: f64 = 0.1;
/// How long a holder is left alone after it was overtaken while it was silent, in seconds; twice as long each further time.
const STALLED_PAUSE: f64 = 1.0;
/// The longest such pause, in seconds.
const LONGEST_STALLED_PAUSE: f64 = 32.0;
/// A busy holder says when to come back. It is left alone for at least and at most this long, in seconds.
const BUSY_PAUSE: (f64, f64) = (0.05, 5.0);

/// How many fragments a holder that was busy once must deliver before it is asked for one more at once; twice as many each further time.
const CAUTION: u32 = 32;
const MOST_CAUTION: u32 = 1024;

/// How fast a holder is.
#[derive(Debug, Clone, Default)]
pub(super) struct Speed {
    bytes: f64,
    busy: f64,
    shortest: f64,
}

impl Speed {
    /// Bytes a second, with as much in flight as it had.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.bytes > 0.0).then(|| self.bytes / self.busy.max(1e-6))
    }

    /// How long it takes, in seconds, until so many bytes are there.
    pub(super) fn expected(&self, bytes: u64) -> Option<f64> {
        self.rate().map(|rate| (bytes as f64 / rate).max(self.shortest))
    }

    /// A fragment came, so long after it was asked for, and so long after the one before it.
    fn measured(&mut self, bytes: u64, took: f64, since_last: f64) {
        self.shortest = if self.bytes > 0.0 { self.shortest.min(took) } else { took };
        self.bytes = self.bytes * MEMORY + bytes as f64;
        self.busy = self.busy * MEMORY + since_last;
    }
}

/// One holder.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) speed: Speed,
    pub(super) in_flight: usize,
    pub(super) bytes_in_flight: u64,
    /// How many fragments it may have in flight: one until it has delivered, then more and more.
    window: usize,
    /// How many it must deliver before the window grows by one more, and how many of them it has; if it was too much once.
    caution: Option<(u32, u32)>,
    pub(super) strikes: u32,
    pub(super) dropped: Option<Dropped>,
    pub(super) paused_until: f64,
    /// Whether it may have a fragment that is open.
    pub(super) may_have_open: bool,
    /// What it said it does not have, although others say it has.
    pub(super) disclaimed: Vec<usize>,
    /// Decides between holders that are equal otherwise.
    pub(super) tie: u32,
    /// Since when it has had something in flight and nothing has come.
    silent_since: f64,
    /// Until when its time has been counted.
    counted_until: f64,
    /// How often it was overtaken while it was silent, since it last delivered.
    overtaken: i32,
}

impl Holder {
    pub(super) fn new(tie: u32) -> Self {
        Self { tie, window: 1, ..Self::default() }
    }

    /// Whether it is left alone for a while.
    pub(super) fn is_paused(&self, now: f64) -> bool {
        self.dropped.is_none() && self.paused_until > now
    }

    /// Whether it may be given one more, of at most `most` in flight.
    pub(super) fn is_free(&self, most: usize, now: f64) -> bool {
        self.dropped.is_none()
            && self.paused_until <= now
            && self.in_flight < most.min(self.window)
            && (self.in_flight == 0 || !self.is_kept_busy())
    }

    fn is_kept_busy(&self) -> bool {
        let enough = KEEP_BUSY.max(2.0 * self.speed.shortest);
        self.speed.rate().is_some_and(|rate| self.bytes_in_flight as f64 / rate >= enough)
    }

    /// When one more fragment of so many bytes would be there, in seconds from now; none if nothing is known of it.
    pub(super) fn expected(&self, size_bytes: u64) -> Option<f64> {
        let expected = self.speed.expected(self.bytes_in_flight + size_bytes);
        // Whoever let others overtake it may do so again.
        if self.overtaken > 0 {
            Some(expected.unwrap_or_default().max(self.stalled_pause()))
        } else {
            expected
        }
    }

    /// From when on it is stalled, if nothing comes: `typical` tells how long others would take for so many bytes, `at_least` is how long it
    /// may be silent in any case.
    pub(super) fn stalled_from(&self, typical: impl Fn(u64) -> Option<f64>, at_least: f64) -> Option<f64> {
        let expected = || {
            let bytes = self.bytes_in_flight;
            self.speed.expected(bytes).or_else(|| typical(bytes)).map(|expected| expected * STALLED_FACTOR)
        };
        (self.in_flight > 0)
            .then(|| self.silent_since + expected().unwrap_or(STALLED_IF_UNKNOWN).max(at_least))
    }

    pub(super) fn took_off(&mut self, size_bytes: u64, now: f64) {
        if self.in_flight == 0 {
            self.silent_since = now;
            self.counted_until = now;
        }
        self.in_flight += 1;
        self.bytes_in_flight += size_bytes;
    }

    /// What was in flight since then is not any more, whatever became of it.
    pub(super) fn landed(&mut self, size_bytes: u64) {
        self.in_flight -= 1;
        self.bytes_in_flight -= size_bytes;
    }

    /// A fragment came that was asked for at `since`.
    pub(super) fn delivered(&mut self, size_bytes: u64, since: f64, now: f64) {
        self.strikes = 0;
        self.overtaken = 0;
        self.silent_since = now;
        self.speed.measured(size_bytes, now - since, now - self.counted_until);
        self.counted_until = now;
        if let Some((needed, delivered)) = &mut self.caution {
            *delivered += 1;
            if *delivered < *needed {
                return;
            }
            *delivered = 0;
        }
        self.window += 1;
    }

    /// Another holder was first.
    pub(super) fn overtaken(&mut self, was_stalled: bool, now: f64) {
        // Its time went by without bytes.
        self.speed.busy += now - self.counted_until;
        self.counted_until = now;
        if was_stalled && self.paused_until <= now {
            self.overtaken += 1;
            self.window = 1;
            self.paused_until = now + self.stalled_pause();
        }
    }

    fn stalled_pause(&self) -> f64 {
        (STALLED_PAUSE * 2_f64.powi(self.overtaken - 1)).min(LONGEST_STALLED_PAUSE)
    }

    /// It said that it is busy, and when to come back.
    pub(super) fn refused(&mut self, retry_after: Duration, now: f64) {
        // What was refused together is one refusal.
        if self.paused_until <= now {
            let needed = self.caution.map(|(needed, _)| (needed * 2).min(MOST_CAUTION));
            // A window that grew with caution was one too large.
            let tried = self.window.min(self.in_flight + 1);
            self.window = if needed.is_some() { tried - 1 } else { tried / 2 }.max(1);
            self.caution = Some((needed.unwrap_or(CAUTION), 0));
        }
        let pause = retry_after.as_secs_f64().clamp(BUSY_PAUSE.0, BUSY_PAUSE.1);
        self.paused_until = self.paused_until.max(now + pause);
    }

    /// It did not answer. What broke together is one failure.
    pub(super) fn lost(&mut self, now: f64) {
        if self.paused_until > now {
            return;
        }
        self.strikes += 1;
        self.window = 1;
        self.paused_until = now + LOST_PAUSE * 4_f64.powi(self.strikes.cast_signed() - 1);
    }

    /// It gets another chance.
    pub(super) fn forgive(&mut self) {
        if self.strikes > 0 {
            self.strikes = 0;
            self.paused_until = 0.0;
        }
        self.dropped = self.dropped.filter(|dropped| *dropped == Dropped::Lied);
    }
}
