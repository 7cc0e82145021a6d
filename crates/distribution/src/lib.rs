//! What is decided: the Distribution View, the placement of fragments, and the state machines of tracker and torrent.
//!
//! Nothing here waits, reads a clock, touches a disk or a network, or draws a random number: inputs are handed in with the time, and what
//! follows comes out as commands. So a whole service runs in one thread under simulated ones, and a seed replays exactly.

mod candidates;
pub mod command;
pub mod copies;
pub mod fragmenting;
pub mod ids;
pub mod limits;
pub mod placement;
pub mod rules;
pub mod time;
pub mod torrent;
pub mod tracker;
mod undeleted;
pub mod view;

pub use command::{Audience, RequestId, RequestRefused, TorrentCommand, TrackerCommand};
pub use copies::Copies;
pub use time::Moment;
pub use torrent::{Torrent, TorrentConfig, TorrentInput};
pub use tracker::{Tracker, TrackerConfig, TrackerInput};
