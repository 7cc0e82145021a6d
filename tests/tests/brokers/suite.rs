//! What the daemons need of any broker, seen from outside: the same functions for every broker.
//!
//! Those that take the broker as it is may run at the same time: each has a topic prefix of its own, with which the names of its
//! torrents begin. On a broker of several nodes every daemon is at another node than the one before it.

use std::io::Cursor;
use std::net::SocketAddr;

use mds_tests::brokers::State;
use mds_tests::client::{Client, agree};
use mds_tests::daemons::{Daemon, Site};
use mds_tests::recorder::Recorder;
use mds_tests::specification::sha256;
use mds_tests::wait::until;

/// A broker that runs.
pub trait RunningBroker {
    /// What the daemons are told: one URL for each node.
    fn urls(&self) -> Vec<String>;

    /// Where somebody else may listen: at the first node.
    fn address(&self) -> SocketAddr;

    /// Ends it and starts it again at the same place.
    fn restart(&mut self, state: State);
}

/// Makes a test of each function of the suite, on the broker that they share, unless it is not installed. `of_what_it_keeps` leaves out what
/// begins with losing all of that.
macro_rules! suite_on {
    ($broker:expr, $is_installed:expr) => {
        crate::suite::suite_on! { $broker, $is_installed, of_what_it_keeps }
        crate::suite::suite_on! {
            $broker, $is_installed, write: all_are_registered_again_when_it_restarts_with_nothing,
        }
    };
    ($broker:expr, $is_installed:expr, of_what_it_keeps) => {
        crate::suite::suite_on! {
            $broker, $is_installed, read:
            torrents_join_and_a_file_comes_back_from_each_of_them,
            a_torrent_that_leaves_says_goodbye_and_is_unregistered,
            the_last_will_tells_of_a_torrent_that_is_killed,
            the_last_will_tells_of_a_tracker_that_is_killed,
            a_second_tracker_ends_with_code_5_while_the_first_is_online,
            a_tracker_that_takes_over_learns_what_the_torrents_have,
        }
        crate::suite::suite_on! {
            $broker, $is_installed, write: all_are_registered_again_when_it_restarts_with_what_it_keeps,
        }
    };
    ($broker:expr, $is_installed:expr, read: $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if $is_installed {
                    crate::suite::$name(&*$broker.read().await).await;
                }
            }
        )+
    };
    ($broker:expr, $is_installed:expr, write: $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if $is_installed {
                    crate::suite::$name(&mut *$broker.write().await).await;
                }
            }
        )+
    };
}
pub(crate) use suite_on;

/// Fragments that every broker lets through, and small enough that a small file has several.
const FRAGMENT_SIZE: &str = "65536";

/// Every daemon is started as a service is: a broker that does not take it at once is asked again.
const TORRENT: [&str; 1] = ["--retry-connect"];
const TRACKER: [&str; 5] = ["--retry-connect", "--copies", "2", "--fragment-size", FRAGMENT_SIZE];

/// A daemon and a client for it.
pub struct Server {
    pub daemon: Daemon,
    pub client: Client,
}

impl Server {
    async fn of(mut daemon: Daemon) -> Self {
        let client = Client::of(&daemon.endpoint().await);
        Self { daemon, client }
    }

    /// How often a torrent has been registered.
    pub fn registrations(&self) -> usize {
        self.daemon.count_in_output("registered revision=")
    }
}

/// A tracker and torrents that have joined it.
pub struct Service {
    site: Site,
    name: &'static str,
    pub tracker: Server,
    pub torrents: Vec<Server>,
}

impl Service {
    /// The service behind the prefix `name`.
    pub async fn start(broker: &impl RunningBroker, name: &'static str, torrents: usize) -> Self {
        let site = Site::at_nodes(broker.urls()).with_topic_prefix(name);
        let tracker = Server::of(site.tracker("tracker", &TRACKER)).await;
        let mut service = Self { site, name, tracker, torrents: Vec::new() };
        for number in 0..torrents {
            let torrent = service.site.torrent(&service.id(number), &TORRENT);
            service.torrents.push(Server::of(torrent).await);
        }
        service.all_have_joined().await;
        service
    }

    /// What the torrent with this number is called.
    fn id(&self, number: usize) -> String {
        format!("{}-t{number}", self.name)
    }

    /// Starts another tracker.
    fn second_tracker(&self, arguments: &[&str]) -> Daemon {
        self.site.tracker("second", &[&TRACKER, arguments].concat())
    }

    pub async fn all_have_joined(&self) {
        self.tracker.client.counts_torrents(i32::try_from(self.torrents.len()).unwrap()).await;
        agree(&self.clients()).await;
    }

    fn clients(&self) -> Vec<Client> {
        std::iter::once(&self.tracker).chain(&self.torrents).map(|server| server.client.clone()).collect()
    }

