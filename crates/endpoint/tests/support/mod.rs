//! Daemons in this process: each has its own event loop, disk and server, on a runtime of its own so that it can die at once.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use distribution::Copies;
use distribution::view::{Change, FileInfo, Registration, View};
use endpoint::catalog::CatalogHandle;
use endpoint::client::Cluster;
use endpoint::{
    Catalog, EndpointApi, Feed, Fragments, ReadError, ReadLimits, Role, ServerState, ServerStatus, Services,
    Verified, serve,
};
use protocol::{ClientId, EndpointUri, Hash};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

/// Fragment size of all tests, in bytes.
pub const FRAGMENT_SIZE: usize = 1024;

/// Content that differs from fragment to fragment.
pub fn content(length: usize) -> Bytes {
    (0..length).map(|at| (at / 7 + at / FRAGMENT_SIZE * 31) as u8).collect()
}

/// The fragments of a content, in order.
pub fn fragments_of(content: &[u8]) -> Vec<(Hash, Bytes)> {
    content.chunks(FRAGMENT_SIZE).map(|chunk| (Hash::of(chunk), Bytes::copy_from_slice(chunk))).collect()
}

/// How a daemon's disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    Sound,
    /// Delivers every fragment with one bit flipped.
    Lying,
    /// Says of every fragment that it is damaged.
    Damaged,
    /// Never answers.
    Frozen,
    /// Says that it has the fragments and then that it has not.
    Forgetful,
}

/// The disk of a daemon.
pub struct FakeDisk {
    fragments: HashMap<Hash, Bytes>,
    disk: Disk,
    thaw: Arc<(Mutex<bool>, Condvar)>,
    pub reads: AtomicU64,
    /// What it had once.
    lost: Mutex<BTreeSet<Hash>>,
}

impl Fragments for FakeDisk {
    fn read(&self, fragment: &Hash) -> Result<Bytes, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let content = self.fragments.get(fragment).ok_or(ReadError::Missing)?;
        match self.disk {
            Disk::Sound => Ok(content.clone()),
            Disk::Lying => {
                let mut bytes = content.to_vec();
                bytes[0] ^= 1;
                Ok(bytes.into())
            }
            Disk::Damaged => Err(ReadError::Damaged),
            Disk::Forgetful => Err(ReadError::Missing),
            Disk::Frozen => {
                let (is_thawed, changed) = &*self.thaw;
                let _guard = changed.wait_while(is_thawed.lock().unwrap(), |is_thawed| !*is_thawed).unwrap();
                Err(ReadError::Missing)
            }
        }
    }

    fn size_of(&self, fragment: &Hash) -> Option<u64> {
        let content = self.fragments.get(fragment).filter(|_| !self.lost.lock().unwrap().contains(fragment));
        content.map(|content| content.len() as u64)
    }

    fn verify(&self, fragment: &Hash) -> Result<u64, ReadError> {
        let content = self.read(fragment)?;
        if Hash::of(&content) == *fragment { Ok(content.len() as u64) } else { Err(ReadError::Damaged) }
    }

    /// A fragment a step.
    fn verify_next(&self, after: Option<&Hash>, _: u64) -> Result<Verified, ReadError> {
        let mut behind: Vec<Hash> =
            self.fragments.keys().filter(|hash| after.is_none_or(|after| *hash > after)).copied().collect();
        behind.sort();
        let Some(hash) = behind.first().copied() else { return Ok(Verified::default()) };
        let next = behind.get(1).map(|_| hash);
        let bytes = self.size_of(&hash).unwrap_or_default();
        let mut verified = Verified { fragments: 1, bytes, next, ..Verified::default() };
        match self.verify(&hash) {
            Ok(_) => {}
            Err(ReadError::Damaged) => verified.damaged.push(hash),
            Err(ReadError::Missing | ReadError::Io(_)) => verified.unread.push(hash),
        }
        Ok(verified)
    }
}

struct FakeCatalog {
    id: String,
    role: Role,
    view: View,
    servers: Vec<ServerStatus>,
    trackers: Vec<EndpointUri>,
    disk: Arc<FakeDisk>,
}

