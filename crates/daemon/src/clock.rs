//! The monotonic clock of the process, as the state machines count it.

use std::time::{Instant, SystemTime};

use distribution::Moment;

/// Milliseconds since the process started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When the process's clock shows `moment`, for timers.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.since(Moment::default())
    }

    /// The wall time of a moment that has passed: for people, never for decisions.
    #[must_use]
    pub fn wall_time(&self, moment: Moment) -> SystemTime {
        SystemTime::now() - self.now().since(moment)
    }
}
