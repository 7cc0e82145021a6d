//! A download as its caller sees it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use protocol::Hash;

use crate::client::{Cluster, FileMap};

use super::running::{Running, Task};
use super::writer::Writer;
use super::{DownloadError, HolderReport, InOrderDigest, Sink};

/// How much that came early is kept in memory for the digest. What is beyond is read back from the sink when it is its turn.
const EARLY_BYTES: u64 = 16 << 20;

/// How a download goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadOptions {
    /// Bytes in flight at one holder, but at least two fragments and at most sixteen, and no more than an eightieth of what is wanted:
    /// when a holder dies, what it has delivered of them is lost.
    pub holder_bytes: u64,
    /// Bytes in flight in all.
    pub in_flight_bytes: u64,
    /// How far ahead of the first missing byte it may fetch, and keep in memory; for sinks that need the bytes in order.
    pub window_bytes: Option<u64>,
    /// How long a holder may send nothing.
    pub patience: Duration,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            holder_bytes: 2 << 20,
            in_flight_bytes: 32 << 20,
            window_bytes: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// How far a download has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the range that are there, also from an earlier attempt.
    pub done_bytes: u64,
    /// Bytes of the range.
    pub total_bytes: u64,
}

/// A download that succeeded.
#[derive(Debug)]
pub struct Finished<S> {
    /// The sink, with everything in it.
    pub sink: S,
    /// The digest of the whole file, which was checked; none if only a range was downloaded.
    pub digest: Option<Hash>,
    /// Bytes of verified fragments taken, each once.
    pub fetched_bytes: u64,
    /// Bytes of all answers to requests for fragments, as they came: also of fragments that were asked of two holders, that did not come
    /// whole, or were not what they should be. gRPC's framing of messages counts, HTTP/2's does not.
    pub received_bytes: u64,
    /// How the holders did.
    pub holders: Vec<HolderReport>,
}

pub(super) type OnProgress = Box<dyn FnMut(Progress) + Send>;
pub(super) type OnSilence = Box<dyn FnMut(&[String]) + Send>;

/// A download that has not begun.
pub struct Download {
    cluster: Cluster,
    map: FileMap,
    range: Range<u64>,
    have: BTreeSet<usize>,
    options: DownloadOptions,
    on_progress: OnProgress,
    on_silence: OnSilence,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("file", &self.map.hash)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Download {
    /// A download of the whole file.
    #[must_use]
    pub fn new(cluster: Cluster, map: FileMap) -> Self {
        Self {
            range: 0..map.size_bytes,
            cluster,
            map,
            have: BTreeSet::new(),
            options: DownloadOptions::default(),
            on_progress: Box::new(|_| {}),
            on_silence: Box::new(|_| {}),
        }
    }

    /// Only these bytes of the file. The fragments at its ends are fetched and verified whole.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.range = range;
        self
    }

    /// These fragments, by their index in the file, are in the sink already and verified.
    #[must_use]
    pub fn resume(mut self, have: impl IntoIterator<Item = usize>) -> Self {
        self.have.extend(have);
        self
    }

    /// Other options than the default ones.
    #[must_use]
    pub const fn options(mut self, options: DownloadOptions) -> Self {
        self.options = options;
        self
    }

    /// `on_progress` is called after each fragment.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl FnMut(Progress) + Send + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// `on_silence` is called with the names of those that do not deliver when nothing has come for 12 s, and again only after something
    /// has.
    #[must_use]
    pub fn on_silence(mut self, on_silence: impl FnMut(&[String]) + Send + 'static) -> Self {
        self.on_silence = Box::new(on_silence);
        self
    }

    /// Downloads. Dropping the future ends it; what was handed to the sink is good.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub async fn run<S: Sink>(self, sink: S) -> Result<Finished<S>, DownloadError> {
        let Range { start, end } = self.range;
        let size_bytes = self.map.size_bytes;
        if start > end || end > size_bytes {
            return Err(DownloadError::OutOfRange { start, end, size_bytes });
        }
        let is_whole = self.range == (0..size_bytes);
        let have = self.have.iter().filter_map(|index| self.map.fragments.get(*index));
        // With a window nothing comes very early, and the sink may be one that cannot be read back.
        let early_bytes = self.options.window_bytes.map_or(EARLY_BYTES, |_| u64::MAX);
        let written = have.map(|place| (place.offset_bytes, place.size_bytes));
        let digest = is_whole.then(|| InOrderDigest::new(early_bytes, written));
        let writer = Writer::start(sink, self.range.clone(), digest);
        let Self { cluster, map, range, have, options, on_progress, on_silence } = self;
        let file = map.hash;
        let seed = fastrand::u64(..);
        let task = Task { map, range, have, options, on_progress, on_silence, seed };
        let mut running = Running::new(cluster, task);
        let outcome = running.run(&writer).await;
        running.end().await;
        // What the writer has to say comes first: if it failed, the rest could only stop.
        let (sink, digest) = writer.finish().await.map_err(DownloadError::Sink)?;
        outcome?;
        if let Some(actual) = digest.filter(|actual| *actual != file) {
            return Err(DownloadError::DigestMismatch { expected: file, actual });
        }
        let holders = running.reports();
        let received_bytes = holders.iter().map(|holder| holder.received_bytes).sum();
        Ok(Finished { sink, digest, fetched_bytes: running.fetched_bytes(), received_bytes, holders })
    }
}
