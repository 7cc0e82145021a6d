//! A torrent server that knows nothing but the specification: shared topics, `ClientIdentifier`, no feature, no number.
//!
//! It is written from the specification alone and shares nothing with the machine but the encoding.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::event::{
    ClientGoodbye, ClientJoinRequested, ClientJoinSucceeded, FragmentDistributionFailed,
    FragmentDistributionObtained, FragmentDistributionRequested, TorrentEnvelope, TorrentEvent, TrackerEvent,
};
use protocol::{ClientId, EventId, EventKind, Features, FragmentMetadata, Hash, Heard, Topics};
use uuid::Uuid;

use super::broker::Publication;
use super::rng::Rng;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Waits for a hello.
    Waiting,
    /// Has asked to join.
    Asking,
    /// Has confirmed the join.
    Confirming,
    /// Is a registered client.
    Registered,
}

/// The actor.
#[derive(Debug)]
pub struct SpecTorrent {
    id: ClientId,
    topics: Topics,
    rng: Rng,
    /// How far it has come.
    pub standing: Standing,
    /// Fragments obtained and not ended.
    pub temporary: BTreeMap<Hash, Bytes>,
    /// Fragments it holds.
    pub stored: BTreeMap<Hash, Bytes>,
    /// Files it knows.
    pub files: BTreeSet<Hash>,
    /// What it was denied with.
    pub denied: Option<protocol::DeniedCode>,
}

impl SpecTorrent {
    /// An actor that waits for a hello.
    #[must_use]
    pub fn new(id: &ClientId, topics: &Topics, rng: &mut Rng) -> Self {
        Self {
            id: id.clone(),
            topics: topics.clone(),
            rng: Rng::new(rng.next()),
            standing: Standing::Waiting,
            temporary: BTreeMap::new(),
            stored: BTreeMap::new(),
            files: BTreeSet::new(),
            denied: None,
        }
    }

    /// The ten topics of the specification, none of ours.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<String> {
        [
            EventKind::TrackerHello,
            EventKind::TrackerGoodbye,
            EventKind::ClientJoinAccepted,
            EventKind::ClientJoinDenied,
            EventKind::ClientRegistered,
            EventKind::ClientGoodbye,
            EventKind::FileInfoPublished,
            EventKind::FragmentDistributionStarted,
            EventKind::FragmentDistributionDelivered,
            EventKind::FragmentDistributionEnded,
        ]
        .map(|kind| self.topics.shared(kind))
        .to_vec()
    }

    /// A goodbye, deliberate or as Last Will.
    pub fn goodbye(&mut self) -> Publication {
        self.say(ClientGoodbye::default())
    }

    /// An event was heard.
    pub fn hear(&mut self, heard: Heard) -> Vec<Publication> {
        let Heard::Tracker { event, .. } = heard else { return Vec::new() };
        match event {
            TrackerEvent::TrackerHello(_) if self.standing == Standing::Waiting => {
                self.standing = Standing::Asking;
                let request = ClientJoinRequested {
                    hash_algorithm: "SHA256".into(),
                    fragment_size_bytes: None,
                    known_file_infos: BTreeMap::new(),
                    stored_fragments: self.metadata(),
                    endpoints: BTreeSet::from([format!("grpc://{}:4700", self.id)
                        .parse()
                        .expect("an endpoint")]),
                    features: Features::NONE,
                    seen_epoch: None,
                    seen_instance: None,
                    registered_by: None,
                    registered_epoch: None,
                    capacity_bytes: None,
                    zone: None,
                };
                vec![self.say(request)]
            }
            TrackerEvent::TrackerGoodbye(_) => {
                self.standing = Standing::Waiting;
                Vec::new()
            }
            TrackerEvent::ClientJoinAccepted(answer)
                if answer.client_identifier == self.id && self.standing == Standing::Asking =>
            {
                self.files.extend(answer.add_file_infos.keys());
                self.files.retain(|file| !answer.remove_file_infos.contains(file));
                self.stored.retain(|fragment, _| !answer.remove_fragment_infos.contains(fragment));
                self.standing = Standing::Confirming;
                vec![self.say(ClientJoinSucceeded {})]
            }
            TrackerEvent::ClientJoinDenied(denied) if denied.client_identifier == self.id => {
                self.denied = Some(denied.reason_code);
                self.standing = Standing::Waiting;
                Vec::new()
            }
            TrackerEvent::ClientRegistered(registered) if registered.client_identifier == self.id => {
                self.standing = Standing::Registered;
                Vec::new()
            }
            TrackerEvent::FileInfoPublished(file) => {
                self.files.insert(file.hash);
                Vec::new()
            }
            TrackerEvent::FragmentDistributionStarted(started)
                if self.standing == Standing::Registered && !self.stored.contains_key(&started.hash) =>
            {
                vec![self.say(FragmentDistributionRequested { hash: started.hash })]
            }
            TrackerEvent::FragmentDistributionDelivered(delivered)
                if delivered.receivers.contains(&self.id) =>
            {
                let hash = delivered.hash;
                if Hash::of(&delivered.data) != hash {
                    return vec![self.say(FragmentDistributionFailed { hash, reason: None })];
                }
                self.temporary.insert(hash, delivered.data);
                vec![self.say(FragmentDistributionObtained { hash })]
            }
            TrackerEvent::FragmentDistributionEnded(ended) => {
                if let Some(data) = self.temporary.remove(&ended.hash)
                    && ended.receivers.contains(&self.id)
                {
                    self.stored.insert(ended.hash, data);
                }
                Vec::new()
            }
            TrackerEvent::TrackerHello(_)
            | TrackerEvent::ClientJoinAccepted(_)
            | TrackerEvent::ClientJoinDenied(_)
            | TrackerEvent::ClientRegistered(_)
            | TrackerEvent::ClientUnregistered(_)
            | TrackerEvent::FileRemoved(_)
            | TrackerEvent::FragmentDistributionStarted(_)
            | TrackerEvent::FragmentDistributionDelivered(_) => Vec::new(),
        }
    }

    fn metadata(&self) -> BTreeMap<Hash, FragmentMetadata> {
        let metadata = |data: &Bytes| FragmentMetadata { size_bytes: data.len() as u64 };
        self.stored.iter().map(|(hash, data)| (*hash, metadata(data))).collect()
    }

    fn say(&mut self, event: impl Into<TorrentEvent>) -> Publication {
        let event = event.into();
        let envelope = TorrentEnvelope {
            event_id: EventId(Uuid::from_bytes(self.rng.bytes())),
            client_identifier: Some(self.id.clone()),
            instance: None,
            incarnation: None,
            registration: None,
            in_reply_to: None,
        };
        let payload = protocol::encode_torrent(&envelope, &event);
        Publication { topic: self.topics.shared(event.kind()), payload, retain: false }
    }
}
