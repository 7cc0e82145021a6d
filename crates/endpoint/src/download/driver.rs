//! Does what the plan says: fetches from all holders at once, and hands what is verified to the writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::{ClientId, EndpointUri, Hash};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{
    Cluster, FetchFailure, FileMap, FragmentPlace, WantedFragment, fetch_fragment, fetch_through,
};

use super::holders::Holders;
use super::plan::{Failure, Flight, Outlook, Plan, PlanLimits};
use super::writer::{Arrival, Writer};
use super::{DownloadError, HolderReport, InOrderDigest, Sink};

/// How much that came early is kept in memory for the digest. What is beyond is read back from the sink when it is its turn.
const EARLY_BYTES: u64 = 16 << 20;
/// How often the network is asked again who holds what nobody delivered.
const ROUNDS: u32 = 3;
/// The pause before it is asked again.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// How a download goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadOptions {
    /// Bytes in flight at one holder, but at least two fragments and at most sixteen.
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
    /// How the holders did.
    pub holders: Vec<HolderReport>,
}

type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// A download that has not begun.
pub struct Download {
    cluster: Cluster,
    map: FileMap,
    range: Range<u64>,
    have: BTreeSet<usize>,
    options: DownloadOptions,
    on_progress: OnProgress,
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
        let file = self.map.hash;
        let mut running = Running::new(self);
        let outcome = running.run(&writer).await;
        running.fetches.shutdown().await;
        // What the writer has to say comes first: if it failed, the rest could only stop.
        let (sink, digest) = writer.finish().await.map_err(DownloadError::Sink)?;
        outcome?;
        if let Some(actual) = digest.filter(|actual| *actual != file) {
            return Err(DownloadError::DigestMismatch { expected: file, actual });
        }
        let Running { plan, holders, fetched_bytes, .. } = running;
        Ok(Finished { sink, digest, fetched_bytes, holders: holders.reports(|index| plan.dropped(index)) })
    }
}

/// One distinct fragment that is wanted.
struct Wanted {
    fragment: WantedFragment,
    /// All places in the file where it belongs.
    offsets: Vec<u64>,
}

struct Running {
    cluster: Cluster,
    file: Hash,
    range: Range<u64>,
    options: DownloadOptions,
    on_progress: OnProgress,
    /// In the order of the plan.
    wanted: Vec<Wanted>,
    by_hash: HashMap<Hash, Vec<usize>>,
    plan: Plan,
    holders: Holders,
    started: Instant,
    fetches: JoinSet<(Flight, Result<Vec<Bytes>, FetchFailure>)>,
    flying: HashMap<Flight, AbortHandle>,
    done_bytes: u64,
    fetched_bytes: u64,
}

