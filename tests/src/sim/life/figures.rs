//! What happened in one life or in many: counts of faults, and how much time went by.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process ends at once (kill -9).
    Crash,
    /// A process ends at one of the next points before or after something is made durable, or said.
    CrashPoint,
    /// A torrent says goodbye and comes back.
    Leave,
    /// A connection breaks, and both sides notice.
    Cut,
    /// A process connects again while its connection stands.
    TakeOver,
    /// A process is stopped for a while (SIGSTOP).
    Pause,
    /// Nothing gets through between a participant and the broker for a while.
    Partition,
    /// Several machines, or all, lose their power at once, the broker too.
    PowerCut,
    /// The broker ends and starts again.
    BrokerRestart,
    /// A disk refuses to write for a while.
    FullDisk,
    /// A disk gives nothing back for a while: every reading fails, and says nothing of the bytes.
    Unreadable,
    /// The disk of a torrent is replaced by an empty one.
    WipedTorrent,
    /// The disk of the tracker is replaced by an empty one.
    WipedTracker,
    /// Bits flip on a disk.
    Rot,
    /// Somebody reads everything on a disk.
    Scrub,
    /// Somebody starts a second tracker, with an empty disk.
    SecondTracker,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Crash,
        Self::CrashPoint,
        Self::Leave,
        Self::Cut,
        Self::TakeOver,
        Self::Pause,
        Self::Partition,
        Self::PowerCut,
        Self::BrokerRestart,
        Self::FullDisk,
        Self::Unreadable,
        Self::WipedTorrent,
        Self::WipedTracker,
        Self::Rot,
        Self::Scrub,
        Self::SecondTracker,
    ];
}

/// Counts over one life or many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Lives.
    pub seeds: u64,
    /// Simulated time, of a whole service.
    pub simulated: Duration,
    /// The longest that it took until everything was well after the faults had ended.
    pub longest_healing: Duration,
    /// Inputs handed to machines.
    pub steps: u64,
    /// Uploads accepted.
    pub accepted: u64,
    /// Files deleted.
    pub removed: u64,
    /// Files that a life ends with and that have to be whole.
    pub kept: u64,
    /// Files that were destroyed beyond what is promised.
    pub excused: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<String, u64>,
}

impl Figures {
    /// Something happened once more.
    pub fn count(&mut self, what: impl Into<String>) {
        self.count_many(what, 1);
    }

    /// Something happened so many times more.
    pub fn count_many(&mut self, what: impl Into<String>, times: u64) {
        *self.faults.entry(what.into()).or_default() += times;
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.longest_healing = self.longest_healing.max(other.longest_healing);
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.removed += other.removed;
        self.kept += other.kept;
        self.excused += other.excused;
        for (what, times) in other.faults {
            *self.faults.entry(what).or_default() += times;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        writeln!(f, "{} seeds, {hours:.1} cluster-hours, {} inputs", self.seeds, self.steps)?;
        writeln!(
            f,
            "{} uploads accepted, {} files deleted, {} kept to the end, {} destroyed beyond what is promised",
            self.accepted, self.removed, self.kept, self.excused
        )?;
        writeln!(f, "well again after {:.1} s at most", self.longest_healing.as_secs_f64())?;
        let faults: Vec<String> = self.faults.iter().map(|(what, times)| format!("{what} {times}")).collect();
        write!(f, "{}", faults.join(", "))
    }
}
