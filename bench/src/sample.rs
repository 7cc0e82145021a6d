//! One measurement, and what many of them come to.

use std::collections::BTreeMap;

use serde::Serialize;

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever puts or gets.
    Client,
    /// Who publishes.
    Tracker,
    /// Who stores.
    Torrent,
    /// Mosquitto.
    Broker,
}

/// What a process used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub role: Role,
    pub cpu_s: f64,
    pub peak_bytes: u64,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Floor,
    Ideal,
    Ours,
    BitTorrent,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    Put,
    Get,
}

/// What is measured how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    pub job: Job,
    pub subject: Subject,
    pub fragment_size_bytes: u64,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    pub key: Key,
    pub file_bytes: u64,
    pub wall_s: f64,
    pub cpu_s: BTreeMap<Role, f64>,
    /// The most of any one process.
    pub peak_bytes: BTreeMap<Role, u64>,
    /// On the disks of those who store, without the tracker's.
    pub disk_bytes: Option<u64>,
    /// The database of one torrent, for each fragment and copy in its view.
    pub view_disk_bytes: Option<f64>,
    /// What one torrent needs more of memory after a restart than an empty one, for each fragment and copy.
    pub view_memory_bytes: Option<f64>,
}

impl Sample {
    pub fn new(key: Key, file_bytes: u64, wall_s: f64, usage: &[Usage]) -> Self {
        let (mut cpu_s, mut peak_bytes) = (BTreeMap::new(), BTreeMap::new());
        for Usage { role, cpu_s: seconds, peak_bytes: bytes } in usage {
            *cpu_s.entry(*role).or_default() += seconds;
            let peak: &mut u64 = peak_bytes.entry(*role).or_default();
            *peak = (*peak).max(*bytes);
        }
        let (disk_bytes, view_disk_bytes, view_memory_bytes) = (None, None, None);
        Self { key, file_bytes, wall_s, cpu_s, peak_bytes, disk_bytes, view_disk_bytes, view_memory_bytes }
    }

    /// MB of file a second.
    pub fn rate(&self) -> f64 {
        self.file_bytes as f64 / 1e6 / self.wall_s
    }

    /// CPU seconds for each GB of file, of one role or of all.
    pub fn cpu_per_gb(&self, role: Option<Role>) -> f64 {
        let of = self.cpu_s.iter().filter(|(of, _)| role.is_none_or(|role| role == **of));
        of.map(|(_, seconds)| seconds).sum::<f64>() / (self.file_bytes as f64 / 1e9)
    }
}

/// The middle of some figures, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[half] } else { (figures[half - 1] + figures[half]) / 2.0 };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle_whatever_the_order() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn processes_of_one_role_share_their_cpu_time_but_not_their_memory() {
        let key = Key { job: Job::Put, subject: Subject::Ours, fragment_size_bytes: 1 };
        let one = Usage { role: Role::Torrent, cpu_s: 1.0, peak_bytes: 5 };
        let other = Usage { cpu_s: 2.0, peak_bytes: 3, ..one };
        let sample = Sample::new(key, 2_000_000_000, 4.0, &[one, other]);
        assert_eq!((sample.rate(), sample.cpu_per_gb(None)), (500.0, 1.5));
        assert_eq!(sample.peak_bytes[&Role::Torrent], 5);
        assert_eq!(sample.cpu_per_gb(Some(Role::Client)), 0.0);
    }
}
