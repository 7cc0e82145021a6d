//! The scrub: reads the whole store again and again, slowly, so that damage is found before the last good copy is needed.
//!
//! A thread of its own reads a little, then pauses for as long as its rate asks. How far it has come is a value of the store, so a restart
//! goes on from there; what a crash takes of it is only read again. When a pass has ended is wall time, because nothing else outlives a
//! restart; it decides nothing but when the next one begins.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use endpoint::Fragments as _;
use protocol::Hash;
use storage::{Meta, meta};
use tracing::{error, info, warn};

use crate::OwnFragments;
use crate::metrics::Metrics;

/// Most bytes that are read without a pause, but at least one fragment.
const STEP_BYTES: u64 = 1 << 20;
/// The shortest pause.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The shortest pause between two passes: a small store is no reason to go round and round.
const AFTER_PASS: Duration = Duration::from_secs(1);
/// The longest time until somebody looks at the clock again.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// How long nothing is tried after the store could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// How often the place is written down.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Behind it lies everything.
const START: Hash = Hash::from_bytes([0; 32]);

/// How fast the store is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes in a second; none are read if it is 0.
    pub bytes_per_second: u64,
    /// How long after the end of a pass the next one begins.
    pub interval: Duration,
}

/// The running scrub. It has ended when this is dropped.
#[derive(Debug)]
pub struct Scrub {
    /// Dropped first: that is what the thread waits for.
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Starts the thread, unless the pace is 0. Damage goes the way of `own`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        own: OwnFragments,
        meta: Meta,
        metrics: std::sync::Arc<Metrics>,
        pace: Pace,
    ) -> io::Result<Self> {
        let mut walk = Walk::load(own, meta, metrics, pace);
        if pace.bytes_per_second == 0 {
            return Ok(Self { end: None, thread: None });
        }
        let (end, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("scrub".into()).spawn(move || walk.run(&ended))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so already.
            drop(thread.join());
        }
    }
}

/// The way through the store.
struct Walk {
    own: OwnFragments,
    meta: Meta,
    metrics: std::sync::Arc<Metrics>,
    pace: Pace,
    after: Hash,
    /// When the last whole pass ended, since the Unix epoch.
    ended: Option<Duration>,
    /// Bytes that this run has read in this pass.
    read_bytes: u64,
    /// Fragments that it has found damaged.
    damaged: usize,
    saved: Instant,
}

impl Walk {
    /// Where the last run was; at the beginning if that cannot be told.
    fn load(own: OwnFragments, meta: Meta, metrics: std::sync::Arc<Metrics>, pace: Pace) -> Self {
        let after = meta.get(meta::SCRUB_AFTER).ok().flatten().unwrap_or(START);
        let ended = meta.get(meta::SCRUB_ENDED).ok().flatten().map(Duration::from_secs);
        Metrics::set(&metrics.scrub_last_pass, ended.unwrap_or_default().as_secs());
        Self { own, meta, metrics, pace, after, ended, read_bytes: 0, damaged: 0, saved: Instant::now() }
    }

