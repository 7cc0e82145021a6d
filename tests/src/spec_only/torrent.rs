//! A torrent server as the specification describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::{Said, event, keys, payload, text, texts};
use crate::mqtt::{Message, Session};
use crate::specification::{decode_base64, sha256};
use crate::wait::eventually;

/// What it says of itself when it asks to join.
#[derive(Debug, Clone)]
pub struct TorrentOptions {
    /// Its MQTT client identifier.
    pub id: String,
    /// The hash algorithm that it uses.
    pub hash_algorithm: String,
    /// The fragment size that it is bound to, in bytes, if any.
    pub fragment_size: Option<i64>,
    /// Its endpoints.
    pub endpoints: Vec<String>,
}

impl TorrentOptions {
    /// A torrent of this name that fits everywhere.
    #[must_use]
    pub fn new(id: &str) -> Self {
        // An address from the range for documentation: nobody is there.
        let endpoints = vec![format!("grpc://{id}.example:7402")];
        Self { id: id.to_owned(), hash_algorithm: "SHA256".to_owned(), fragment_size: None, endpoints }
    }
}

/// What became of its request to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A *ClientRegistered* names it.
    Registered,
    /// A *ClientJoinDenied* names it: code and reason.
    Denied(i64, String),
}

/// The actor. Dropping it cuts its connection: the broker says its goodbye.
#[derive(Debug)]
pub struct SpecTorrent {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
    leave: tokio::sync::oneshot::Sender<()>,
}

#[derive(Debug)]
struct State {
    options: TorrentOptions,
    is_asking: bool,
    answer: Option<Answer>,
    /// Obtained and not ended.
    temporary: BTreeMap<String, Vec<u8>>,
    stored: BTreeMap<String, Vec<u8>>,
    files: BTreeSet<String>,
    /// Who else is registered, as far as it was told.
    peers: BTreeSet<String>,
}

const TOPICS: [&str; 10] = [
    "tracker/hello",
    "tracker/goodbye",
    "clients/join/accepted",
    "clients/join/denied",
    "clients/registered",
    "clients/goodbye",
    "files/info",
    "fragments/distribution/started",
    "fragments/distribution/delivered",
    "fragments/distribution/ended",
];

impl SpecTorrent {
    /// Connects, subscribes to the ten topics, and waits for a hello to ask to join.
    ///
    /// # Panics
    /// If the broker does not let it.
    pub async fn start(broker: SocketAddr, options: TorrentOptions) -> Self {
        let goodbye = payload(json!({"ClientIdentifier": options.id}));
        let will = Some(("clients/goodbye".to_owned(), goodbye));
        let (session, inbox) = Session::open(broker, &options.id, &TOPICS.map(str::to_owned), will).await;
        let state = State {
            options,
            is_asking: false,
            answer: None,
            temporary: BTreeMap::new(),
            stored: BTreeMap::new(),
            files: BTreeSet::new(),
            peers: BTreeSet::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let (leave, leaves) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(run(state.clone(), session, inbox, leaves));
        Self { state, task, leave }
    }

    /// Waits for what becomes of its request to join.
    ///
    /// # Panics
    /// If nothing does.
    pub async fn answer(&self) -> Answer {
        eventually("a spec-only torrent is answered", async || self.look(|state| state.answer.clone())).await
    }

    /// The fragments that it stores.
    #[must_use]
    pub fn stored(&self) -> BTreeSet<String> {
        self.look(|state| state.stored.keys().cloned().collect())
    }

    /// The files that it knows.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        self.look(|state| state.files.clone())
    }

