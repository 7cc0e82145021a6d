//! A whole service in one thread: a broker, a clock, a tracker, torrents, and whoever else is on the bus.
//!
//! Everything follows from the seed. One [`Cluster::step`] hands one input to one machine and checks what must hold at every instant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use distribution::limits::{Rhythm, TrackerLimits};
use distribution::{Copies, Moment, RequestId, Torrent, Tracker, TrackerConfig, TrackerInput};
use protocol::{ClientId, Hash, Topics};

use super::broker::{Broker, Publication};
use super::clock::Clock;
use super::content::Content;
use super::node::Node;
use super::rng::Rng;
use super::spec_torrent::SpecTorrent;
use super::spec_tracker::SpecTracker;
use super::time::Due;
use super::torrent_node::TorrentNode;
use super::tracker_node::{Outcome, TrackerNode};

/// The smallest fragment size, so that few bytes are many fragments.
pub const FRAGMENT_SIZE_BYTES: u64 = 1024;

/// The service.
#[derive(Debug)]
pub struct Cluster {
    /// Where all randomness comes from.
    pub rng: Rng,
    /// The bus.
    pub broker: Broker,
    /// The time.
    pub now: Moment,
    /// Inputs handed out so far.
    pub steps: usize,
    pub(super) topics: Topics,
    pub(super) nodes: BTreeMap<ClientId, Node>,
    ever: BTreeSet<ClientId>,
    uploads: BTreeMap<RequestId, Content>,
    removed: BTreeSet<Hash>,
    requests: u64,
    pub(super) clocks: BTreeMap<ClientId, Clock>,
    /// Processes that are stopped (SIGSTOP).
    pub(super) paused: BTreeSet<ClientId>,
    /// What they would say who are cut off from the broker and do not know it yet.
    pub(super) unsaid: BTreeMap<ClientId, Vec<Publication>>,
    /// Who deleted which fragment on whose order, since somebody looked.
    pub deleted: Vec<(ClientId, Hash)>,
    /// Processes that ended at a point of their fuse, since somebody looked.
    pub fallen: Vec<ClientId>,
    /// Kept only for its room.
    pub(super) due: Vec<Due>,
    /// Inputs handed out at this instant.
    pub(super) busy: usize,
}

/// A client identifier.
///
/// # Panics
/// If the text is none.
#[must_use]
pub fn client(id: &str) -> ClientId {
    id.parse().expect("a client identifier")
}

/// The tracker of the tests: two copies, small fragments, the default clocks.
#[must_use]
pub fn tracker_config() -> TrackerConfig {
    TrackerConfig {
        copies: Copies::default(),
        fragment_size_bytes: FRAGMENT_SIZE_BYTES,
        rhythm: Rhythm::default(),
        limits: TrackerLimits::default(),
        repair_after: Duration::from_secs(30),
        max_event_bytes: 64 << 20,
        endpoints: Default::default(),
        require_direct: false,
    }
}