    fn run(&mut self, ended: &Receiver<()>) {
        loop {
            let pause = self.step(unix_time()).clamp(MIN_PAUSE, MAX_PAUSE);
            match ended.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.save();
    }

    /// Reads a little; how long to pause then.
    fn step(&mut self, now: Duration) -> Duration {
        if let Some(wait) = self.wait(now) {
            return wait;
        }
        let began = Instant::now();
        let budget_bytes = STEP_BYTES.min(self.pace.bytes_per_second);
        let verified = match self.own.verify_next(Some(&self.after), budget_bytes) {
            Ok(verified) => verified,
            Err(error) => {
                error!("the scrub cannot go on for now: {error}");
                return AFTER_FAILURE;
            }
        };
        self.metrics.scrub_bytes.inc_by(verified.bytes);
        self.read_bytes += verified.bytes;
        self.damaged += verified.damaged.len();
        let due = Duration::from_secs_f64(verified.bytes as f64 / self.pace.bytes_per_second as f64);
        match verified.next {
            Some(next) => {
                self.after = next;
                if self.saved.elapsed() >= SAVE_EVERY {
                    self.save();
                }
            }
            None => {
                self.end_pass(now);
                return due.max(AFTER_PASS);
            }
        }
        due.saturating_sub(began.elapsed())
    }

    /// How long to wait before the next pass begins; none in the middle of one, and if the clock went back.
    fn wait(&self, now: Duration) -> Option<Duration> {
        let since = now.checked_sub(self.ended.filter(|_| self.after == START)?)?;
        self.pace.interval.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    fn end_pass(&mut self, now: Duration) {
        let (read_bytes, damaged) = (self.read_bytes, self.damaged);
        match (read_bytes, damaged) {
            (_, 1..) => warn!(read_bytes, damaged, "the scrub has come to the end of the store"),
            (1.., 0) => info!(read_bytes, damaged, "the scrub has come to the end of the store"),
            (0, 0) => {}
        }
        (self.after, self.ended, self.read_bytes, self.damaged) = (START, Some(now), 0, 0);
        Metrics::set(&self.metrics.scrub_last_pass, now.as_secs());
        self.save();
    }

    /// Not flushed: what is lost of it is only read again.
    fn save(&mut self) {
        self.saved = Instant::now();
        let ended = self.ended.map_or(Ok(()), |ended| self.meta.set(meta::SCRUB_ENDED, &ended.as_secs()));
        if let Err(error) = ended.and_then(|()| self.meta.set(meta::SCRUB_AFTER, &self.after)) {
            warn!("where the scrub is could not be written down: {error}");
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use storage::Store;

    use super::*;

    const PACE: Pace = Pace { bytes_per_second: 1, interval: Duration::from_secs(100) };
    const NOW: Duration = Duration::from_secs(1_000_000);

    fn store(fragments: u8) -> Store {
        let store = Store::in_memory();
        let contents = (0..fragments).map(|number| Bytes::from(vec![number; 1000]));
        let results = store.fragments().put_batch(contents.map(|bytes| (Hash::of(&bytes), bytes)).collect());
        results.into_iter().for_each(|result| result.unwrap());
        store
    }

    fn walk(store: &Store, pace: Pace) -> Walk {
        let metrics = Arc::new(Metrics::default());
        let (own, _) = OwnFragments::new(store.fragments().clone(), metrics.clone());
        Walk::load(own, store.meta().clone(), metrics, pace)
    }

    #[test]
    fn it_reads_no_faster_than_it_should_and_rests_after_a_pass() {
        let store = store(3);
        let mut walk = walk(&store, PACE);
        for _ in 0..3 {
            let pause = walk.step(NOW);
            assert!(pause > Duration::from_secs(900) && pause <= Duration::from_secs(1000), "{pause:?}");
        }
        assert_eq!(walk.step(NOW), AFTER_PASS, "there is no more");
        assert_eq!(walk.step(NOW + Duration::from_secs(60)), Duration::from_secs(40));
        assert_eq!(walk.metrics.scrub_bytes.get(), 3000);
        assert!(walk.step(NOW + Duration::from_secs(100)) > Duration::from_secs(900), "the next pass");
        assert_eq!(walk.metrics.scrub_bytes.get(), 4000);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_stop_it() {
        let store = store(1);
        let mut walk = walk(&store, PACE);
        walk.end_pass(NOW);
        assert!(!walk.step(NOW - Duration::from_secs(1)).is_zero());
        assert_eq!(walk.metrics.scrub_bytes.get(), 1000);
    }

    #[test]
    fn a_restart_goes_on_where_the_last_run_was() {
        let store = store(5);
        let mut first = walk(&store, PACE);
        first.step(NOW);
        first.step(NOW);
        first.save();
        let mut second = walk(&store, PACE);
        for _ in 0..4 {
            second.step(NOW);
        }
        assert_eq!(second.metrics.scrub_bytes.get(), 3000);
        let third = walk(&store, PACE);
        assert_eq!((third.after, third.ended), (START, Some(NOW)));
        assert_eq!(third.metrics.scrub_last_pass.get(), NOW.as_secs());
    }

    #[test]
    fn it_ends_in_the_middle_of_a_pause_and_remembers_its_place() {
        let store = store(5);
        let metrics = Arc::new(Metrics::default());
        let (own, _) = OwnFragments::new(store.fragments().clone(), metrics.clone());
        let scrub = Scrub::start(own, store.meta().clone(), metrics.clone(), PACE).unwrap();
        while metrics.scrub_bytes.get() == 0 {
            thread::yield_now();
        }
        drop(scrub);
        assert_ne!(store.meta().get(meta::SCRUB_AFTER).unwrap(), Some(START));
        assert_eq!(metrics.scrub_bytes.get(), 1000);
    }

    #[test]
    fn a_pace_of_zero_reads_nothing() {
        let store = store(5);
        let metrics = Arc::new(Metrics::default());
        let (own, _) = OwnFragments::new(store.fragments().clone(), metrics.clone());
        let pace = Pace { bytes_per_second: 0, ..PACE };
        drop(Scrub::start(own, store.meta().clone(), metrics.clone(), pace).unwrap());
        assert_eq!(metrics.scrub_bytes.get(), 0);
    }
}
