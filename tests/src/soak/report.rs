//! What was done, and what came of it.

use std::fmt;
use std::time::Duration;

use super::Options;
use super::ledger::{Counts, Ledger};

/// How often each fault was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Trackers killed.
    pub tracker_kills: usize,
    /// Torrents killed.
    pub torrent_kills: usize,
    /// Brokers killed that kept what they had on disk.
    pub broker_kills: usize,
    /// Brokers killed that lost everything.
    pub broker_losses: usize,
    /// Processes halted for a while.
    pub halts: usize,
    /// Processes asked to end, and started again.
    pub restarts: usize,
    /// Torrents that lost their disk.
    pub wiped: usize,
    /// Trackers that lost their machine, and were replaced by one on standby.
    pub take_overs: usize,
}

impl Faults {
    /// All that were killed.
    pub const fn kills(&self) -> usize {
        self.tracker_kills + self.torrent_kills + self.broker_kills + self.broker_losses
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tracker_kills, torrent_kills, broker_kills, broker_losses, .. } = self;
        let Self { halts, restarts, wiped, take_overs, .. } = self;
        let kills = self.kills();
        write!(
            f,
            "{kills} kills ({tracker_kills} tracker, {torrent_kills} torrent, {broker_kills} broker, {broker_losses} broker and its state), \
             {halts} halts, {restarts} restarts, {wiped} wiped torrents, {take_overs} take-overs"
        )
    }
}

/// The outcome of a soak; its text is one paragraph.
#[derive(Debug)]
pub struct Report {
    options: Options,
    pub(super) faults: Faults,
    checkpoints: Vec<Duration>,
    counts: Counts,
    violations: Vec<String>,
    took: Duration,
}

impl Report {
    pub(super) fn new(options: Options) -> Self {
        let (faults, checkpoints, counts, violations, took) = Default::default();
        Self { options, faults, checkpoints, counts, violations, took }
    }

    pub(super) fn at_rest(&mut self, took: Duration) {
        self.checkpoints.push(took);
    }

    pub(super) fn never_at_rest(&mut self, why: String) {
        self.violations.push(format!("not at rest: {why}"));
    }

    /// After a violation there is nothing more to learn.
    pub(super) fn goes_on(&self, ledger: &Ledger) -> bool {
        self.violations.is_empty() && ledger.violations().is_empty()
    }

    pub(super) fn conclude(&mut self, ledger: &Ledger, took: Duration) {
        self.counts = ledger.counts();
        self.violations.extend(ledger.violations());
        self.took = took;
    }

    /// Whether everything that was acknowledged was true, and everything came to rest.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.faults.kills() >= self.options.kills
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { accepted, not_accepted, read, not_read, removed, not_removed, verified } = self.counts;
        let slowest = self.checkpoints.iter().max().copied().unwrap_or_default();
        let mut sorted = self.checkpoints.clone();
        sorted.sort();
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        write!(
            f,
            "soak: seed {}, {} torrents: {}; {accepted} files in ({not_accepted} unanswered), {read} read under faults ({not_read} not \
             at that moment), {removed} removed ({not_removed} unanswered); {} checkpoints, at rest after {:.1} s (median) to {:.1} s, \
             {verified} files read back; {:.0} s in all; violations: {}",
            self.options.seed,
            self.options.torrents,
            self.faults,
            self.checkpoints.len(),
            middle.as_secs_f32(),
            slowest.as_secs_f32(),
            self.took.as_secs_f32(),
            self.violations.len()
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
