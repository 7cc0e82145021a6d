//! Gets fragments from holders into the tracker's own store, to make more copies of them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use distribution::tracker::FetchError;
use endpoint::client::{Channels, FetchFailure, WantedFragment, fetch_fragment};
use protocol::{ClientId, EndpointUri, Hash};
use storage::FragmentWriter;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};

/// How long a holder may send nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a fetch.
#[derive(Debug)]
pub struct Fetched {
    pub fragment: Hash,
    /// Who was asked.
    pub source: ClientId,
    /// Checked and durable, or why not.
    pub result: Result<(), FetchError>,
}

/// Fetches on the threads of the services, not on the event loop's.
#[derive(Debug)]
pub struct Fetcher {
    /// Where it runs.
    pub runtime: Handle,
    /// The connections.
    pub channels: Channels,
    /// Where fragments go.
    pub writer: FragmentWriter,
    /// How long a holder may take for a whole fragment: after that the machine asks another.
    pub timeout: Duration,
}

impl Fetcher {
    /// Fetches a fragment from the holder `source`, which has these endpoints, and reports when it is checked and durable, or why not.
    pub fn fetch(
        &self,
        wanted: WantedFragment,
        source: ClientId,
        endpoints: BTreeSet<EndpointUri>,
        report: UnboundedSender<Fetched>,
    ) {
        let (channels, writer, limit) = (self.channels.clone(), self.writer.clone(), self.timeout);
        self.runtime.spawn(async move {
            let fetched = timeout(limit, fetch_from_any(&channels, wanted, &endpoints)).await;
            let result = match fetched.unwrap_or(Err(FetchError::Unreachable)) {
                Ok(bytes) => store(&writer, wanted.hash, bytes).await,
                Err(failure) => Err(failure),
            };
            // The event loop has ended: so have the repairs.
            let _ = report.send(Fetched { fragment: wanted.hash, source, result });
        });
    }
}

/// All endpoints are of one holder: the first that can be reached decides.
async fn fetch_from_any(
    channels: &Channels,
    wanted: WantedFragment,
    endpoints: &BTreeSet<EndpointUri>,
) -> Result<Bytes, FetchError> {
    for endpoint in endpoints {
        let Ok(channel) = channels.channel(endpoint) else { continue };
        match fetch_fragment(channel, wanted, PATIENCE).await {
            Ok(parts) => return Ok(joined(parts)),
            Err(failure @ (FetchFailure::NotHeld | FetchFailure::Damaged | FetchFailure::Lied)) => {
                warn!(fragment = %wanted.hash, %endpoint, "not fetched: {failure}");
                return Err(FetchError::NotHeld);
            }
            Err(failure) => warn!(fragment = %wanted.hash, %endpoint, "not fetched: {failure}"),
        }
    }
    Err(FetchError::Unreachable)
}

fn joined(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.freeze()
}

/// What was fetched has been checked against its name.
async fn store(writer: &FragmentWriter, fragment: Hash, bytes: Bytes) -> Result<(), FetchError> {
    let (done, stored) = oneshot::channel();
    // If the task is gone nobody wants to know.
    writer.put_hashed(fragment, bytes, Box::new(move |result| drop(done.send(result))));
    match stored.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            error!(%fragment, "a fetched fragment was not stored: {error}");
            Err(FetchError::NotStored)
        }
        Err(_) => Err(FetchError::NotStored),
    }
}