impl Catalog for FakeCatalog {
    fn view(&self) -> &View {
        &self.view
    }
    fn stores(&self, fragment: &Hash) -> bool {
        self.disk.size_of(fragment).is_some()
    }
    fn copies(&self) -> Copies {
        Copies::from_number(2)
    }
    fn servers(&self) -> Vec<ServerStatus> {
        self.servers.clone()
    }
    fn broker_connected(&self) -> bool {
        false
    }
    fn tracker_online(&self) -> bool {
        self.role == Role::Tracker
    }
    fn role(&self) -> Role {
        self.role
    }
    fn id(&self) -> &str {
        &self.id
    }
    fn tracker_endpoints(&self) -> Vec<EndpointUri> {
        self.trackers.clone()
    }
}

/// A daemon to be started.
pub struct Plan {
    pub id: &'static str,
    pub role: Role,
    pub disk: Disk,
    pub fragments: Vec<(Hash, Bytes)>,
    /// Whether others take it for suspect.
    pub is_suspect: bool,
    /// What it announces in place of its real endpoint.
    pub announced: Option<EndpointUri>,
}

impl Plan {
    /// A torrent with a sound disk that has these fragments.
    pub fn torrent(id: &'static str, fragments: &[(Hash, Bytes)]) -> Self {
        let fragments = fragments.to_vec();
        Self { id, role: Role::Torrent, disk: Disk::Sound, fragments, is_suspect: false, announced: None }
    }

    /// A tracker that has these fragments, which nobody knows.
    pub fn tracker(fragments: &[(Hash, Bytes)]) -> Self {
        Self { id: "tracker", role: Role::Tracker, ..Self::torrent("tracker", fragments) }
    }

