//! A tracker server as the specification describes it: its hello is not retained, nothing is numbered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::{Said, event, keys, payload, text};
use crate::mqtt::{Message, Session};
use crate::specification::{encode_base64, sha256};
use crate::wait::until;

const TOPICS: [&str; 7] = [
    "clients/join/requested",
    "clients/join/succeeded",
    "clients/join/failed",
    "clients/goodbye",
    "fragments/distribution/requested",
    "fragments/distribution/obtained",
    "fragments/distribution/failed",
];

/// The actor. Its connection is cut when it is dropped.
#[derive(Debug)]
pub struct SpecTracker {
    state: Arc<Mutex<State>>,
    session: Arc<AsyncMutex<Session>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    fragment_size: usize,
    copies: usize,
    files: Map<String, Value>,
    own: BTreeMap<String, Vec<u8>>,
    /// The registered clients, with their *ClientMetadata*.
    clients: BTreeMap<String, Value>,
    joining: BTreeMap<String, Map<String, Value>>,
    distributions: BTreeMap<String, Distribution>,
    falsified: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Distribution {
    requested: BTreeSet<String>,
    receivers: BTreeSet<String>,
    obtained: BTreeSet<String>,
    failed: BTreeSet<String>,
    has_ended: bool,
}

impl SpecTracker {
    /// Connects and subscribes to the seven topics. It says no hello yet.
    ///
    /// # Panics
    /// If the broker does not let it.
    pub async fn start(broker: SocketAddr, fragment_size: usize, copies: usize) -> Self {
        let filters = TOPICS.map(str::to_owned);
        let (session, inbox) = Session::open(broker, "spec-tracker", &filters, None).await;
        let state = Arc::new(Mutex::new(State { fragment_size, copies, ..State::default() }));
        let session = Arc::new(AsyncMutex::new(session));
        let task = tokio::spawn(run(state.clone(), session.clone(), inbox));
        Self { state, session, task }
    }

    /// Says its hello.
    pub async fn say_hello(&self) {
        self.say(vec![("tracker/hello", json!({}))]).await;
    }

    /// Says its goodbye: everybody is unregistered.
    pub async fn say_goodbye(&self) {
        self.state().clients.clear();
        self.say(vec![("tracker/goodbye", json!({}))]).await;
    }

    /// From now on it delivers other bytes under the name of this fragment.
    pub fn falsify(&self, fragment: &str) {
        self.state().falsified.insert(fragment.to_owned());
    }

    /// Waits until this many clients are registered.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn registers(&self, number: usize) {
        let what = format!("a spec-only tracker registers {number} torrents");
        until(&what, async || self.state().clients.len() == number).await;
    }

    /// Publishes a file and distributes its fragments. Gives the file's hash, and the fragments' in order.
    pub async fn put(&self, content: &[u8]) -> (String, Vec<String>) {
        let hash = sha256(content);
        let fragment_size = self.state().fragment_size;
        let fragments: Vec<_> = content.chunks(fragment_size).map(|data| (sha256(data), data)).collect();
        let sequence: Vec<String> = fragments.iter().map(|(hash, _)| hash.clone()).collect();
        let metadata = json!({"Size": content.len(), "FragmentSequence": sequence});
        let mut info = metadata.clone();
        info["Hash"] = hash.as_str().into();
        let mut said = vec![("files/info", info)];
        {
            let mut state = self.state();
            state.files.insert(hash.clone(), metadata);
            for (fragment, data) in fragments {
                let started = json!({"Hash": fragment, "Size": data.len()});
                state.own.insert(fragment, data.to_vec());
                said.push(("fragments/distribution/started", started));
            }
        }
        self.say(said).await;
        (hash, sequence)
    }

