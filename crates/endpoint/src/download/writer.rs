//! The thread that writes what was verified, and hashes the whole file as it goes.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use protocol::Hash;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{InOrderDigest, Sink};

/// How many fragments may wait to be written: enough to keep the thread busy, few enough to bound memory.
const WAITING: usize = 8;

/// A verified fragment and all places in the file where it belongs.
pub struct Arrival {
    pub offsets: Vec<u64>,
    pub parts: Vec<Bytes>,
}

/// Where arrivals go.
pub trait Accept: Sync {
    /// Hands over a fragment; waits if too many wait already. False if that failed for good.
    fn write(&self, arrival: Arrival) -> impl Future<Output = bool> + Send;
}

/// Sends arrivals to the thread.
pub struct Writer<S> {
    arrivals: mpsc::Sender<Arrival>,
    thread: JoinHandle<io::Result<(S, Option<Hash>)>>,
}

impl<S: Sink> Writer<S> {
    /// Starts the thread. Only bytes within `range` reach the sink.
    pub fn start(sink: S, range: Range<u64>, digest: Option<InOrderDigest>) -> Self {
        let (arrivals, arriving) = mpsc::channel(WAITING);
        let thread = tokio::task::spawn_blocking(move || write_all(sink, &range, digest, arriving));
        Self { arrivals, thread }
    }

    /// Waits until all is written.
    pub async fn finish(self) -> io::Result<(S, Option<Hash>)> {
        drop(self.arrivals);
        self.thread.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl<S: Sink> Accept for Writer<S> {
    /// False if the thread has failed: [`finish`](Writer::finish) says why.
    async fn write(&self, arrival: Arrival) -> bool {
        self.arrivals.send(arrival).await.is_ok()
    }
}

fn write_all<S: Sink>(
    mut sink: S,
    range: &Range<u64>,
    mut digest: Option<InOrderDigest>,
    mut arriving: mpsc::Receiver<Arrival>,
) -> io::Result<(S, Option<Hash>)> {
    if let Some(digest) = &mut digest {
        digest.catch_up(|offset, bytes| sink.read_at(offset, bytes))?;
    }
    while let Some(Arrival { offsets, parts }) = arriving.blocking_recv() {
        for start in offsets {
            let mut offset = start;
            for part in &parts {
                let (at, wanted) = within(range, offset, part);
                if !wanted.is_empty() {
                    sink.write_at(at, &wanted)?;
                }
                if let Some(digest) = &mut digest {
                    digest.take(offset, part, |offset, bytes| sink.read_at(offset, bytes))?;
                }
                offset += part.len() as u64;
            }
        }
    }
    Ok((sink, digest.map(InOrderDigest::finish)))
}

/// The bytes of `part`, which begins at `offset`, that lie within `range`, and where they begin.
fn within(range: &Range<u64>, offset: u64, part: &Bytes) -> (u64, Bytes) {
    let end = offset + part.len() as u64;
    let (from, to) = (range.start.clamp(offset, end), range.end.clamp(offset, end));
    let at = |place: u64| usize::try_from(place - offset).unwrap_or(part.len());
    (from, part.slice(at(from)..at(to.max(from))))
}