    pub fn disk(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    pub fn announced(self, endpoint: &str) -> Self {
        Self { announced: Some(endpoint.parse().unwrap()), ..self }
    }

    pub fn suspect(self) -> Self {
        Self { is_suspect: true, ..self }
    }
}

/// What happens to a daemon's knowledge.
pub enum Happening {
    Changes(Vec<Change>),
    State(&'static str, ServerState),
    /// Its own copies are gone.
    Lost(Vec<Hash>),
}

/// A running daemon. Dropping it kills it: its connections break.
pub struct Daemon {
    pub endpoint: EndpointUri,
    pub disk: Arc<FakeDisk>,
    thaw: Arc<(Mutex<bool>, Condvar)>,
    /// Steps of its view, and states of servers.
    pub happen: mpsc::UnboundedSender<Happening>,
    feed: Feed,
    runtime: Option<Runtime>,
    end: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Daemon {
    /// Asks the server to end, as a signal does.
    pub fn ask_to_end(&mut self) {
        self.feed.end();
        let _ = self.end.take().unwrap().send(());
    }

    /// The same, where it may have been asked already.
    pub fn ask_to_end_once(&mut self) {
        if self.end.is_some() {
            self.ask_to_end();
        }
    }

    /// Waits until the server has ended by itself.
    pub async fn ended(&mut self) {
        self.ended.take().unwrap().await.unwrap();
    }

    /// Lets the reads of a frozen disk end.
    pub fn thaw(&self) {
        *self.thaw.0.lock().unwrap() = true;
        self.thaw.1.notify_all();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.thaw();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A file that all daemons know of.
pub struct KnownFile {
    pub hash: Hash,
    pub info: FileInfo,
}

impl KnownFile {
    pub fn of(content: &[u8], name: Option<&str>) -> Self {
        let fragments = fragments_of(content).into_iter().map(|(hash, _)| hash).collect();
        let name = name.map(|name| name.parse().unwrap());
        Self { hash: Hash::of(content), info: FileInfo { size_bytes: content.len() as u64, fragments, name } }
    }
}

/// A loopback address that no other daemon of this process has: so that nobody answers at the endpoint of one that died, whatever ports
/// other tests are given meanwhile.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [.., high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// Starts daemons that all have the same view: these files, and the torrents among `plans` as holders of what they have.
pub fn start(files: &[KnownFile], plans: Vec<Plan>) -> Vec<Daemon> {
    let listeners: Vec<_> =
        plans.iter().map(|_| std::net::TcpListener::bind((own_address(), 0)).unwrap()).collect();
    let endpoints: Vec<EndpointUri> = listeners
        .iter()
        .map(|listener| format!("grpc://{}", listener.local_addr().unwrap()).parse().unwrap())
        .collect();

    let mut view = View::new();
    view.apply(&Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE as u64 }).unwrap();
    for file in files {
        view.apply(&Change::FilePublished { hash: file.hash, file: file.info.clone() }).unwrap();
    }
    let mut states = BTreeMap::new();
    for (plan, endpoint) in plans.iter().zip(&endpoints).filter(|(plan, _)| plan.role == Role::Torrent) {
        let client: ClientId = plan.id.parse().unwrap();
        let state = if plan.is_suspect { ServerState::Suspect } else { ServerState::Registered };
        states.insert(client.clone(), state);
        view.apply(&Change::ClientRegistered {
            client,
            registration: Registration {
                endpoints: BTreeSet::from([plan.announced.as_ref().unwrap_or(endpoint).clone()]),
                capacity_bytes: Some(1 << 30),
                zone: None,
            },
            stored: plan.fragments.iter().map(|(hash, _)| *hash).collect(),
        })
        .unwrap();
    }
    let servers: Vec<ServerStatus> = view
        .clients()
        .iter()
        .map(|(id, client)| ServerStatus {
            state: states[id],
            ..ServerStatus::registered(id.clone(), client, Some(SystemTime::UNIX_EPOCH))
        })
        .collect();
    let is_tracker = |(plan, _): &(&Plan, &EndpointUri)| plan.role == Role::Tracker;
    let trackers: Vec<EndpointUri> =
        plans.iter().zip(&endpoints).filter(is_tracker).map(|(_, endpoint)| endpoint.clone()).collect();
    let daemons = plans.into_iter().zip(listeners).zip(endpoints);
    daemons
        .map(|((plan, listener), endpoint)| {
            start_one(plan, listener, endpoint, view.clone(), servers.clone(), trackers.clone())
        })
        .collect()
}

fn start_one(
    plan: Plan,
    listener: std::net::TcpListener,
    endpoint: EndpointUri,
    view: View,
    servers: Vec<ServerStatus>,
    trackers: Vec<EndpointUri>,
) -> Daemon {
    let thaw = Arc::new((Mutex::new(false), Condvar::new()));
    let disk = Arc::new(FakeDisk {
        fragments: plan.fragments.into_iter().collect(),
        disk: plan.disk,
        thaw: Arc::clone(&thaw),
        reads: AtomicU64::new(0),
        lost: Mutex::default(),
    });
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (catalog, mut questions) = CatalogHandle::channel(16);
    let (id, role, own) = (plan.id.into(), plan.role, disk.clone());
    let mut fake = FakeCatalog { id, role, view, servers, trackers, disk: own };
    let feed = catalog.feed().clone();
    let (happen, mut happenings) = mpsc::unbounded_channel();
    let noted = feed.clone();
    runtime.spawn(async move {
        loop {
            tokio::select! {
                Some(question) = questions.recv() => question(&fake),
                Some(happening) = happenings.recv() => match happening {
                    Happening::Changes(changes) => {
                        changes.iter().for_each(|change| fake.view.apply(change).unwrap());
                        noted.note(&changes);
                    }
                    Happening::Lost(fragments) => {
                        fake.disk.lost.lock().unwrap().extend(&fragments);
                        noted.note_stored(&fragments);
                    }
                    Happening::State(id, state) => {
                        fake.servers.iter_mut().find(|server| server.id.as_str() == id).unwrap().state = state;
                    }
                },
                else => return,
            }
        }
    });
    listener.set_nonblocking(true).unwrap();
    let patience = std::time::Duration::from_secs(2);
    let limits = ReadLimits { patience, peer_patience: patience, ..ReadLimits::default() };
    let api = EndpointApi::new(catalog, disk.clone(), limits);
    let (end, ended) = oneshot::channel::<()>();
    let (told, told_of_end) = oneshot::channel();
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let services = Services::new().with(api.into_service());
        // A test that does not ask for the end keeps the sender until the daemon is dropped.
        serve(listener, services, async { drop(ended.await) }).await.unwrap();
        let _ = told.send(());
    });
    let runtime = Some(runtime);
    Daemon { endpoint, disk, thaw, happen, feed, runtime, end: Some(end), ended: Some(told_of_end) }
}

/// A client that knows only the first of the daemons.
pub async fn connect(daemons: &[Daemon]) -> Cluster {
    Cluster::connect([daemons[0].endpoint.clone()]).await.unwrap()
}