impl Running {
    fn new(download: Download) -> Self {
        let Download { cluster, map, range, have, options, on_progress } = download;
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut by_hash: HashMap<Hash, Vec<usize>> = HashMap::new();
        let mut done_bytes = 0;
        for (index, place) in map.fragments.iter().enumerate() {
            let overlap_bytes = overlap(&range, place);
            if overlap_bytes == 0 {
                continue;
            }
            if have.contains(&index) {
                done_bytes += overlap_bytes;
                continue;
            }
            let same = by_hash.entry(place.hash).or_default();
            // Equal fragments are fetched once, unless the later one would have to wait in memory for its turn.
            if let Some(first) = same.first().filter(|_| options.window_bytes.is_none()) {
                wanted[*first].offsets.push(place.offset_bytes);
                continue;
            }
            same.push(wanted.len());
            let offsets = vec![place.offset_bytes];
            let fragment = WantedFragment { hash: place.hash, size_bytes: place.size_bytes };
            wanted.push(Wanted { fragment, offsets });
        }
        let largest = wanted.iter().map(|wanted| wanted.fragment.size_bytes).max().unwrap_or(1).max(1);
        let count = |bytes: u64| usize::try_from(bytes / largest).unwrap_or(usize::MAX);
        let limits = PlanLimits {
            per_holder: count(options.holder_bytes).clamp(2, 16),
            bytes: options.in_flight_bytes,
            window: options.window_bytes.map(|bytes| count(bytes).max(2)),
        };
        let plan = Plan::new(wanted.iter().map(|wanted| wanted.fragment.size_bytes), limits);
        let mut running = Self {
            cluster,
            file: map.hash,
            range,
            options,
            on_progress,
            wanted,
            by_hash,
            plan,
            holders: Holders::default(),
            started: Instant::now(),
            fetches: JoinSet::new(),
            flying: HashMap::new(),
            done_bytes,
            fetched_bytes: 0,
        };
        running.learn(&map);
        running
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn run<S: Sink>(&mut self, writer: &Writer<S>) -> Result<(), DownloadError> {
        let mut rounds = 0;
        loop {
            while let Some(flight) = self.plan.next(self.now()) {
                self.take_off(flight);
            }
            match self.plan.outlook() {
                Outlook::Done => return Ok(()),
                Outlook::Running => {}
                Outlook::Stuck(fragments) => {
                    let fragments: Vec<Hash> =
                        fragments.into_iter().map(|fragment| self.wanted[fragment].fragment.hash).collect();
                    rounds += 1;
                    if rounds > ROUNDS {
                        return Err(DownloadError::Unavailable { file: self.file, fragments });
                    }
                    if rounds > 1 {
                        sleep(ROUND_PAUSE).await;
                    }
                    self.ask_again(&fragments, rounds > 1).await;
                    continue;
                }
            }
            let check = self.plan.next_check(self.now()).map(|check| self.started + check);
            tokio::select! {
                Some(landed) = self.fetches.join_next() => {
                    let (flight, result) = match landed {
                        Ok(landed) => landed,
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // It was called off and is no longer in the plan.
                        Err(_) => continue,
                    };
                    if self.flying.remove(&flight).is_none() {
                        continue;
                    }
                    match result {
                        Ok(parts) => {
                            rounds = 0;
                            if !self.arrived(flight, parts, writer).await {
                                return Ok(());
                            }
                        }
                        Err(failure) => self.lost(flight, &failure),
                    }
                }
                () = sleep_until(check.unwrap_or_else(|| Instant::now() + self.options.patience)) => {}
            }
        }
    }

    /// Asks the holder for the fragment.
    fn take_off(&mut self, flight: Flight) {
        let wanted = &self.wanted[flight.fragment];
        let (fragment, offset) = (wanted.fragment, wanted.offsets.first().copied().unwrap_or_default());
        let (file, patience) = (self.file, self.options.patience);
        let holder = self.holders.get_mut(flight.holder);
        let is_relay = holder.is_relay;
        let channel = holder.endpoint().map(|endpoint| self.cluster.channels().channel(endpoint));
        let fetch = self.fetches.spawn(async move {
            let result = match channel {
                Some(Ok(channel)) if is_relay => {
                    fetch_through(channel, file, offset, fragment, patience).await
                }
                Some(Ok(channel)) => fetch_fragment(channel, fragment, patience).await,
                Some(Err(_)) | None => Err(FetchFailure::NotDialable),
            };
            (flight, result)
        });
        self.flying.insert(flight, fetch);
    }

    /// A fragment is there and verified. False if it cannot be written.
    async fn arrived<S: Sink>(&mut self, flight: Flight, parts: Vec<Bytes>, writer: &Writer<S>) -> bool {
        let superfluous = self.plan.delivered(flight, self.now());
        self.call_off(&superfluous);
        let wanted = &mut self.wanted[flight.fragment];
        let holder = self.holders.get_mut(flight.holder);
        holder.fragments += 1;
        let size_bytes = wanted.fragment.size_bytes;
        holder.bytes += size_bytes;
        self.fetched_bytes += size_bytes;
        let offsets = std::mem::take(&mut wanted.offsets);
        self.done_bytes +=
            offsets.iter().map(|offset| overlap_at(&self.range, *offset, size_bytes)).sum::<u64>();
        let is_written = writer.write(Arrival { offsets, parts }).await;
        let total_bytes = self.range.end - self.range.start;
        (self.on_progress)(Progress { done_bytes: self.done_bytes, total_bytes });
        is_written
    }

    /// A holder did not deliver.
    fn lost(&mut self, flight: Flight, failure: &FetchFailure) {
        let holder = self.holders.get_mut(flight.holder);
        holder.failures += 1;
        let kind = match failure {
            FetchFailure::NotHeld | FetchFailure::Damaged => Failure::NotHeld,
            FetchFailure::Lied => Failure::Lied,
            FetchFailure::Busy => Failure::Busy,
            FetchFailure::Silent { .. } | FetchFailure::Unreachable { .. } | FetchFailure::NotDialable => {
                holder.use_next_endpoint();
                Failure::Lost
            }
        };
        let fragment = self.wanted[flight.fragment].fragment.hash;
        if kind == Failure::Lied {
            tracing::warn!(holder = holder.name, %fragment, "delivered other bytes; it is asked no more");
        } else {
            tracing::debug!(holder = holder.name, %fragment, %failure, "did not deliver");
        }
        let over = self.plan.failed(flight, kind, self.now());
        self.call_off(&over);
    }

    fn call_off(&mut self, flights: &[Flight]) {
        for fetch in flights.iter().filter_map(|flight| self.flying.remove(flight)) {
            fetch.abort();
        }
    }

    /// Asks the network again who holds what nobody delivered, and every daemon whether it has it: the tracker has what is not
    /// distributed yet. With `relays`, those that answer are also asked to fetch it themselves: they may reach holders that we do not.
    async fn ask_again(&mut self, fragments: &[Hash], relays: bool) {
        self.plan.forgive();
        if let Ok(map) = self.cluster.file_map(&self.file).await {
            self.learn(&map);
        }
        for (endpoint, held) in self.cluster.who_has(fragments).await {
            let holder = match self.holders.at_endpoint(&endpoint) {
                Some(holder) => holder,
                None => self.add_holder(endpoint.to_string(), vec![endpoint.clone()], false),
            };
            let held = self.fragments_of(&held);
            self.plan.add_held(holder, held);
            if relays {
                let name = format!("by way of {endpoint}");
                let relay = match self.holders.index(&name) {
                    Some(relay) => relay,
                    None => self.add_holder(name, vec![endpoint], true),
                };
                let fragments = self.fragments_of(fragments);
                self.plan.add_held(relay, fragments);
            }
        }
    }

    fn fragments_of(&self, hashes: &[Hash]) -> Vec<usize> {
        hashes.iter().filter_map(|hash| self.by_hash.get(hash)).flatten().copied().collect()
    }

    /// Takes over who holds what.
    fn learn(&mut self, map: &FileMap) {
        let mut held: BTreeMap<&ClientId, Vec<usize>> = BTreeMap::new();
        for place in &map.fragments {
            let Some(fragments) = self.by_hash.get(&place.hash) else { continue };
            for holder in &place.holders {
                held.entry(holder).or_default().extend(fragments);
            }
        }
        for (id, fragments) in held {
            let holder = match self.holders.index(id.as_str()) {
                Some(holder) => holder,
                None => {
                    let endpoints = map.endpoints.get(id).cloned().unwrap_or_default();
                    let dialable = endpoints.into_iter().filter(|endpoint| endpoint.authority().is_some());
                    self.add_holder(id.to_string(), dialable.collect(), false)
                }
            };
            self.plan.add_held(holder, fragments);
        }
    }

    fn add_holder(&mut self, name: String, endpoints: Vec<EndpointUri>, is_relay: bool) -> usize {
        self.holders.add(name, endpoints, is_relay);
        self.plan.add_holder()
    }
}

/// How many bytes of the fragment lie in the range.
fn overlap(range: &Range<u64>, place: &FragmentPlace) -> u64 {
    overlap_at(range, place.offset_bytes, place.size_bytes)
}

fn overlap_at(range: &Range<u64>, offset_bytes: u64, size_bytes: u64) -> u64 {
    let end = (offset_bytes + size_bytes).min(range.end);
    end.saturating_sub(offset_bytes.max(range.start))
}
