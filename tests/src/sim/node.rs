//! Whoever is on the bus.

use distribution::{Moment, TorrentInput, TrackerInput};
use protocol::{ClientId, EventKind, Hash, Heard, Limits, Topics};

use super::broker::{Broker, Message, Publication};
use super::fuse::Fuse;
use super::rng::Rng;
use super::spec_torrent::{SpecTorrent, Standing};
use super::spec_tracker::SpecTracker;
use super::torrent_node::TorrentNode;
use super::tracker_node::TrackerNode;
use super::volume::Volume;

/// A participant: a real machine in its shell, or a hand-written one.
#[derive(Debug)]
pub enum Node {
    /// Our tracker.
    Tracker(Box<TrackerNode>),
    /// Our torrent.
    Torrent(Box<TorrentNode>),
    /// A tracker of the specification.
    SpecTracker(Box<SpecTracker>),
    /// A torrent of the specification.
    SpecTorrent(Box<SpecTorrent>),
}

impl Node {
    /// Connects to the broker, at a moment by the world's and its own clock; what the participant says at once follows.
    pub fn connect(
        &mut self,
        id: &ClientId,
        topics: &Topics,
        broker: &mut Broker,
        (now, local): (Moment, Moment),
        rng: &mut Rng,
    ) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => {
                let seen = broker.retained(&topics.shared(EventKind::TrackerHello)).and_then(epoch_of);
                let (epoch, instance, others_decided) = node.next_presence(seen.unwrap_or_default(), rng);
                let will = node.will(rng);
                broker.connect(id, node.subscriptions(), Some(will), now, rng);
                node.input(TrackerInput::Connected { epoch, instance, others_decided }, local)
            }
            Self::Torrent(node) => {
                let will = node.will(rng);
                broker.connect(id, node.subscriptions(), Some(will), now, rng);
                node.input(TorrentInput::Connected, local, rng)
            }
            Self::SpecTracker(node) => {
                broker.connect(id, node.subscriptions(), None, now, rng);
                vec![node.hello()]
            }
            Self::SpecTorrent(node) => {
                node.standing = Standing::Waiting;
                let will = node.goodbye();
                broker.connect(id, node.subscriptions(), Some(will), now, rng);
                Vec::new()
            }
        }
    }

    /// The connection is gone.
    pub fn connection_lost(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => node.input(TrackerInput::ConnectionLost, now),
            Self::Torrent(node) => node.input(TorrentInput::ConnectionLost, now, rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// A message arrived; what is no event is dropped, as in the daemons.
    pub fn hear(
        &mut self,
        message: &Message,
        topics: &Topics,
        now: Moment,
        rng: &mut Rng,
    ) -> Vec<Publication> {
        let Ok(heard) = protocol::decode(topics, &Limits::default(), &message.topic, &message.payload) else {
            return Vec::new();
        };
        match self {
            Self::Tracker(node) => node.hear(heard, now),
            Self::Torrent(node) => node.hear(heard, now, rng),
            Self::SpecTracker(node) => node.hear(heard),
            Self::SpecTorrent(node) => node.hear(heard),
        }
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn next_tick(&self) -> Option<Moment> {
        match self {
            Self::Tracker(node) => node.running()?.poll_timeout(),
            Self::Torrent(node) => node.running()?.poll_timeout(),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => node.input(TrackerInput::Tick, now),
            Self::Torrent(node) => node.input(TorrentInput::Tick, now, rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// Whether it has gathered inputs and carried nothing out yet.
    #[must_use]
    pub const fn is_in_turn(&self) -> bool {
        match self {
            Self::Tracker(node) => node.is_in_turn(),
            Self::Torrent(node) => node.is_in_turn(),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => false,
        }
    }

    /// The turn of its event loop ends.
    pub fn end_turn(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => node.end_turn(now),
            Self::Torrent(node) => node.end_turn(now, rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// When a fragment arrives that it fetches.
    #[must_use]
    pub fn next_fetch(&self) -> Option<Moment> {
        match self {
            Self::Tracker(node) => node.fetches.iter().map(|fetch| fetch.done).min(),
            Self::Torrent(_) | Self::SpecTracker(_) | Self::SpecTorrent(_) => None,
        }
    }

    /// When its disk is done with something.
    #[must_use]
    pub fn next_write(&self) -> Option<Moment> {
        match self {
            Self::Torrent(node) => node.next_write(),
            Self::Tracker(_) | Self::SpecTracker(_) | Self::SpecTorrent(_) => None,
        }
    }

    /// Its disk is done with something.
    pub fn end_write(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Torrent(node) => node.end_write(now, rng),
            Self::Tracker(_) | Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// Says goodbye.
    pub fn shut_down(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => {
                let said = node.order(TrackerInput::ShutDown, now);
                node.crash();
                said
            }
            Self::Torrent(node) => {
                let said = node.order(TorrentInput::ShutDown, now, rng);
                node.crash();
                said
            }
            Self::SpecTracker(node) => vec![node.goodbye()],
            Self::SpecTorrent(node) => vec![node.goodbye()],
        }
    }

    /// The process ends at once.
    pub fn crash(&mut self) {
        match self {
            Self::Tracker(node) => node.crash(),
            Self::Torrent(node) => node.crash(),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => {}
        }
    }

    /// The process ends at once, and its disk holds what it was told to and perhaps some of what it was being told.
    pub fn fall(&mut self, rng: &mut Rng) {
        match self {
            Self::Tracker(node) => node.fall(rng),
            Self::Torrent(node) => node.fall(rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => {}
        }
    }

    /// Where its process ends.
    pub const fn fuse(&mut self) -> Option<&mut Fuse> {
        match self {
            Self::Tracker(node) => Some(&mut node.fuse),
            Self::Torrent(node) => Some(&mut node.fuse),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => None,
        }
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        match self {
            Self::Tracker(node) => node.running().is_some(),
            Self::Torrent(node) => node.running().is_some(),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => true,
        }
    }

    /// Everything on its disk is read.
    pub fn scrub(&mut self, now: Moment, rng: &mut Rng) -> Vec<Publication> {
        match self {
            Self::Tracker(node) => node.scrub(now),
            Self::Torrent(node) => node.scrub(now, rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// Whether the good bytes of a fragment are on its disk.
    #[must_use]
    pub fn has_good(&self, fragment: &Hash) -> bool {
        match self {
            Self::Tracker(node) => node.disk.volume.has_good(fragment),
            Self::Torrent(node) => node.disk.volume.has_good(fragment),
            Self::SpecTorrent(node) => {
                node.stored.contains_key(fragment) || node.temporary.contains_key(fragment)
            }
            Self::SpecTracker(_) => false,
        }
    }

    /// Whether bad bytes of a fragment are on its disk and nobody has found them.
    #[must_use]
    pub fn has_rotten(&self, fragment: &Hash) -> bool {
        match self {
            Self::Tracker(node) => node.disk.volume.rotten.contains(fragment),
            Self::Torrent(node) => node.disk.volume.rotten.contains(fragment),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => false,
        }
    }

    /// What it keeps, if it keeps it as a daemon of ours does.
    pub const fn volume(&mut self) -> Option<&mut Volume> {
        match self {
            Self::Tracker(node) => Some(&mut node.disk.volume),
            Self::Torrent(node) => Some(&mut node.disk.volume),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => None,
        }
    }

    /// The fragments that it deleted since this was asked.
    pub fn take_deleted(&mut self) -> Vec<Hash> {
        match self {
            Self::Tracker(node) => std::mem::take(&mut node.deleted),
            Self::Torrent(node) => std::mem::take(&mut node.deleted),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => Vec::new(),
        }
    }

    /// Starts the process on what the disk holds.
    pub fn start(&mut self, rng: &mut Rng) {
        match self {
            Self::Tracker(node) => node.start(rng),
            Self::Torrent(node) => node.start(rng),
            Self::SpecTracker(_) | Self::SpecTorrent(_) => {}
        }
    }
}

fn epoch_of(message: &Message) -> Option<protocol::Epoch> {
    let heard = protocol::decode(&Topics::default(), &Limits::default(), &message.topic, &message.payload);
    match heard {
        Ok(Heard::Tracker { envelope, .. }) => envelope.epoch,
        Ok(Heard::Torrent { .. }) | Err(_) => None,
    }
}
