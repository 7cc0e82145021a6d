//! A tracker server that knows nothing but the specification: a hello that is not retained, no epoch, no revision, no heartbeat.
//!
//! It is written from the specification alone and shares nothing with the machine but the encoding.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::event::{
    ClientJoinAccepted, ClientJoinRequested, ClientRegistered, FileInfoPublished,
    FragmentDistributionDelivered, FragmentDistributionEnded, FragmentDistributionStarted, TorrentEvent,
    TrackerEnvelope, TrackerEvent, TrackerGoodbye, TrackerHello,
};
use protocol::{
    ClientId, ClientMetadata, EventId, EventKind, FileMetadata, FragmentMetadata, Hash, Heard, Topics,
};
use uuid::Uuid;

use super::broker::Publication;
use super::content::Content;
use super::rng::Rng;

/// The actor.
#[derive(Debug)]
pub struct SpecTracker {
    topics: Topics,
    rng: Rng,
    fragment_size_bytes: u64,
    copies: usize,
    files: BTreeMap<Hash, FileMetadata>,
    fragments: BTreeMap<Hash, FragmentMetadata>,
    /// The registered clients.
    pub clients: BTreeMap<ClientId, ClientMetadata>,
    joining: BTreeMap<ClientId, ClientJoinRequested>,
    own: BTreeMap<Hash, Bytes>,
    requested: BTreeMap<Hash, BTreeSet<ClientId>>,
    obtained: BTreeMap<Hash, BTreeSet<ClientId>>,
    /// Failures that it heard, by fragment.
    pub failed: BTreeMap<Hash, BTreeSet<ClientId>>,
    /// Fragments whose bytes it falsifies when it delivers them.
    pub falsified: BTreeSet<Hash>,
}

impl SpecTracker {
    /// An actor with an empty view.
    #[must_use]
    pub fn new(topics: &Topics, fragment_size_bytes: u64, copies: usize, rng: &mut Rng) -> Self {
        Self {
            topics: topics.clone(),
            rng: Rng::new(rng.next()),
            fragment_size_bytes,
            copies,
            files: BTreeMap::new(),
            fragments: BTreeMap::new(),
            clients: BTreeMap::new(),
            joining: BTreeMap::new(),
            own: BTreeMap::new(),
            requested: BTreeMap::new(),
            obtained: BTreeMap::new(),
            failed: BTreeMap::new(),
            falsified: BTreeSet::new(),
        }
    }

