//! A running service: a broker, a tracker and some torrents, and a client for each daemon.

use mds_tests::client::{Client, agree};
use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::recorder::Recorder;

/// A daemon and a client for it.
#[derive(Debug)]
pub struct Server {
    pub daemon: Daemon,
    pub client: Client,
}

impl Server {
    /// Waits until the daemon listens.
    pub async fn of(mut daemon: Daemon) -> Self {
        let client = Client::of(&daemon.endpoint().await);
        Self { daemon, client }
    }
}

/// A tracker and torrents that have joined it. The broker is the test's.
#[derive(Debug)]
pub struct Service {
    pub tracker: Server,
    pub torrents: Vec<Server>,
    pub site: Site,
}

/// The identifiers of the torrents of a [`Service`].
pub const TORRENTS: [&str; 3] = ["t1", "t2", "t3"];

impl Service {
    /// Starts a tracker and the first `torrents` of [`TORRENTS`], and waits until all have joined.
    pub async fn start(site: Site, torrents: usize, of_tracker: &[&str]) -> Self {
        let tracker = site.tracker("tracker", of_tracker);
        let torrents: Vec<Daemon> = TORRENTS[..torrents].iter().map(|id| site.torrent(id, &[])).collect();
        let tracker = Server::of(tracker).await;
        let mut service = Self { tracker, torrents: Vec::new(), site };
        for torrent in torrents {
            service.torrents.push(Server::of(torrent).await);
        }
        service.all_have_joined().await;
        service
    }

    /// Waits until the tracker counts all torrents, and all know the same.
    pub async fn all_have_joined(&self) {
        let number = i32::try_from(self.torrents.len()).unwrap();
        self.tracker.client.counts_torrents(number).await;
        agree(&self.clients()).await;
    }

    /// All daemons.
    pub fn clients(&self) -> Vec<Client> {
        std::iter::once(&self.tracker).chain(&self.torrents).map(|server| server.client.clone()).collect()
    }
}

/// A Mosquitto, somebody who listens to it, and a site for daemons.
pub async fn recorded_site() -> (Mosquitto, Recorder, Site) {
    let broker = Mosquitto::start();
    let recorder = Recorder::start(broker.address(), None).await;
    let site = Site::new(broker.url());
    (broker, recorder, site)
}

/// Bytes without a pattern, different for each seed.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    };
    (0..size).map(|_| next()).collect()
}
