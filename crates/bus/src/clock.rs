//! Whether the connection still lives: when to ping, and when to give up.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::error::LossReason;
use crate::options::SessionOptions;

/// When we last heard and said something.
///
/// Patience is counted in ticks, not read from the clock: between two ticks the event loop has read and written
/// what there was, so a process that did not run for a minute does not take its broker for dead.
#[derive(Debug)]
pub(crate) struct Clock {
    ticks: Interval,
    keep_alive: Duration,
    write_timeout: Duration,
    last_read: Instant,
    last_write: Instant,
    /// Ticks since a ping that has not been answered.
    pinged: Option<u32>,
    /// Ticks since something waits to be written and nothing was.
    stuck: u32,
}

impl Clock {
    pub(crate) fn new(options: &SessionOptions) -> Self {
        let keep_alive = options.effective_keep_alive();
        let mut ticks = interval(keep_alive / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let write_timeout = options.write_timeout;
        Self { ticks, keep_alive, write_timeout, last_read: now, last_write: now, pinged: None, stuck: 0 }
    }

    /// Waits until it is time to look.
    pub(crate) async fn tick(&mut self) -> Instant {
        self.ticks.tick().await
    }

    /// Something has come.
    pub(crate) fn read(&mut self) {
        self.last_read = Instant::now();
        self.pinged = None;
    }

    /// Something has gone out.
    pub(crate) fn wrote(&mut self) {
        self.last_write = Instant::now();
        self.stuck = 0;
    }

    /// At each tick: whether it is time to ping, or why the connection is taken for dead. While nothing is read
    /// because the inbox is full, silence proves nothing.
    pub(crate) fn check(&mut self, now: Instant, reading: bool, writing: bool) -> Result<bool, LossReason> {
        let tick = self.ticks.period();
        self.stuck = if writing { self.stuck + 1 } else { 0 };
        if tick * self.stuck > self.write_timeout {
            return Err(LossReason::Stuck { write_timeout: self.write_timeout });
        }
        self.pinged = self.pinged.filter(|_| reading).map(|ticks| ticks + 1);
        if self.pinged.is_some_and(|ticks| tick * ticks >= self.keep_alive) {
            return Err(LossReason::Silent { keep_alive: self.keep_alive });
        }
        let quiet = now - self.last_write.min(if reading { self.last_read } else { now });
        let ping = self.pinged.is_none() && !writing && quiet >= self.keep_alive / 4 * 3;
        if ping && reading {
            self.pinged = Some(0);
        }
        Ok(ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(20);
    const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

    fn clock() -> Clock {
        let broker = "mqtt://localhost".parse().unwrap();
        let options = SessionOptions {
            keep_alive: KEEP_ALIVE,
            write_timeout: WRITE_TIMEOUT,
            ..SessionOptions::new(broker, "client")
        };
        Clock::new(&options)
    }

    /// Ticks until something happens or `limit` is over: the seconds at which a ping went out, and the end.
    async fn tick(
        clock: &mut Clock,
        limit: Duration,
        reading: bool,
        writing: bool,
        mut at_tick: impl FnMut(&mut Clock),
    ) -> (Vec<u64>, Option<(u64, LossReason)>) {
        let start = Instant::now();
        let mut pings = Vec::new();
        loop {
            let now = clock.tick().await;
            let seconds = (now - start).as_secs();
            if now - start > limit {
                return (pings, None);
            }
            match clock.check(now, reading, writing) {
                Ok(true) => {
                    pings.push(seconds);
                    clock.wrote();
                }
                Ok(false) => {}
                Err(reason) => return (pings, Some((seconds, reason))),
            }
            at_tick(clock);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_broker_is_pinged_before_the_keep_alive_is_over_and_given_up_after_another() {
        let (pings, end) = tick(&mut clock(), KEEP_ALIVE * 10, true, false, |_| {}).await;
        assert_eq!(pings, [15]);
        assert_eq!(end, Some((35, LossReason::Silent { keep_alive: KEEP_ALIVE })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_answers_pings_is_pinged_on() {
        let answer = |clock: &mut Clock| {
            if clock.pinged.is_some() {
                clock.read();
            }
        };
        let (pings, end) = tick(&mut clock(), Duration::from_secs(50), true, false, answer).await;
        assert_eq!((pings, end), (vec![15, 30, 45], None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_listens_pings_too() {
        let (pings, end) = tick(&mut clock(), Duration::from_secs(35), true, false, Clock::read).await;
        assert_eq!((pings, end), (vec![15, 30], None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_needs_no_ping() {
        let both = |clock: &mut Clock| {
            clock.read();
            clock.wrote();
        };
        let (pings, end) = tick(&mut clock(), KEEP_ALIVE * 5, true, false, both).await;
        assert_eq!((pings, end), (vec![], None));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_inbox_is_full_pings_go_on_and_silence_proves_nothing() {
        let (pings, end) = tick(&mut clock(), Duration::from_secs(100), false, false, |_| {}).await;
        assert_eq!((pings, end), (vec![15, 30, 45, 60, 75, 90], None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_takes_nothing_is_given_up() {
        let (pings, end) = tick(&mut clock(), KEEP_ALIVE * 10, true, true, Clock::read).await;
        assert!(pings.is_empty(), "there is enough in line");
        assert_eq!(end, Some((60, LossReason::Stuck { write_timeout: WRITE_TIMEOUT })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_did_not_run_for_a_while_looks_before_it_gives_up() {
        let mut clock = clock();
        let (pings, _) = tick(&mut clock, Duration::from_secs(15), true, false, |_| {}).await;
        assert_eq!(pings, [15]);
        tokio::time::advance(KEEP_ALIVE * 3).await;
        let now = clock.tick().await;
        assert_eq!(clock.check(now, true, false), Ok(false), "the answer may be there, unread");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_takes_little_is_not_given_up() {
        let (_, end) = tick(&mut clock(), KEEP_ALIVE * 10, false, true, Clock::wrote).await;
        assert_eq!(end, None);
    }
}