impl Cluster {
    /// A bus with nobody on it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let topics = Topics::default();
        Self {
            rng: Rng::new(seed),
            broker: Broker::new(topics.clone()),
            now: Moment(1),
            steps: 0,
            topics,
            nodes: BTreeMap::new(),
            ever: BTreeSet::new(),
            uploads: BTreeMap::new(),
            removed: BTreeSet::new(),
            requests: 0,
            clocks: BTreeMap::new(),
            paused: BTreeSet::new(),
            unsaid: BTreeMap::new(),
            deleted: Vec::new(),
            fallen: Vec::new(),
            due: Vec::new(),
            busy: 0,
        }
    }

    /// A tracker with [`tracker_config`] and these torrents, all registered.
    #[must_use]
    pub fn with_torrents(seed: u64, torrents: &[&str]) -> Self {
        let mut cluster = Self::new(seed);
        cluster.start_tracker(tracker_config());
        for torrent in torrents {
            cluster.start_torrent(torrent);
        }
        cluster.settle();
        cluster
    }

    /// The topics in use.
    #[must_use]
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The MQTT client identifier of the tracker.
    #[must_use]
    pub fn tracker_id(&self) -> ClientId {
        self.topics.tracker_client_id()
    }

    /// Adds a participant and starts it.
    pub fn add(&mut self, id: &ClientId, mut node: Node) {
        node.start(&mut self.rng);
        self.nodes.insert(id.clone(), node);
        self.ever.insert(id.clone());
        self.connect(id);
    }

    /// A participant and its disk are no more.
    pub fn forget(&mut self, id: &ClientId) {
        self.fall(id);
        self.nodes.remove(id);
    }

    /// Whether there ever was such a participant.
    pub(super) fn was_added(&self, id: &ClientId) -> bool {
        self.ever.contains(id)
    }

    /// Whether there is such a participant, running or not.
    #[must_use]
    pub fn knows(&self, id: &ClientId) -> bool {
        self.nodes.contains_key(id)
    }

    /// Our trackers, running or not: there may be one too many.
    pub fn tracker_nodes(&self) -> impl Iterator<Item = (&ClientId, &TrackerNode)> {
        self.nodes.iter().filter_map(|(id, node)| match node {
            Node::Tracker(node) => Some((id, &**node)),
            Node::Torrent(_) | Node::SpecTracker(_) | Node::SpecTorrent(_) => None,
        })
    }

    /// Adds our tracker and starts it.
    pub fn start_tracker(&mut self, config: TrackerConfig) {
        let node = self.new_tracker(config);
        self.start_tracker_with(node);
    }

    /// A tracker to be changed before [`Cluster::start_tracker_with`].
    #[must_use]
    pub fn new_tracker(&self, config: TrackerConfig) -> TrackerNode {
        TrackerNode::new(&self.tracker_id(), &self.topics, config)
    }

    /// Adds this tracker and starts it.
    pub fn start_tracker_with(&mut self, node: TrackerNode) {
        self.add(&self.tracker_id(), Node::Tracker(Box::new(node)));
    }

    /// Adds one of our torrents and starts it.
    pub fn start_torrent(&mut self, id: &str) {
        let node = self.new_torrent(id);
        self.start_torrent_with(node, id);
    }

    /// A torrent to be changed before [`Cluster::start_torrent_with`].
    pub fn new_torrent(&mut self, id: &str) -> TorrentNode {
        TorrentNode::new(&client(id), &self.topics, &mut self.rng)
    }

    /// Adds this torrent and starts it.
    pub fn start_torrent_with(&mut self, node: TorrentNode, id: &str) {
        self.add(&client(id), Node::Torrent(Box::new(node)));
    }

    /// Adds a torrent of the specification and starts it.
    pub fn start_spec_torrent(&mut self, id: &str) {
        let id = client(id);
        let node = SpecTorrent::new(&id, &self.topics, &mut self.rng);
        self.add(&id, Node::SpecTorrent(Box::new(node)));
    }

    /// Adds a tracker of the specification and starts it.
    pub fn start_spec_tracker(&mut self, copies: usize) {
        let node = SpecTracker::new(&self.topics, FRAGMENT_SIZE_BYTES, copies, &mut self.rng);
        self.add(&self.tracker_id(), Node::SpecTracker(Box::new(node)));
    }

    /// A participant.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn node(&self, id: &ClientId) -> &Node {
        self.nodes.get(id).unwrap_or_else(|| panic!("there is no {id}"))
    }

    pub(super) fn node_mut(&mut self, id: &ClientId) -> &mut Node {
        self.nodes.get_mut(id).unwrap_or_else(|| panic!("there is no {id}"))
    }

    /// Our tracker's shell.
    #[must_use]
    pub fn tracker_node(&self) -> &TrackerNode {
        let Node::Tracker(node) = self.node(&self.tracker_id()) else { panic!("not our tracker") };
        node
    }

    /// Our tracker's shell, to be changed.
    pub fn tracker_node_mut(&mut self) -> &mut TrackerNode {
        let id = self.tracker_id();
        let Node::Tracker(node) = self.node_mut(&id) else { panic!("not our tracker") };
        node
    }

    /// Our tracker, which runs.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        self.tracker_node().machine()
    }

    /// One of our torrents' shells.
    #[must_use]
    pub fn torrent_node(&self, id: &str) -> &TorrentNode {
        let Node::Torrent(node) = self.node(&client(id)) else { panic!("not our torrent") };
        node
    }

    /// One of our torrents' shells, to be changed.
    pub fn torrent_node_mut(&mut self, id: &str) -> &mut TorrentNode {
        let Node::Torrent(node) = self.node_mut(&client(id)) else { panic!("not our torrent") };
        node
    }

    /// One of our torrents, which runs.
    #[must_use]
    pub fn torrent(&self, id: &str) -> &Torrent {
        self.torrent_node(id).machine()
    }

    /// A torrent of the specification.
    pub fn spec_torrent(&mut self, id: &str) -> &mut SpecTorrent {
        let Node::SpecTorrent(node) = self.node_mut(&client(id)) else {
            panic!("not a torrent of the specification")
        };
        node
    }

    /// The tracker of the specification.
    pub fn spec_tracker(&mut self) -> &mut SpecTracker {
        let id = self.tracker_id();
        let Node::SpecTracker(node) = self.node_mut(&id) else {
            panic!("not a tracker of the specification")
        };
        node
    }

    /// Everybody who was ever added.
    pub fn nodes(&self) -> impl Iterator<Item = (&ClientId, &Node)> {
        self.nodes.iter()
    }

    /// Our torrents, running or not.
    pub fn torrent_nodes(&self) -> impl Iterator<Item = (&ClientId, &TorrentNode)> {
        self.nodes.iter().filter_map(|(id, node)| match node {
            Node::Torrent(node) => Some((id, &**node)),
            Node::Tracker(_) | Node::SpecTracker(_) | Node::SpecTorrent(_) => None,
        })
    }

    /// Everything that was handed to the tracker to be distributed, by request.
    #[must_use]
    pub const fn uploads(&self) -> &BTreeMap<RequestId, Content> {
        &self.uploads
    }

    /// Whether somebody has gathered inputs and carried nothing out yet.
    #[must_use]
    pub fn is_in_turn(&self) -> bool {
        self.nodes.values().any(Node::is_in_turn)
    }

    // What users do.

    /// Uploads a file to our tracker.
    pub fn upload(&mut self, content: Content) -> RequestId {
        self.upload_bytes_of(content, |_| true)
    }

    /// Uploads a file to our tracker, and of its bytes only what the service lacks.
    pub fn upload_what_is_missing(&mut self, content: Content) -> RequestId {
        let node = self.tracker_node();
        let (view, own) = (&node.machine().view(), &node.disk.volume.fragments);
        let is_there = |fragment: &&Hash| own.contains_key(*fragment) || view.holder_count(fragment) > 0;
        let there: BTreeSet<Hash> = content.fragments().keys().filter(is_there).copied().collect();
        self.upload_bytes_of(content, |fragment| !there.contains(fragment))
    }

    fn upload_bytes_of(&mut self, content: Content, is_sent: impl Fn(&Hash) -> bool) -> RequestId {
        let request = self.next_request();
        self.removed.remove(&content.hash());
        let (hash, file) = (content.hash(), content.file().clone());
        let mut fragments = content.fragments().clone();
        fragments.retain(|fragment, _| is_sent(fragment));
        self.uploads.insert(request, content);
        let id = self.tracker_id();
        let now = self.local(&id);
        let said = self.tracker_node_mut().upload(request, hash, file, fragments, now);
        self.after(&id, said);
        request
    }

    /// Uploads bytes, which must be accepted at once.
    pub fn put(&mut self, bytes: impl Into<bytes::Bytes>) -> Hash {
        let content = Content::new(bytes, FRAGMENT_SIZE_BYTES);
        let hash = content.hash();
        let request = self.upload(content);
        assert_eq!(self.outcome(request), Some(&Outcome::Accepted));
        hash
    }

    /// Uploads `fragments` random fragments, which must be accepted at once.
    pub fn put_random(&mut self, fragments: usize) -> Hash {
        let bytes = self.rng.content(fragments * 1024);
        self.put(bytes)
    }

    /// Deletes a file. It must be there.
    pub fn remove(&mut self, hash: Hash) {
        let request = self.ask_to_remove(hash);
        assert_eq!(self.outcome(request), Some(&Outcome::Accepted));
    }

    /// Asks for a file to be deleted.
    pub fn ask_to_remove(&mut self, hash: Hash) -> RequestId {
        let request = self.next_request();
        // From now on it may be gone.
        let was_known = self.tracker_node().disk.volume.view.file(&hash).is_some();
        self.ask_tracker(TrackerInput::FileRemovalRequested { request, hash });
        if was_known && self.outcome(request) == Some(&Outcome::Accepted) {
            self.removed.insert(hash);
        }
        request
    }

    /// Has a torrent emptied, or no longer. Says how many fragments would lack a copy if it went now; nothing if the order is not
    /// accepted.
    pub fn drain(&mut self, id: &str, is_draining: bool) -> Option<usize> {
        let (request, client) = (self.next_request(), client(id));
        self.ask_tracker(TrackerInput::DrainRequested { request, client: client.clone(), is_draining });
        let is_accepted = self.outcome(request) == Some(&Outcome::Accepted);
        self.tracker_node().running().filter(|_| is_accepted)?.drain_remaining(&client)
    }

    /// Files that were deleted and not uploaded again.
    #[must_use]
    pub const fn removed(&self) -> &BTreeSet<Hash> {
        &self.removed
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn ask_tracker(&mut self, input: TrackerInput) {
        let id = self.tracker_id();
        let now = self.local(&id);
        let said = self.tracker_node_mut().order(input, now);
        self.after(&id, said);
    }

    /// What became of a request.
    #[must_use]
    pub fn outcome(&self, request: RequestId) -> Option<&Outcome> {
        self.tracker_node().outcomes.get(&request)
    }
}
