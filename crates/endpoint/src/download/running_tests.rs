//! Downloads on a simulated network, on a clock that stands still while anything can be done: so times are exact, and a seed says it all.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tonic::Status;

use super::*;
use crate::client::ReceivedBytes;
use crate::download::plan::Dropped;
use crate::proto;

const FRAGMENT_BYTES: u64 = 256 << 10;
/// What a holder sends of one fragment before it turns to the next.
const CHUNK_BYTES: u64 = 64 << 10;
const FRAGMENTS: usize = 256;
const FILE_BYTES: u64 = FRAGMENTS as u64 * FRAGMENT_BYTES;
/// Bytes a second.
const SPEED: u64 = 8 << 20;
const SEEDS: std::ops::Range<u64> = 0..16;

/// What a simulated holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Serve,
    /// From then on every connection breaks, and none is made.
    Die(Duration),
    /// From then on it sends nothing.
    Freeze(Duration),
    /// It sends so many bytes and then nothing.
    StopAfter(u64),
    /// From then on what it sends is something else.
    Lie(Duration),
    /// It serves so many at once and sends the others away for so long.
    ServeOnly(usize, Duration),
}

#[derive(Debug, Clone, Copy)]
struct Spec {
    does: Does,
    /// Bytes a second.
    speed: u64,
    latency: Duration,
}

const GOOD: Spec = Spec { does: Does::Serve, speed: SPEED, latency: Duration::from_millis(2) };

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn that(does: Does) -> Spec {
    Spec { does, ..GOOD }
}

/// A line on which one chunk is sent after the other.
struct Line {
    speed: u64,
    turn: Mutex<()>,
}

impl Line {
    fn new(speed: u64) -> Arc<Self> {
        Arc::new(Self { speed, turn: Mutex::new(()) })
    }

    async fn send(&self, bytes: u64) {
        let _turn = self.turn.lock().await;
        sleep(Duration::from_secs_f64(bytes as f64 / self.speed as f64)).await;
    }
}

struct Holder {
    spec: Spec,
    line: Arc<Line>,
    started: Instant,
    sent: AtomicU64,
    served: AtomicUsize,
}

impl Holder {
    /// Whether it may go on; never answers if it is frozen.
    async fn is_alive(&self) -> bool {
        let now = self.started.elapsed();
        match self.spec.does {
            Does::Die(at) => now < at,
            Does::Freeze(at) if now >= at => std::future::pending().await,
            Does::StopAfter(bytes) if self.sent.load(Ordering::Relaxed) >= bytes => {
                std::future::pending().await
            }
            Does::Serve | Does::Freeze(_) | Does::StopAfter(_) | Does::Lie(_) | Does::ServeOnly(..) => true,
        }
    }

    async fn serve(
        &self,
        bytes: u64,
        link: Option<Arc<Line>>,
        received: ReceivedBytes,
    ) -> Result<Vec<Bytes>, FetchFailure> {
        sleep(self.spec.latency).await;
        let broken = || FetchFailure::Unreachable { status: Status::unavailable("broken") };
        let mut left = bytes;
        while left > 0 {
            let chunk = left.min(CHUNK_BYTES);
            self.line.send(chunk).await;
            if !self.is_alive().await {
                return Err(broken());
            }
            self.sent.fetch_add(chunk, Ordering::Relaxed);
            if let Some(link) = &link {
                link.send(chunk).await;
            }
            received.add(chunk);
            left -= chunk;
        }
        let is_lie = matches!(self.spec.does, Does::Lie(from) if self.started.elapsed() >= from);
        if is_lie { Err(FetchFailure::Lied) } else { Ok(Vec::new()) }
    }
}