    /// Waits until the distribution of a fragment has ended: who obtained it, and who failed.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&self, fragment: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let has_ended = |state: &State| {
            state.distributions.get(fragment).is_some_and(|distribution| distribution.has_ended)
        };
        until("a spec-only tracker ends a distribution", async || has_ended(&self.state())).await;
        let mut state = self.state();
        let distribution = state.distributions.remove(fragment).unwrap_or_default();
        (distribution.obtained, distribution.failed)
    }

    async fn say(&self, said: Said) {
        say(&self.session, said).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpecTracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(session: &AsyncMutex<Session>, said: Said) {
    let mut session = session.lock().await;
    for (topic, event) in said {
        session.publish(topic, payload(event), false).await;
    }
}

async fn run(
    state: Arc<Mutex<State>>,
    session: Arc<AsyncMutex<Session>>,
    mut inbox: UnboundedReceiver<Message>,
) {
    while let Some(message) = inbox.recv().await {
        let Some(event) = event(&message.payload) else { continue };
        let said = state.lock().unwrap_or_else(PoisonError::into_inner).hear(&message.topic, event);
        say(&session, said).await;
    }
}

impl State {
    fn hear(&mut self, topic: &str, event: Map<String, Value>) -> Said {
        let client = text(&event, "ClientIdentifier").to_owned();
        match topic {
            "clients/join/requested" => {
                let answer = self.answer(&client, &event);
                self.joining.insert(client, event);
                vec![("clients/join/accepted", answer)]
            }
            "clients/join/succeeded" => self.register(client),
            "clients/join/failed" => {
                self.joining.remove(&client);
                Vec::new()
            }
            "clients/goodbye" => {
                self.clients.remove(&client);
                Vec::new()
            }
            "fragments/distribution/requested" => self.requested(client, text(&event, "Hash")),
            "fragments/distribution/obtained" => self.answered(client, text(&event, "Hash"), true),
            "fragments/distribution/failed" => self.answered(client, text(&event, "Hash"), false),
            _ => Vec::new(),
        }
    }

    fn answer(&self, client: &str, request: &Map<String, Value>) -> Value {
        let (files, stored) = (keys(request, "KnownFileInfos"), keys(request, "StoredFragments"));
        let new_files = self.files.iter().filter(|(hash, _)| !files.contains(hash));
        let new_fragments = self.own.iter().filter(|(hash, _)| !stored.contains(hash));
        let sizes = new_fragments.map(|(hash, data)| (hash.clone(), json!({"Size": data.len()})));
        json!({
            "ClientIdentifier": client,
            "FragmentSize": self.fragment_size,
            "AddFileInfos": new_files.map(|(hash, file)| (hash.clone(), file.clone())).collect::<Map<_, _>>(),
            "AddFragmentInfos": sizes.collect::<Map<_, _>>(),
            "RemoveFileInfos": [],
            "RemoveFragmentInfos": [],
            "Clients": self.clients.clone().into_iter().collect::<Map<_, _>>(),
        })
    }

    fn register(&mut self, client: String) -> Said {
        let Some(request) = self.joining.remove(&client) else { return Vec::new() };
        let endpoints = request.get("Endpoints").cloned().unwrap_or_default();
        let info = json!({"Endpoints": endpoints, "StoredFragments": keys(&request, "StoredFragments")});
        self.clients.insert(client.clone(), info.clone());
        let registered =
            json!({"ClientIdentifier": client, "Info": info, "AddedFiles": {}, "AddedFragments": {}});
        vec![("clients/registered", registered)]
    }

    fn requested(&mut self, client: String, hash: &str) -> Said {
        let Some(data) = self.own.get(hash) else { return Vec::new() };
        let distribution = self.distributions.entry(hash.to_owned()).or_default();
        if distribution.has_ended || !distribution.receivers.is_empty() {
            return Vec::new();
        }
        distribution.requested.insert(client);
        if distribution.requested.len() < self.copies.min(self.clients.len()) {
            return Vec::new();
        }
        distribution.receivers = distribution.requested.clone();
        let is_falsified = self.falsified.contains(hash);
        let data = if is_falsified { encode_base64(&vec![0; data.len()]) } else { encode_base64(data) };
        let delivered = json!({"Hash": hash, "Data": data, "Receivers": distribution.receivers});
        vec![("fragments/distribution/delivered", delivered)]
    }

    fn answered(&mut self, client: String, hash: &str, is_obtained: bool) -> Said {
        let Some(distribution) = self.distributions.get_mut(hash) else { return Vec::new() };
        if !distribution.receivers.contains(&client) || distribution.has_ended {
            return Vec::new();
        }
        let answers = if is_obtained { &mut distribution.obtained } else { &mut distribution.failed };
        answers.insert(client);
        if distribution.obtained.len() + distribution.failed.len() < distribution.receivers.len() {
            return Vec::new();
        }
        distribution.has_ended = true;
        let size = self.own.get(hash).map_or(0, Vec::len);
        vec![(
            "fragments/distribution/ended",
            json!({"Hash": hash, "Size": size, "Receivers": distribution.obtained}),
        )]
    }
}