    /// The seven topics of the specification, none of ours.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        [
            EventKind::ClientJoinRequested,
            EventKind::ClientJoinSucceeded,
            EventKind::ClientJoinFailed,
            EventKind::ClientGoodbye,
            EventKind::FragmentDistributionRequested,
            EventKind::FragmentDistributionObtained,
            EventKind::FragmentDistributionFailed,
        ]
        .map(|kind| self.topics.shared(kind))
        .to_vec()
    }

    /// The hello of a start.
    pub fn hello(&mut self) -> Publication {
        self.say(TrackerHello::default())
    }

    /// The goodbye of an end.
    pub fn goodbye(&mut self) -> Publication {
        self.clients.clear();
        self.say(TrackerGoodbye {})
    }

    /// Publishes a file and starts to distribute its fragments.
    pub fn put(&mut self, content: &Content) -> Vec<Publication> {
        let (hash, size_bytes) = (content.hash(), content.file().size_bytes);
        let metadata = FileMetadata::from(content.file());
        let fragment_sequence = metadata.fragment_sequence.clone();
        self.files.insert(hash, metadata);
        let mut said = vec![self.say(FileInfoPublished { hash, size_bytes, fragment_sequence, name: None })];
        for (hash, data) in content.fragments() {
            let size_bytes = data.len() as u64;
            self.fragments.insert(*hash, FragmentMetadata { size_bytes });
            self.own.insert(*hash, data.clone());
            said.push(self.say(FragmentDistributionStarted { hash: *hash, size_bytes, attempt: None }));
        }
        said
    }

    /// An event was heard.
    pub fn hear(&mut self, heard: Heard) -> Vec<Publication> {
        let Heard::Torrent { issuer, event, .. } = heard else { return Vec::new() };
        let client = issuer.client;
        match event {
            TorrentEvent::ClientJoinRequested(request) => {
                let files =
                    self.files.iter().filter(|(hash, _)| !request.known_file_infos.contains_key(hash));
                let fragments =
                    self.fragments.iter().filter(|(hash, _)| !request.stored_fragments.contains_key(hash));
                let answer = ClientJoinAccepted {
                    client_identifier: client.clone(),
                    fragment_size_bytes: self.fragment_size_bytes,
                    add_file_infos: files.map(|(hash, file)| (*hash, file.clone())).collect(),
                    add_fragment_infos: fragments.map(|(hash, fragment)| (*hash, *fragment)).collect(),
                    remove_file_infos: BTreeSet::new(),
                    remove_fragment_infos: BTreeSet::new(),
                    clients: self.clients.clone(),
                };
                self.joining.insert(client, request);
                vec![self.say(answer)]
            }
            TorrentEvent::ClientJoinSucceeded(_) => {
                let Some(request) = self.joining.remove(&client) else { return Vec::new() };
                let known = |hash: &Hash| self.fragments.contains_key(hash);
                let info = ClientMetadata {
                    endpoints: request.endpoints,
                    stored_fragments: request.stored_fragments.into_keys().filter(known).collect(),
                    ..ClientMetadata::default()
                };
                self.clients.insert(client.clone(), info.clone());
                vec![self.say(ClientRegistered {
                    client_identifier: client,
                    info,
                    added_files: BTreeMap::new(),
                    added_fragments: BTreeMap::new(),
                })]
            }
            TorrentEvent::ClientJoinFailed(_) => {
                self.joining.remove(&client);
                Vec::new()
            }
            TorrentEvent::ClientGoodbye(_) => {
                self.clients.remove(&client);
                Vec::new()
            }
            TorrentEvent::FragmentDistributionRequested(body) => self.requested(client, body.hash),
            TorrentEvent::FragmentDistributionObtained(body) => self.answered(client, body.hash, true),
            TorrentEvent::FragmentDistributionFailed(body) => {
                self.failed.entry(body.hash).or_default().insert(client.clone());
                self.answered(client, body.hash, false)
            }
            TorrentEvent::ClientHeartbeat(_) => panic!("nobody asked for a heartbeat"),
        }
    }

    fn requested(&mut self, client: ClientId, hash: Hash) -> Vec<Publication> {
        let requested = self.requested.entry(hash).or_default();
        requested.insert(client);
        if requested.len() != self.copies.min(self.clients.len()) {
            return Vec::new();
        }
        let receivers = requested.clone();
        let Some(data) = self.own.get(&hash).cloned() else { return Vec::new() };
        let data = if self.falsified.contains(&hash) { vec![0; data.len()].into() } else { data };
        vec![self.say(FragmentDistributionDelivered { hash, data, receivers })]
    }

    fn answered(&mut self, client: ClientId, hash: Hash, obtained: bool) -> Vec<Publication> {
        let holders = self.obtained.entry(hash).or_default();
        if obtained {
            holders.insert(client);
        }
        let receivers = holders.clone();
        let answers = receivers.len() + self.failed.get(&hash).map_or(0, BTreeSet::len);
        if answers < self.requested.get(&hash).map_or(0, BTreeSet::len) {
            return Vec::new();
        }
        for receiver in &receivers {
            if let Some(info) = self.clients.get_mut(receiver) {
                info.stored_fragments.insert(hash);
            }
        }
        let size_bytes = self.fragments.get(&hash).map_or(0, |fragment| fragment.size_bytes);
        vec![self.say(FragmentDistributionEnded { hash, size_bytes, receivers })]
    }

    fn say(&mut self, event: impl Into<TrackerEvent>) -> Publication {
        let event = event.into();
        let event_id = EventId(Uuid::from_bytes(self.rng.bytes()));
        let envelope =
            TrackerEnvelope { event_id, epoch: None, instance: None, revision: None, in_reply_to: None };
        let payload = protocol::encode_tracker(&envelope, &event);
        Publication { topic: self.topics.shared(event.kind()), payload, retain: false }
    }
}