/// Gives its place back however the request ends.
struct Place(Arc<Holder>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Simulated {
    holders: BTreeMap<EndpointUri, Arc<Holder>>,
    /// The client's own line.
    link: Option<Arc<Line>>,
    map: FileMap,
}

impl Network for Simulated {
    fn fetch(
        &self,
        request: Request,
        received: ReceivedBytes,
    ) -> BoxFuture<'static, Result<Vec<Bytes>, FetchFailure>> {
        let Request { endpoint, fragment, patience, .. } = request;
        let (holder, link) = (self.holders[&endpoint.unwrap()].clone(), self.link.clone());
        async move {
            let before = holder.served.fetch_add(1, Ordering::Relaxed);
            let _place = Place(holder.clone());
            if let Does::ServeOnly(places, retry_after) = holder.spec.does
                && before >= places
            {
                sleep(holder.spec.latency).await;
                return Err(FetchFailure::Busy { retry_after });
            }
            let served = holder.serve(fragment.size_bytes, link, received);
            tokio::time::timeout(patience, served).await.unwrap_or(Err(FetchFailure::Silent { patience }))
        }
        .boxed()
    }

    fn file_map<'a>(&'a self, _: &'a Hash) -> BoxFuture<'a, Option<FileMap>> {
        async { Some(self.map.clone()) }.boxed()
    }

    fn who_has<'a>(&'a self, _: &'a [Hash]) -> BoxFuture<'a, Vec<(EndpointUri, Vec<Hash>)>> {
        async { Vec::new() }.boxed()
    }
}

/// Checks that every byte comes once.
#[derive(Default)]
struct Seen {
    offsets: std::sync::Mutex<HashSet<u64>>,
    /// How long it takes for each fragment.
    takes: Duration,
}

impl Accept for Seen {
    async fn write(&self, arrival: Arrival) -> bool {
        for offset in arrival.offsets {
            assert!(self.offsets.lock().unwrap().insert(offset), "{offset} came twice");
        }
        sleep(self.takes).await;
        true
    }
}

/// Holders, and which fragments each holds.
#[derive(Debug, Clone)]
struct Shape {
    specs: Vec<Spec>,
    /// By fragment.
    holders: Vec<Vec<usize>>,
    /// Bytes a second of the client's own line.
    link: Option<u64>,
    window_bytes: Option<u64>,
    /// A fragment.
    writing_takes: Duration,
}

#[derive(Debug)]
struct Outcome {
    took: Duration,
    received_bytes: u64,
    dropped: Vec<(String, Option<Dropped>)>,
}

impl Shape {
    fn everywhere(specs: impl Into<Vec<Spec>>) -> Self {
        let specs = specs.into();
        let holders = vec![(0..specs.len()).collect(); FRAGMENTS];
        Self { specs, holders, link: None, window_bytes: None, writing_takes: Duration::ZERO }
    }

    /// Every fragment at so many, one of which is good.
    fn scattered(specs: impl Into<Vec<Spec>>, copies: usize, seed: u64) -> Self {
        let mut shape = Self::everywhere(specs);
        let mut rng = fastrand::Rng::with_seed(seed);
        for holders in &mut shape.holders {
            while holders.len() > copies
                || !holders.iter().any(|holder| shape.specs[*holder].does == Does::Serve)
            {
                *holders = (0..shape.specs.len()).collect();
                rng.shuffle(holders);
                holders.truncate(copies);
            }
        }
        shape
    }

    /// The same without the holders that do anything but serve.
    fn without_bad(&self) -> Self {
        let mut shape = self.clone();
        for holders in &mut shape.holders {
            holders.retain(|holder| self.specs[*holder].does == Does::Serve);
        }
        shape
    }

    fn begin(&self, seed: u64) -> Running<Simulated> {
        let id = |number: usize| -> ClientId { format!("t{number}").parse().unwrap() };
        let endpoint = |number: usize| -> EndpointUri { format!("grpc://t{number}:1").parse().unwrap() };
        let place = |(index, holders): (usize, &Vec<usize>)| FragmentPlace {
            hash: Hash::of(&index.to_be_bytes()),
            size_bytes: FRAGMENT_BYTES,
            offset_bytes: index as u64 * FRAGMENT_BYTES,
            holders: holders.iter().map(|holder| id(*holder)).collect(),
        };
        let map = FileMap {
            hash: Hash::of(b"file"),
            size_bytes: FILE_BYTES,
            file: proto::File::default(),
            fragments: self.holders.iter().enumerate().map(place).collect(),
            endpoints: (0..self.specs.len()).map(|number| (id(number), vec![endpoint(number)])).collect(),
        };
        let started = Instant::now();
        let holder = |(number, spec): (usize, &Spec)| {
            let line = Line::new(spec.speed);
            let (sent, served) = (AtomicU64::new(0), AtomicUsize::new(0));
            (endpoint(number), Arc::new(Holder { spec: *spec, line, started, sent, served }))
        };
        let network = Simulated {
            holders: self.specs.iter().enumerate().map(holder).collect(),
            link: self.link.map(Line::new),
            map: map.clone(),
        };
        let options = DownloadOptions { window_bytes: self.window_bytes, ..DownloadOptions::default() };
        let (range, have, on_progress) = (0..FILE_BYTES, BTreeSet::new(), Box::new(|_| {}));
        let on_silence = Box::new(|_: &[String]| {});
        Running::new(network, Task { map, range, have, options, on_progress, on_silence, seed })
    }

