//! A deterministic service in one thread: the real machines under a simulated broker, clock and disk. A seed replays exactly.
//!
//! | file | what is there |
//! |---|---|
//! | `cluster`, `time`, `clock` | the service, what users do with it, and how it goes on |
//! | `happenings` | what happens to participants: cut off, stopped, fallen |
//! | `broker`, `faults` | the bus, and what goes wrong on it |
//! | `tracker_node`, `torrent_node`, `fuse` | the shells around the real machines, and where they may end |
//! | `volume`, `store` | what daemons keep, and in some lives the real store on a simulated disk that has to keep the same |
//! | `spec_tracker`, `spec_torrent` | participants that know nothing but the specification |
//! | `fetching` | what the tracker gets from holders to repair it |
//! | `checks` | what must hold at rest, and over the whole trace |
//! | `life` | lives drawn from a seed: faults, users, and a ledger of what was promised |

pub mod broker;
mod checks;
mod clock;
mod cluster;
mod content;
mod faults;
mod fetching;
mod fuse;
mod happenings;
pub mod life;
mod node;
mod rng;
mod spec_torrent;
mod spec_tracker;
mod store;
mod time;
mod torrent_node;
mod tracker_node;
mod volume;

pub use broker::{Broker, MOSQUITTO, Message, NATS, Order, Profile, Publication};
pub use checks::Unrest;
pub use clock::Clock;
pub use cluster::{Cluster, FRAGMENT_SIZE_BYTES, client, tracker_config};
pub use content::Content;
pub use faults::{Fate, Faults, Nth, Rule, Weather};
pub use fetching::Fetch;
pub use fuse::{Blown, Fuse};
pub use node::Node;
pub use rng::Rng;
pub use spec_torrent::{SpecTorrent, Standing};
pub use spec_tracker::SpecTracker;
pub use store::RealStore;
pub use torrent_node::{TorrentDisk, TorrentNode, TorrentSetup, Writes};
pub use tracker_node::{Outcome, TrackerDisk, TrackerNode};
pub use volume::Volume;
