//! The monotonic clock of one process, which goes a little too fast or too slow, and the wall clock that somebody sets (S18).

use std::time::Duration;

use distribution::Moment;
use distribution::rules::Rule;

/// Parts of a clock's rate.
const PER_MILLE: i64 = 1000;

/// A clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    drift_per_mille: i64,
    /// How far the wall clock of the machine is behind.
    wall_clock_behind: Duration,
}

impl Clock {
    /// A clock that gains so many milliseconds each second, or loses them.
    ///
    /// # Panics
    /// If it would stand still or go backwards.
    #[must_use]
    pub fn drifting(drift_per_mille: i64) -> Self {
        assert!(drift_per_mille > -PER_MILLE, "a clock goes forward");
        Self { drift_per_mille, ..Self::default() }
    }

    /// The same on a machine whose wall clock is set back by this, now. A process that goes by the monotonic clock does not see it.
    #[must_use]
    pub fn set_back(self, by: Duration) -> Self {
        Self { wall_clock_behind: self.wall_clock_behind + by, ..self }
    }

    /// By how many milliseconds the process takes it to be too early.
    fn believed_behind(self) -> u64 {
        let behind = if Rule::MonotonicClock.is_kept() { Duration::ZERO } else { self.wall_clock_behind };
        u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)
    }

    /// What it shows.
    #[must_use]
    pub fn local(self, now: Moment) -> Moment {
        Moment(self.drifted(now).0.saturating_sub(self.believed_behind()))
    }

    fn drifted(self, now: Moment) -> Moment {
        if self.drift_per_mille == 0 {
            return now;
        }
        let rate = PER_MILLE.saturating_add(self.drift_per_mille).unsigned_abs();
        Moment(now.0 * rate / PER_MILLE.unsigned_abs())
    }

    /// When it shows that, or later, for the first time.
    #[must_use]
    pub fn global(self, local: Moment) -> Moment {
        let local = Moment(local.0.saturating_add(self.believed_behind()));
        if self.drift_per_mille == 0 {
            return local;
        }
        let rate = PER_MILLE.saturating_add(self.drift_per_mille).unsigned_abs();
        Moment((local.0 * PER_MILLE.unsigned_abs()).div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_is_asked_about_and_not_a_moment_before() {
        for drift in [-120, -7, 0, 1, 33, 250] {
            let clock = Clock::drifting(drift);
            for local in (0..20_000).step_by(7).map(Moment) {
                let global = clock.global(local);
                assert!(clock.local(global) >= local);
                assert!(global.0 == 0 || clock.local(Moment(global.0 - 1)) < local);
            }
        }
    }
}