    async fn download(&self, seed: u64) -> Outcome {
        let started = Instant::now();
        let mut running = self.begin(seed);
        let seen = Seen { takes: self.writing_takes, ..Seen::default() };
        running.run(&seen).await.unwrap();
        let took = started.elapsed();
        running.end().await;
        assert_eq!(seen.offsets.into_inner().unwrap().len(), FRAGMENTS);
        let reports = running.reports();
        Outcome {
            took,
            received_bytes: reports.iter().map(|report| report.received_bytes).sum(),
            dropped: reports.into_iter().map(|report| (report.name, report.dropped)).collect(),
        }
    }

    /// Within 1.5 times the time that it takes without the bad holders, and at most 1.05 times the bytes.
    async fn holds_both_bars(&self, seed: u64) -> Outcome {
        let alone = self.without_bad().download(seed).await;
        assert_eq!(alone.received_bytes, FILE_BYTES, "seed {seed}: good holders cost nothing extra");
        let outcome = self.download(seed).await;
        let (time, bytes) = ratios(&outcome, &alone);
        println!("seed {seed}: {time:.2} times the time, {bytes:.4} times the bytes");
        assert!(time <= 1.5, "seed {seed}: {time} times the time: {outcome:?}, alone {alone:?}, {self:?}");
        assert!(bytes <= 1.05, "seed {seed}: {bytes} times the bytes: {outcome:?}, {self:?}");
        outcome
    }
}

fn ratios(outcome: &Outcome, alone: &Outcome) -> (f64, f64) {
    let time = outcome.took.as_secs_f64() / alone.took.as_secs_f64();
    (time, outcome.received_bytes as f64 / FILE_BYTES as f64)
}

