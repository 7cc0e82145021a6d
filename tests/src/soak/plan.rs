//! What is done to whom, from a seed.

use std::time::Duration;

use crate::sim::Rng;

/// Who suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The tracker in charge.
    Tracker,
    /// The torrent at this place.
    Torrent(usize),
    /// The broker.
    Broker,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, then a new start on the same disk.
    Kill,
    /// The same; a broker's disk is emptied before it starts again.
    KillAndForget,
    /// SIGSTOP, then SIGCONT.
    Halt,
    /// SIGTERM, then a new start.
    Restart,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Who.
    pub victim: Victim,
    /// What.
    pub fault: Fault,
    /// How many further steps pass before it is put right.
    pub lasts: usize,
    /// What passes before the next step.
    pub then_wait: Duration,
}

/// What may happen when everything has its copies and nothing else goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upheaval {
    /// Nothing.
    None,
    /// The torrent at this place loses its disk.
    WipedTorrent(usize),
    /// The tracker dies with its disk, and one on standby, with an empty disk, takes over.
    TakeOver,
}

/// The longest wait between two steps.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);

/// Draws the steps.
#[derive(Debug)]
pub struct Plan(Rng);

impl Plan {
    pub const fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// The next fault.
    pub fn next(&mut self, torrents: usize) -> Step {
        let rng = &mut self.0;
        let victim = match rng.below(10) {
            0 | 1 => Victim::Broker,
            2..5 => Victim::Tracker,
            _ => Victim::Torrent(rng.below(torrents)),
        };
        let fault = match rng.below(10) {
            0..4 => Fault::Kill,
            4 | 5 => Fault::KillAndForget,
            6..9 => Fault::Halt,
            _ => Fault::Restart,
        };
        Step { victim, fault, lasts: rng.below(5), then_wait: rng.wait(LONGEST_WAIT) }
    }

    /// What happens after a checkpoint.
    pub fn upheaval(&mut self, torrents: usize) -> Upheaval {
        match self.0.below(3) {
            0 => Upheaval::None,
            1 => Upheaval::WipedTorrent(self.0.below(torrents)),
            _ => Upheaval::TakeOver,
        }
    }
}
