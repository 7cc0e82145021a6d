//! What is drawn for a life before it begins: who is there, how the bus is, and which faults there are and how often (swarm testing: a
//! life with few kinds of faults goes further into each than one that has them all).

use std::time::Duration;

use distribution::{Copies, TrackerConfig};

use crate::sim::broker::{PROFILES, Profile};
use crate::sim::cluster::tracker_config;
use crate::sim::faults::Weather;
use crate::sim::rng::Rng;

use super::figures::Fault;

/// What a life is like.
#[derive(Debug, Clone)]
pub struct Setting {
    /// How many torrents there are.
    pub torrents: usize,
    /// How many copies are aimed at.
    pub copies: Copies,
    /// How the broker behaves.
    pub profile: Profile,
    /// How long they take.
    pub latency: Duration,
    /// What happens to them on the way.
    pub weather: Weather,
    /// How long a torrent may take to write a fragment, each.
    pub writes: Vec<Duration>,
    /// How many milliseconds the clocks gain each second, the tracker's first.
    pub drift_per_mille: Vec<i64>,
    /// Most fragments of a file.
    pub fragments: usize,
    /// What goes wrong, each as often as its number says.
    pub faults: Vec<(Fault, usize)>,
    /// How often something goes wrong, out of a hundred; else a user does something.
    pub faults_of_hundred: usize,
    /// Whether disks are destroyed beyond what is promised.
    pub is_cruel: bool,
    /// Whether the torrents keep their fragments in the real store.
    pub is_stored: bool,
    /// Whether the daemons take several inputs in one turn of their event loops.
    pub gathers: bool,
    /// For how long things happen.
    pub stretch: Duration,
    /// The longest pause between two of them.
    pub pause: Duration,
}

impl Setting {
    /// Draws a setting.
    pub fn draw(draw: &mut Rng) -> Self {
        let torrents = 1 + draw.below(6);
        let writes = |draw: &mut Rng| Duration::from_millis([2, 2, 50, 500, 3_000, 12_000][draw.below(6)]);
        let drifts = draw.chance(1, 3);
        let drift =
            |draw: &mut Rng| if drifts { i64::try_from(draw.below(101)).unwrap_or(50) - 50 } else { 0 };
        let weather = if draw.chance(1, 5) {
            Weather::default()
        } else {
            let swallowed = if draw.chance(1, 3) { draw.below(20) } else { 0 };
            Weather {
                dropped: draw.below(40),
                duplicated: draw.below(100),
                delayed: draw.below(100),
                swallowed,
            }
        };
        Self {
            torrents,
            copies: ["1", "2", "2", "2", "3", "3", "all"][draw.below(7)].parse().expect("copies"),
            profile: Self::profile(draw),
            latency: Duration::from_millis([0, 2, 20, 100, 400][draw.below(5)]),
            weather,
            writes: (0..torrents).map(|_| writes(draw)).collect(),
            drift_per_mille: (0..=torrents).map(|_| drift(draw)).collect(),
            fragments: [2, 6, 12, 20][draw.below(4)],
            faults: Fault::ALL.iter().filter_map(|fault| Self::weight(*fault, draw)).collect(),
            faults_of_hundred: 20 + draw.below(60),
            is_cruel: draw.chance(1, 8),
            is_stored: draw.chance(1, 6),
            gathers: draw.chance(1, 2),
            stretch: Duration::from_secs(120 + draw.below(90) as u64),
            pause: Duration::from_millis([500, 3_000, 8_000, 20_000][draw.below(4)]),
        }
    }

    /// Queues overflow seldom with so few torrents, so some are shorter than any broker's.
    fn profile(draw: &mut Rng) -> Profile {
        let profile = PROFILES[draw.below(PROFILES.len())];
        let queue = profile.queue.min([usize::MAX, usize::MAX, 200, 40, 12][draw.below(5)]);
        Profile { queue, ..profile }
    }

    fn weight(fault: Fault, draw: &mut Rng) -> Option<(Fault, usize)> {
        draw.chance(2, 3).then(|| (fault, 1 + draw.below(6)))
    }

    /// With which the tracker starts.
    #[must_use]
    pub fn tracker_config(&self) -> TrackerConfig {
        TrackerConfig { copies: self.copies, ..tracker_config() }
    }

    /// The name of a torrent by its number.
    #[must_use]
    pub fn torrent(number: usize) -> String {
        format!("t{number}")
    }
}