    /// The other torrents that it was told of.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<String> {
        self.look(|state| state.peers.clone())
    }

    /// Says its goodbye and disconnects.
    ///
    /// # Panics
    /// If it has failed before.
    pub async fn leave(self) {
        self.leave.send(()).expect("it runs until it leaves");
        self.task.await.expect("it does not panic");
    }

    fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn run(
    state: Arc<Mutex<State>>,
    mut session: Session,
    mut inbox: UnboundedReceiver<Message>,
    mut leaves: tokio::sync::oneshot::Receiver<()>,
) {
    loop {
        let message = tokio::select! {
            left = &mut leaves => {
                if left.is_ok() {
                    let id = state.lock().unwrap_or_else(PoisonError::into_inner).options.id.clone();
                    let goodbye = payload(json!({"ClientIdentifier": id}));
                    session.publish("clients/goodbye", goodbye, false).await;
                    session.close().await;
                }
                return;
            }
            message = inbox.recv() => message,
        };
        let Some(message) = message else { return };
        let Some(event) = event(&message.payload) else { continue };
        let said = state.lock().unwrap_or_else(PoisonError::into_inner).hear(&message.topic, &event);
        for (topic, event) in said {
            session.publish(topic, payload(event), false).await;
        }
    }
}

impl State {
    fn hear(&mut self, topic: &str, event: &Map<String, Value>) -> Said {
        let me = self.options.id.clone();
        let is_me = text(event, "ClientIdentifier") == me;
        let (hash, is_registered) = (text(event, "Hash"), self.answer == Some(Answer::Registered));
        match topic {
            "tracker/hello" if !is_registered && !self.is_asking => {
                self.is_asking = true;
                vec![("clients/join/requested", self.request())]
            }
            "tracker/goodbye" => {
                (self.is_asking, self.answer) = (false, None);
                Vec::new()
            }
            "clients/join/accepted" if is_me && self.is_asking => {
                self.files.extend(keys(event, "AddFileInfos"));
                self.peers.extend(keys(event, "Clients"));
                let removed = texts(event, "RemoveFileInfos");
                self.files.retain(|file| !removed.contains(file));
                let removed = texts(event, "RemoveFragmentInfos");
                self.stored.retain(|fragment, _| !removed.contains(fragment));
                vec![("clients/join/succeeded", json!({"ClientIdentifier": me}))]
            }
            "clients/join/denied" if is_me && self.is_asking => {
                let code = event.get("ReasonCode").and_then(Value::as_i64).unwrap_or_default();
                self.is_asking = false;
                self.answer = Some(Answer::Denied(code, text(event, "Reason").to_owned()));
                Vec::new()
            }
            "clients/registered" if is_me => {
                (self.is_asking, self.answer) = (false, Some(Answer::Registered));
                Vec::new()
            }
            "clients/registered" => {
                self.peers.insert(text(event, "ClientIdentifier").to_owned());
                self.files.extend(keys(event, "AddedFiles"));
                Vec::new()
            }
            "clients/goodbye" => {
                self.peers.remove(text(event, "ClientIdentifier"));
                Vec::new()
            }
            "files/info" => {
                self.files.insert(hash.to_owned());
                Vec::new()
            }
            "fragments/distribution/started" if is_registered && !self.stored.contains_key(hash) => {
                vec![("fragments/distribution/requested", json!({"ClientIdentifier": me, "Hash": hash}))]
            }
            "fragments/distribution/delivered" if texts(event, "Receivers").contains(&me) => {
                let data = decode_base64(text(event, "Data")).unwrap_or_default();
                let answer = json!({"ClientIdentifier": me, "Hash": hash});
                if sha256(&data) != hash {
                    return vec![("fragments/distribution/failed", answer)];
                }
                self.temporary.insert(hash.to_owned(), data);
                vec![("fragments/distribution/obtained", answer)]
            }
            "fragments/distribution/ended" => {
                if let Some(data) = self.temporary.remove(hash)
                    && texts(event, "Receivers").contains(&me)
                {
                    self.stored.insert(hash.to_owned(), data);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn request(&self) -> Value {
        let stored = self.stored.iter().map(|(hash, data)| (hash.clone(), json!({"Size": data.len()})));
        let mut request = json!({
            "ClientIdentifier": self.options.id,
            "HashAlgorithm": self.options.hash_algorithm,
            "KnownFileInfos": {},
            "StoredFragments": stored.collect::<Map<_, _>>(),
            "Endpoints": self.options.endpoints,
        });
        if let Some(fragment_size) = self.options.fragment_size {
            request["FragmentSize"] = fragment_size.into();
        }
        request
    }
}
