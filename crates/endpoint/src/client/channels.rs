//! One connection for each endpoint, made when it is first needed and shared by all calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::EndpointUri;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a peer may send before it is read: several fragments on one connection, a whole one on each stream.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Large frames: fewer headers and fewer turns for the same bytes.
const FRAME_BYTES: u32 = 256 << 10;
/// How long an endpoint that did not answer comes last.
const AVOIDED_FOR: Duration = Duration::from_secs(5);

/// An endpoint that this build cannot dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDialable {
    /// Not `grpc://host:port`.
    #[error("{0} cannot be dialled: only grpc://host:port can")]
    Scheme(EndpointUri),
    /// TLS is not supported yet.
    #[error("{0} wants TLS, which is not supported yet: use grpc://")]
    Tls(EndpointUri),
}

/// Connections by endpoint. Cheap to clone; all clones share them.
#[derive(Debug, Clone, Default)]
pub struct Channels(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    channels: HashMap<EndpointUri, Channel>,
    avoided_since: HashMap<EndpointUri, Instant>,
}

impl Channels {
    /// The connection to `endpoint`. It is made at the first call and again after it was lost.
    ///
    /// # Errors
    /// If the endpoint cannot be dialled at all. Whether somebody answers shows in the call.
    pub fn channel(&self, endpoint: &EndpointUri) -> Result<Channel, NotDialable> {
        if let Some(channel) = self.shared().channels.get(endpoint) {
            return Ok(channel.clone());
        }
        let channel = dial(endpoint)?;
        self.shared().channels.insert(endpoint.clone(), channel.clone());
        Ok(channel)
    }

    /// Says that `endpoint` did not answer: for a few seconds it should be asked last.
    pub fn avoid(&self, endpoint: &EndpointUri) {
        self.shared().avoided_since.insert(endpoint.clone(), Instant::now());
    }

    /// Says that `endpoint` answered.
    pub fn welcome(&self, endpoint: &EndpointUri) {
        self.shared().avoided_since.remove(endpoint);
    }

    /// Whether `endpoint` failed to answer a short while ago.
    #[must_use]
    pub fn is_avoided(&self, endpoint: &EndpointUri) -> bool {
        self.shared().avoided_since.get(endpoint).is_some_and(|since| since.elapsed() < AVOIDED_FOR)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Each critical section is one map operation: what a panicking thread left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dial(endpoint: &EndpointUri) -> Result<Channel, NotDialable> {
    let not_dialable = || NotDialable::Scheme(endpoint.clone());
    let (authority, with_tls) = endpoint.authority().ok_or_else(not_dialable)?;
    if with_tls {
        return Err(NotDialable::Tls(endpoint.clone()));
    }
    let dialled = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| not_dialable())?;
    Ok(dialled
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .connect_lazy())
}
