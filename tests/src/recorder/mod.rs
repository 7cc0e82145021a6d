//! Somebody who listens to `#` and writes down what is said. Whether it was right is asked afterwards: [`checks`].
//!
//! Every payload is read with the specification's own tables the moment it comes. Delivered bytes are hashed and not kept.

pub mod checks;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::mqtt::{Message, Session};
use crate::specification::{self, Event, decode_base64, event_on, sha256};
use crate::wait::eventually;

/// One event as it was heard.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it is.
    pub event: &'static Event,
    /// The client that its topic names, if it is a direct one.
    pub direct: Option<String>,
    /// Its properties. Of delivered bytes only their number is left.
    pub properties: Map<String, Value>,
    /// Whether the broker had kept it.
    pub is_retained: bool,
}

impl Record {
    /// Whether it is this event.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.event.name == name
    }

    /// A property that is a text; empty if there is none.
    #[must_use]
    pub fn text(&self, property: &str) -> &str {
        self.properties.get(property).and_then(Value::as_str).unwrap_or_default()
    }

    /// A property that is a number.
    #[must_use]
    pub fn number(&self, property: &str) -> Option<i64> {
        self.properties.get(property)?.as_i64()
    }

    /// A property that is an array of texts; empty if there is none.
    #[must_use]
    pub fn texts(&self, property: &str) -> Vec<&str> {
        let members = self.properties.get(property).and_then(Value::as_array);
        members.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The torrent that it is by or about.
    #[must_use]
    pub fn client(&self) -> &str {
        self.text("ClientIdentifier")
    }
}

/// Everything heard so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// The events, in order.
    pub events: Vec<Record>,
    /// What was no event, or not a valid one, and why.
    pub invalid: Vec<String>,
}

/// A subscriber to `#`.
#[derive(Debug)]
pub struct Recorder {
    heard: Arc<Mutex<Heard>>,
    _session: Session,
    listening: JoinHandle<()>,
}

impl Recorder {
    /// Listens from now on. Events are those of the service behind `prefix`; whatever else is said is invalid.
    ///
    /// # Panics
    /// If the broker does not let it listen.
    pub async fn start(broker: SocketAddr, prefix: Option<&str>) -> Self {
        Self::listen(broker, "recorder", None, "#", prefix).await
    }

    /// Listens from now on behind `prefix` only: for a broker that others use as well.
    ///
    /// # Panics
    /// If the broker does not let it listen.
    pub async fn start_behind(broker: SocketAddr, prefix: &str) -> Self {
        let (id, filter) = (format!("recorder-{prefix}"), format!("{prefix}/#"));
        Self::listen(broker, &id, None, &filter, Some(prefix)).await
    }

    /// The same for events without a prefix, as a user whose password is the name.
    ///
    /// # Panics
    /// If the broker does not let it listen.
    pub async fn start_as(broker: SocketAddr, user: &str) -> Self {
        Self::listen(broker, "recorder", Some(user), "#", None).await
    }

    async fn listen(
        broker: SocketAddr,
        id: &str,
        user: Option<&str>,
        filter: &str,
        prefix: Option<&str>,
    ) -> Self {
        let (session, inbox) = Session::open_as(broker, id, user, &[filter.to_owned()], None).await;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listening = tokio::spawn(listen(inbox, prefix.map(str::to_owned), heard.clone()));
        Self { heard, _session: session, listening }
    }

    /// Looks at everything heard so far.
    pub fn look<T>(&self, at: impl FnOnce(&Heard) -> T) -> T {
        at(&self.heard())
    }

    /// How many events are like this.
    pub fn count(&self, is_counted: impl Fn(&Record) -> bool) -> usize {
        self.heard().events.iter().filter(|record| is_counted(record)).count()
    }

    /// Waits until this many events are like this, and gives the last of them.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn hears(&self, what: &str, number: usize, is_meant: impl Fn(&Record) -> bool) -> Record {
        let what = format!("the recorder hears {number} times {what}");
        let nth = async || {
            let heard = self.heard();
            heard.events.iter().filter(|record| is_meant(record)).nth(number.checked_sub(1)?).cloned()
        };
        eventually(&what, nth).await
    }

    /// Waits until an event of this name, about or by this client, is there.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn hears_of(&self, name: &str, client: &str) -> Record {
        let what = format!("{name} of {client}");
        self.hears(&what, 1, |record| record.is(name) && record.client() == client).await
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut inbox: UnboundedReceiver<Message>, prefix: Option<String>, heard: Arc<Mutex<Heard>>) {
    while let Some(message) = inbox.recv().await {
        let read = read(&message, prefix.as_deref());
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(record) => heard.events.push(record),
            Err(problem) => heard.invalid.push(format!("{}: {problem}", message.topic)),
        }
    }
}

fn read(message: &Message, prefix: Option<&str>) -> Result<Record, String> {
    let Some((event, direct)) = event_on(&message.topic, prefix) else {
        return Err("not the topic of an event".to_owned());
    };
    let mut properties =
        specification::read(event, &message.payload).map_err(|problems| problems.join(", "))?;
    if let Some(Value::String(text)) = properties.get("Data") {
        let data = decode_base64(text).unwrap_or_default();
        let told = properties.get("Hash").and_then(Value::as_str).unwrap_or_default();
        if sha256(&data) != told {
            return Err(format!("the bytes of {told} are not what it says"));
        }
        properties.insert("Data".to_owned(), data.len().into());
    }
    Ok(Record { event, direct: direct.map(str::to_owned), properties, is_retained: message.is_retained })
}
