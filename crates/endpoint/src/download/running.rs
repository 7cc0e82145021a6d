//! Does what the plan says: fetches from all holders at once, and hands what is verified to the writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::{ClientId, EndpointUri, Hash};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{FetchFailure, FileMap, FragmentPlace, WantedFragment};

use super::driver::{DownloadOptions, OnProgress, OnSilence, Progress};
use super::holders::Holders;
use super::network::{Network, Request};
use super::plan::{Failure, Flight, Outlook, Plan, PlanLimits};
use super::writer::{Accept, Arrival};
use super::{DownloadError, HolderReport};

/// How often the network is asked again who holds what nobody delivered.
const ROUNDS: u32 = 3;
/// Once nothing has come for this many times the patience with one request, the network is not asked again.
const SILENT_PATIENCES: u32 = 5;
/// A download in which nothing comes for this long seems to have stopped, and it is told why.
const SILENCE: Duration = Duration::from_secs(12);
/// The pause before it is asked again.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// At most this part of what is wanted is in flight at one holder, so that three that die cost less than a twentieth.
const HOLDER_SHARE: u64 = 80;

/// One distinct fragment that is wanted.
struct Wanted {
    fragment: WantedFragment,
    /// All places in the file where it belongs.
    offsets: Vec<u64>,
}

/// What is to be downloaded, and how.
pub struct Task {
    pub map: FileMap,
    pub range: Range<u64>,
    /// Fragments that are there, by their index in the file.
    pub have: BTreeSet<usize>,
    pub options: DownloadOptions,
    pub on_progress: OnProgress,
    pub on_silence: OnSilence,
    /// Decides what the plan leaves to chance.
    pub seed: u64,
}

/// A download under way.
pub struct Running<N> {
    network: N,
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
    /// How long nothing was taken from anybody because the writer was behind: no holder's fault.
    held_up: Duration,
    /// How often in a row the network was asked again.
    rounds: u32,
    /// When the last fragment came, or the download began, in the plan's time.
    last_arrival: Duration,
    /// Whether it was told that nothing comes.
    is_silence_told: bool,
    on_silence: OnSilence,
    fetches: JoinSet<Landed>,
    flying: HashMap<Flight, Airborne>,
    done_bytes: u64,
    fetched_bytes: u64,
}

/// A request that has ended.
type Landed = (Flight, Result<Vec<Bytes>, FetchFailure>);

/// A request under way.
struct Airborne {
    fetch: AbortHandle,
    /// Which of the holder's endpoints was asked.
    endpoint: usize,
}

impl<N: Network> Running<N> {
    /// Nothing is asked for yet.
    pub fn new(network: N, task: Task) -> Self {
        let Task { map, range, have, options, on_progress, on_silence, seed } = task;
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
        let wanted_bytes: u64 = wanted.iter().map(|wanted| wanted.fragment.size_bytes).sum();
        let limits = PlanLimits {
            per_holder: count(options.holder_bytes.min(wanted_bytes / HOLDER_SHARE)).clamp(2, 16),
            bytes: options.in_flight_bytes,
            window: options.window_bytes.map(|bytes| count(bytes).max(2)),
            seed,
        };
        let plan = Plan::new(wanted.iter().map(|wanted| wanted.fragment.size_bytes), limits);
        let mut running = Self {
            network,
            file: map.hash,
            range,
            options,
            on_progress,
            wanted,
            by_hash,
            plan,
            holders: Holders::default(),
            started: Instant::now(),
            held_up: Duration::ZERO,
            rounds: 0,
            last_arrival: Duration::ZERO,
            is_silence_told: false,
            on_silence,
            fetches: JoinSet::new(),
            flying: HashMap::new(),
            done_bytes,
            fetched_bytes: 0,
        };
        running.learn(&map);
        running
    }

    /// Calls off what is still under way.
    pub async fn end(&mut self) {
        self.fetches.shutdown().await;
    }