    /// Puts a file in that no other call has put in, and waits until it has two copies and comes back from every torrent.
    pub async fn passes_a_file_on(&self, seed: u8) {
        let bytes: Vec<u8> =
            (0..600_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect();
        let (expected, size_bytes) = (sha256(&bytes), bytes.len() as u64);
        let digest = self.tracker.client.put("file.bin", Cursor::new(bytes)).await;
        assert_eq!(digest, expected);
        self.tracker.client.counts_copies(&digest, 2).await;
        agree(&self.clients()).await;
        for torrent in &self.torrents {
            torrent.client.gives_back(&digest, size_bytes).await;
        }
    }
}

pub async fn torrents_join_and_a_file_comes_back_from_each_of_them(broker: &impl RunningBroker) {
    let recorder = Recorder::start_behind(broker.address(), "main-job").await;
    let mut service = Service::start(broker, "main-job", 3).await;
    service.passes_a_file_on(1).await;
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        heard.assert_identifiers_are_unique();
    });
}

pub async fn a_torrent_that_leaves_says_goodbye_and_is_unregistered(broker: &impl RunningBroker) {
    let recorder = Recorder::start_behind(broker.address(), "goodbye").await;
    let mut service = Service::start(broker, "goodbye", 2).await;
    let id = service.id(1);
    service.torrents[1].daemon.stop().await;
    assert_eq!(recorder.hears_of("ClientUnregistered", &id).await.text("Reason"), "Leaving");
    service.tracker.client.counts_torrents(1).await;
    // What the tracker says next comes after a will, if there is one.
    service.tracker.daemon.stop().await;
    recorder.hears("the tracker's goodbye", 1, |record| record.is("TrackerGoodbye")).await;
    recorder.look(|heard| {
        heard.assert_all_valid();
        let of_it = heard.events.iter().filter(|record| record.is("ClientGoodbye") && record.client() == id);
        assert!(of_it.into_iter().all(|goodbye| goodbye.text("Reason") == "Leaving"), "there is a will");
    });
}

pub async fn the_last_will_tells_of_a_torrent_that_is_killed(broker: &impl RunningBroker) {
    let recorder = Recorder::start_behind(broker.address(), "will").await;
    let mut service = Service::start(broker, "will", 2).await;
    service.torrents[1].daemon.kill();
    let id = service.id(1);
    assert_eq!(recorder.hears_of("ClientGoodbye", &id).await.text("Reason"), "ConnectionLost");
    service.tracker.client.counts_torrents(1).await;

    service.torrents[1] = Server::of(service.site.torrent(&id, &TORRENT)).await;
    service.all_have_joined().await;
    service.passes_a_file_on(2).await;
}

pub async fn the_last_will_tells_of_a_tracker_that_is_killed(broker: &impl RunningBroker) {
    let recorder = Recorder::start_behind(broker.address(), "tracker-will").await;
    let mut service = Service::start(broker, "tracker-will", 1).await;
    service.tracker.daemon.kill();
    recorder.hears("the tracker's will", 1, |record| record.is("TrackerGoodbye")).await;
    service.torrents[0].daemon.says("no longer registered").await;

    // The same tracker again, and the hello that the broker may have kept is its own.
    service.tracker = Server::of(service.site.tracker("tracker", &TRACKER)).await;
    service.all_have_joined().await;
    recorder.look(|heard| heard.assert_all_valid());
}

pub async fn a_second_tracker_ends_with_code_5_while_the_first_is_online(broker: &impl RunningBroker) {
    let mut service = Service::start(broker, "refused", 1).await;
    let before = service.torrents[0].registrations();
    let mut second = service.second_tracker(&[]);
    assert_eq!(second.exit_code().await, Some(5), "{}", second.output());
    assert!(second.output().contains("another tracker is online"), "{}", second.output());
    assert!(service.tracker.daemon.is_running());
    assert_eq!(service.torrents[0].registrations(), before, "nobody had to join again");
    service.all_have_joined().await;
}

pub async fn a_tracker_that_takes_over_learns_what_the_torrents_have(broker: &impl RunningBroker) {
    let mut service = Service::start(broker, "take-over", 2).await;
    service.passes_a_file_on(3).await;
    let second = Server::of(service.second_tracker(&["--takeover"])).await;
    let mut first = std::mem::replace(&mut service.tracker, second);
    assert_eq!(first.daemon.exit_code().await, Some(5), "{}", first.daemon.output());
    service.all_have_joined().await;
    service.passes_a_file_on(4).await;
}

pub async fn all_are_registered_again_when_it_restarts_with_what_it_keeps(broker: &mut impl RunningBroker) {
    all_are_registered_again(broker, "kept", State::Kept).await;
}

pub async fn all_are_registered_again_when_it_restarts_with_nothing(broker: &mut impl RunningBroker) {
    all_are_registered_again(broker, "lost", State::Lost).await;
}

async fn all_are_registered_again(broker: &mut impl RunningBroker, name: &'static str, state: State) {
    let mut service = Service::start(broker, name, 2).await;
    service.passes_a_file_on(5).await;
    let before: Vec<usize> = service.torrents.iter().map(Server::registrations).collect();
    broker.restart(state);
    for (torrent, before) in service.torrents.iter().zip(before) {
        until("every torrent is registered again", async || torrent.registrations() > before).await;
    }
    service.all_have_joined().await;
    assert!(service.tracker.daemon.is_running());
    service.passes_a_file_on(6).await;
}