#[tokio::test(start_paused = true)]
async fn holders_that_are_all_silent_are_not_waited_for_for_ever_and_are_named() {
    let frozen = that(Does::Freeze(ms(200)));
    let mut running = Shape::everywhere([frozen, frozen]).begin(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    running.on_silence = Box::new(move |silent| tells.try_lock().unwrap().push(silent.to_vec()));
    let started = Instant::now();
    let Err(DownloadError::Unavailable { failed, .. }) = running.run(&Seen::default()).await else {
        panic!("nobody delivers")
    };
    assert_eq!(failed, ["t0", "t1"]);
    let patience = DownloadOptions::default().patience;
    assert!((3 * patience..8 * patience).contains(&started.elapsed()), "{:?}", started.elapsed());
    running.end().await;
    assert_eq!(*told.lock().await, [["t0", "t1"]], "once");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_takes_its_time_is_not_the_silence_of_holders() {
    let shape = Shape { writing_takes: Duration::from_secs(15), ..Shape::everywhere([GOOD, GOOD]) };
    let mut running = shape.begin(1);
    running.on_silence = Box::new(|silent| panic!("{silent:?} do what they should"));
    running.run(&Seen { takes: shape.writing_takes, ..Seen::default() }).await.unwrap();
    running.end().await;
}

/// One killed, one frozen, one that lies, at the times drawn with the seed, beside three that serve. The three alone need 2.7 s.
fn three_bad(seed: u64) -> [Spec; 6] {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut some_time = || ms(rng.u64(0..2500));
    let bad = [Does::Die(some_time()), Does::Freeze(some_time()), Does::Lie(some_time())];
    [GOOD, that(bad[0]), GOOD, that(bad[1]), GOOD, that(bad[2])]
}

#[tokio::test(start_paused = true)]
async fn three_that_are_bad_from_the_beginning() {
    let now = Duration::ZERO;
    let specs = [GOOD, GOOD, GOOD, that(Does::Die(now)), that(Does::Freeze(now)), that(Does::Lie(now))];
    for seed in SEEDS {
        let outcome = Shape::everywhere(specs).holds_both_bars(seed).await;
        assert!(outcome.dropped.contains(&("t5".to_owned(), Some(Dropped::Lied))), "{outcome:?}");
        assert!(outcome.dropped.contains(&("t3".to_owned(), Some(Dropped::Lost))), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_that_go_bad_in_the_middle() {
    for seed in SEEDS {
        Shape::everywhere(three_bad(seed)).holds_both_bars(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_that_go_bad_where_each_has_only_some_of_the_fragments() {
    for seed in SEEDS {
        Shape::scattered(three_bad(seed), 4, seed).holds_both_bars(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_that_go_bad_where_all_fragments_are_rare() {
    for seed in SEEDS {
        Shape::scattered(three_bad(seed), 2, seed).holds_both_bars(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_that_go_bad_when_the_clients_own_line_is_what_it_waits_for() {
    for seed in SEEDS {
        let shape = Shape { link: Some(12 << 20), ..Shape::everywhere(three_bad(seed)) };
        shape.holds_both_bars(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_that_go_bad_when_the_bytes_are_needed_in_order() {
    for seed in SEEDS {
        let shape = Shape { window_bytes: Some(8 << 20), ..Shape::everywhere(three_bad(seed)) };
        shape.holds_both_bars(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_in_the_middle_of_its_last_fragment() {
    // Four of them need 2 s, each sends a quarter of the file.
    for seed in SEEDS {
        let sends = FILE_BYTES / 4 - (seed + 1) * 96 * 1024;
        let specs = [GOOD, GOOD, GOOD, that(Does::StopAfter(sends))];
        let outcome = Shape::everywhere(specs).holds_both_bars(seed).await;
        let four = Shape::everywhere([GOOD; 4]).download(seed).await;
        let (time, bytes) = ratios(&outcome, &four);
        assert!(time <= 1.2 && bytes <= 1.02, "seed {seed}: {time} {bytes} {outcome:?} {four:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_twenty_times_slower_does_its_part_and_nobody_waits_for_it() {
    for seed in SEEDS {
        let slow = Spec { speed: SPEED / 20, ..GOOD };
        let outcome = Shape::everywhere([GOOD, GOOD, GOOD, slow]).download(seed).await;
        let alone = Shape::everywhere([GOOD; 3]).download(seed).await;
        let (time, bytes) = ratios(&outcome, &alone);
        println!("seed {seed}: {time:.3} times the time, {bytes:.4} times the bytes");
        assert!(time <= 1.03 && bytes <= 1.01, "seed {seed}: {time} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn holders_of_different_speeds_are_all_used() {
    for seed in SEEDS {
        let specs = [1, 2, 4, 8].map(|factor| Spec { speed: factor * (2 << 20), ..GOOD });
        let outcome = Shape::everywhere(specs).download(seed).await;
        // All together deliver 30 MiB/s.
        let ideal = FILE_BYTES as f64 / f64::from(30 << 20);
        let time = outcome.took.as_secs_f64() / ideal;
        assert!(time <= 1.15 && outcome.received_bytes == FILE_BYTES, "seed {seed}: {time} {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn busy_holders_are_not_pestered_and_what_they_can_is_had_from_them() {
    for seed in SEEDS {
        // Each must find out once that two at once are too many, and may try once again.
        let busy = that(Does::ServeOnly(1, ms(300)));
        let outcome = Shape::everywhere([busy; 4]).download(seed).await;
        let alone = Shape::everywhere([GOOD; 4]).download(seed).await;
        let (time, bytes) = ratios(&outcome, &alone);
        println!("seed {seed}: {time:.3} times the time");
        assert!(time <= 1.5 && bytes <= 1.0, "seed {seed}: {time} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn far_away_holders_get_as_much_at_once_as_may_be() {
    for seed in SEEDS {
        let far = Spec { latency: ms(100), speed: 64 << 20, ..GOOD };
        let outcome = Shape::everywhere([far; 6]).download(seed).await;
        // Three fragments at once at each, and a trip takes little more than 100 ms: 14 round trips, and some to begin with.
        assert!(outcome.took < ms(2600) && outcome.received_bytes == FILE_BYTES, "seed {seed}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_not_taken_for_silence_of_the_holders() {
    for seed in SEEDS {
        // Four holders bring 128 fragments a second, of which 20 can be written.
        let shape = Shape { writing_takes: ms(50), ..Shape::everywhere([GOOD; 4]) };
        let outcome = shape.download(seed).await;
        assert_eq!(outcome.received_bytes, FILE_BYTES, "seed {seed}: {outcome:?}");
        let writing = ms(50) * FRAGMENTS as u32;
        assert!(outcome.took < writing.mul_f64(1.2), "seed {seed}: {outcome:?}");
    }
}