    /// Bytes of verified fragments taken, each once.
    pub const fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes
    }

    /// How the holders did.
    pub fn reports(&self) -> Vec<HolderReport> {
        self.holders.reports(|holder| self.plan.dropped(holder))
    }

    /// The plan's time.
    fn now(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.held_up)
    }

    /// How long nothing has come.
    fn silent_for(&self) -> Duration {
        self.now().saturating_sub(self.last_arrival)
    }

    /// Downloads all that is missing, or as much of it as can be had.
    pub async fn run(&mut self, writer: &impl Accept) -> Result<(), DownloadError> {
        loop {
            // What has come already goes before whatever is concluded from its not having come.
            while let Some(landed) = self.fetches.try_join_next() {
                if !self.landed(landed, writer).await {
                    return Ok(());
                }
            }
            while let Some(flight) = self.plan.next(self.now()) {
                self.take_off(flight);
            }
            if !self.is_silence_told && self.silent_for() >= SILENCE {
                self.is_silence_told = true;
                let awaited = self.flying.keys().map(|flight| flight.holder).collect();
                let silent = self.holders.silent(&awaited);
                (self.on_silence)(&silent);
            }
            match self.plan.outlook() {
                Outlook::Done => return Ok(()),
                Outlook::Running => {}
                Outlook::Stuck(fragments) => {
                    let fragments: Vec<Hash> =
                        fragments.into_iter().map(|fragment| self.wanted[fragment].fragment.hash).collect();
                    self.rounds += 1;
                    // Whoever is silent takes the patience of several requests each round.
                    let silent = self.silent_for();
                    let is_enough = silent > SILENT_PATIENCES * self.options.patience;
                    if self.rounds > ROUNDS || (self.rounds > 1 && is_enough) {
                        let failed = self.holders.silent(&BTreeSet::new());
                        return Err(DownloadError::Unavailable { file: self.file, fragments, failed });
                    }
                    if self.rounds > 1 {
                        sleep(ROUND_PAUSE).await;
                    }
                    self.ask_again(&fragments, self.rounds > 1 || silent > self.options.patience).await;
                    continue;
                }
            }
            let told = (!self.is_silence_told).then_some(self.last_arrival + SILENCE);
            let check = self.plan.next_check(self.now()).into_iter().chain(told).min();
            let check = check.map(|check| self.started + self.held_up + check);
            tokio::select! {
                Some(landed) = self.fetches.join_next() => {
                    if !self.landed(landed, writer).await {
                        return Ok(());
                    }
                }
                () = sleep_until(check.unwrap_or_else(|| Instant::now() + self.options.patience)) => {}
            }
        }
    }

    /// A request has ended. False if what it brought cannot be written.
    async fn landed(&mut self, landed: Result<Landed, JoinError>, writer: &impl Accept) -> bool {
        let (flight, result) = match landed {
            Ok(landed) => landed,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // It was called off and is no longer in the plan.
            Err(_) => return true,
        };
        let Some(Airborne { endpoint, .. }) = self.flying.remove(&flight) else { return true };
        match result {
            Ok(parts) => {
                let is_written = self.arrived(flight, parts, writer).await;
                (self.rounds, self.last_arrival, self.is_silence_told) = (0, self.now(), false);
                return is_written;
            }
            Err(failure) => self.lost(flight, endpoint, &failure),
        }
        true
    }

    /// Asks the holder for the fragment.
    fn take_off(&mut self, flight: Flight) {
        let wanted = &self.wanted[flight.fragment];
        let (fragment, offset) = (wanted.fragment, wanted.offsets.first().copied().unwrap_or_default());
        let holder = self.holders.get_mut(flight.holder);
        let through = holder.is_relay.then_some((self.file, offset));
        let request = Request {
            endpoint: holder.endpoint().cloned(),
            through,
            fragment,
            patience: self.options.patience,
        };
        let fetch = self.network.fetch(request, holder.received.clone());
        let fetch = self.fetches.spawn(async move { (flight, fetch.await) });
        self.flying.insert(flight, Airborne { fetch, endpoint: holder.current() });
    }

    /// A fragment is there and verified. False if it cannot be written.
    async fn arrived(&mut self, flight: Flight, parts: Vec<Bytes>, writer: &impl Accept) -> bool {
        let superfluous = self.plan.delivered(flight, self.now());
        self.call_off(&superfluous);
        let wanted = &mut self.wanted[flight.fragment];
        let holder = self.holders.get_mut(flight.holder);
        holder.fragments += 1;
        holder.failed_last = false;
        let size_bytes = wanted.fragment.size_bytes;
        holder.bytes += size_bytes;
        self.fetched_bytes += size_bytes;
        let offsets = std::mem::take(&mut wanted.offsets);
        self.done_bytes +=
            offsets.iter().map(|offset| overlap_at(&self.range, *offset, size_bytes)).sum::<u64>();
        let waiting = Instant::now();
        let is_written = writer.write(Arrival { offsets, parts }).await;
        self.held_up += waiting.elapsed();
        let total_bytes = self.range.end - self.range.start;
        (self.on_progress)(Progress { done_bytes: self.done_bytes, total_bytes });
        is_written
    }

    /// A holder did not deliver; that endpoint of it was asked.
    fn lost(&mut self, flight: Flight, endpoint: usize, failure: &FetchFailure) {
        let holder = self.holders.get_mut(flight.holder);
        holder.failures += 1;
        holder.failed_last = true;
        let kind = match failure {
            FetchFailure::NotHeld | FetchFailure::Damaged => Failure::NotHeld,
            FetchFailure::Lied => Failure::Lied,
            FetchFailure::Busy { retry_after } => Failure::Busy { retry_after: *retry_after },
            FetchFailure::Silent { .. } | FetchFailure::Unreachable { .. } | FetchFailure::NotDialable => {
                holder.use_another_than(endpoint);
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
            fetch.fetch.abort();
        }
    }

    /// Asks the network again who holds what nobody delivered, and every daemon whether it has it: the tracker has what is not
    /// distributed yet. With `relays`, those that answer are also asked to fetch it themselves: they may reach holders that we do not.
    async fn ask_again(&mut self, fragments: &[Hash], relays: bool) {
        self.plan.forgive();
        if let Some(map) = self.network.file_map(&self.file).await {
            self.learn(&map);
        }
        for (endpoint, held) in self.network.who_has(fragments).await {
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

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
