//! How long to wait before the next attempt to reach the broker (Q7).
//!
//! Holds no clock and no randomness: the caller hands a random number in and does the waiting.

use std::time::Duration;

/// The delays between attempts: the first is short (a broker that merely restarts is soon back), the second is
/// 2 s, each further one doubles, up to 20 s: once a broker is back, everybody is within half a minute.
///
/// 2 s is above the second for which NATS holds a client that reconnects too fast. Jitter keeps a hundred
/// daemons from coming back in the same instant after a broker's restart.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the first attempt, at most.
    pub const FIRST: Duration = Duration::from_millis(500);
    /// The least delay from the second attempt on.
    pub const MIN: Duration = Duration::from_secs(2);
    /// The longest delay.
    pub const MAX: Duration = Duration::from_secs(20);

    /// No attempt has failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The delay before the next attempt. `random` is any number, evenly distributed over all of `u32`.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let fraction = f64::from(random) / f64::from(u32::MAX);
        let attempt = self.attempts;
        self.attempts = attempt.saturating_add(1);
        if attempt == 0 {
            return Self::FIRST.mul_f64(fraction);
        }
        let base = Self::MIN * 2_u32.saturating_pow((attempt - 1).min(16));
        base.mul_f64(1.0 + fraction / 2.0).min(Self::MAX.mul_f64(1.0 - fraction / 4.0))
    }

    /// A session was opened and worked: the next failure begins at the first delay again.
    ///
    /// Call it only after the session has lasted for a while: a broker that accepts and cuts at once (a second
    /// client with the same id) would otherwise be asked twice a second.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(random: u32) -> Vec<f64> {
        let mut backoff = Backoff::new();
        (0..8).map(|_| backoff.next_delay(random).as_secs_f64()).collect()
    }

    #[test]
    fn the_first_attempt_comes_quickly_and_then_delays_double_to_twenty_seconds() {
        assert_eq!(delays(0), [0.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0]);
    }

    #[test]
    fn jitter_spreads_the_delays_but_keeps_them_within_the_limits() {
        assert_eq!(delays(u32::MAX), [0.5, 3.0, 6.0, 12.0, 15.0, 15.0, 15.0, 15.0]);
    }

    #[test]
    fn however_many_attempts_fail_no_delay_is_longer_than_twenty_seconds() {
        let mut backoff = Backoff { attempts: u32::MAX - 1 };
        for _ in 0..4 {
            assert_eq!(backoff.next_delay(0), Backoff::MAX);
        }
    }

    #[test]
    fn a_session_that_worked_starts_the_delays_anew() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.next_delay(7);
        }
        backoff.reset();
        assert!(backoff.next_delay(u32::MAX) <= Backoff::FIRST);
    }
}
