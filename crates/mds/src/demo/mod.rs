//! `mds demo`: a whole network in one process tree, and one file's way through it.
//!
//! The broker runs in this process; tracker and torrents are child processes, this same binary started again. What happens is told step by
//! step, with the commands that a user would type for it.

mod child;
mod network;
mod story;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use endpoint::client::{Cluster, FileMap};
use protocol::{ClientId, FileName, Hash, Hasher};
use serde::Serialize;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cli::{Demo, Wait};
use crate::describe::{FileView, unsigned};
use crate::exit::{Code, Failure};
use crate::info::holder_lines;
use crate::output::{Output, count, size};
use crate::put::{Copies, Source, Uploads};
use crate::signals::Signals;

pub use child::end_with_stdin;
use network::Network;
use story::{Story, quoted};

const FILE_BYTES: u64 = 32 << 20;
const COPIES: u32 = 2;
/// How long one step may take on a slow machine; no step should need a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `demo --json` answers once all steps are done.
#[derive(Debug, Serialize)]
struct DemoView {
    directory: PathBuf,
    broker: String,
    tracker: String,
    torrents: Vec<String>,
    /// The page that shows how things stand.
    page: Option<String>,
    /// The torrent that was killed.
    killed: String,
    file: FileView,
    /// Bytes that came over the network after the kill.
    fetched_bytes: u64,
}

/// Runs the demo until its end or a signal; nothing that it started survives it.
pub async fn run(demo: &Demo, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let (directory, _temporary) = directory(demo.dir.as_deref())?;
    let story = Story::new(output);
    let mut network = Network::new(&directory);
    let played = tokio::select! {
        played = play(demo, &directory, &mut network, &story) => played,
        () = signals.next() => Err(Failure::interrupted()),
    };
    let outcome = match played {
        Ok(view) if demo.once => story.answer(&view),
        Ok(view) => stay(view, &mut network, &story, &mut signals).await,
        Err(failure) => Err(failure),
    };
    // A second signal ends everything at once.
    tokio::select! {
        () = network.stop() => {}
        () = signals.next() => {}
    }
    outcome
}

/// The steps.
async fn play(
    demo: &Demo,
    directory: &Path,
    network: &mut Network,
    story: &Story,
) -> Result<DemoView, Failure> {
    story.title("MQTT Distribution Services: the demo")?;

    story.step(&format!("Start a broker, a tracker and {} torrents", demo.torrents))?;
    network.start(demo.torrents, COPIES).await?;
    let endpoint = network.tracker_endpoint()?;
    for member in network.members() {
        story.command(&member.command_line())?;
    }
    story.say(&format!("broker     {} (in this process; any MQTT broker will do)", network.broker_url()))?;
    for member in network.members() {
        story.say(&format!(
            "{:<10} grpc://{}   log: {}",
            member.name(),
            member.endpoint()?,
            member.log().display()
        ))?;
    }
    let cluster = Cluster::connect([endpoint.clone()]).await?;
    in_time("the torrents did not join", registered(&cluster, demo.torrents)).await?;
    story.say(&format!("{} torrents have joined.", demo.torrents))?;

    let (path, digest) = file(demo.file.as_deref(), directory).await?;
    story.step(&format!("Put a file, and wait until {COPIES} torrents hold each of its fragments"))?;
    story.command(&format!("mds --endpoint {endpoint} put --wait {COPIES} {}", shown(&path)))?;
    let (file, map) = put(&cluster, &path, digest).await?;
    story.say(&file.sum_line())?;
    let fragments = count(file.fragment_count, "fragment");
    story.say(&format!("{} in {fragments}. Where they are along the file:", size(file.size_bytes)))?;
    story.command(&format!("mds --endpoint {endpoint} info {}", file.digest))?;
    holder_lines(&map).iter().try_for_each(|line| story.say(line.trim_start()))?;

    let killed = victim(&map).map_or_else(|| "torrent-1".to_owned(), ToString::to_string);
    story.step(&format!("Kill {killed}, with no warning"))?;
    let pid = network.kill(&killed).await?;
    story.command(&format!("kill -9 {pid}"))?;

    let copy = directory.join("copy");
    story.step("Get the file from the others")?;
    story.command(&format!("mds --endpoint {endpoint} get -f -o {} {}", shown(&copy), file.digest))?;
    let fetched_bytes = get(&cluster, &map, &copy, story).await?;

    story.step("Compare")?;
    story.command(&format!("sha256sum {} {}", shown(&path), shown(&copy)))?;
    let copied = spawn_blocking({
        let copy = copy.clone();
        move || digest_of(&copy)
    });
    let copied = copied.await.map_err(panicked)??;
    story.say(&format!("{digest}  {}", path.display()))?;
    story.say(&format!("{copied}  {}", copy.display()))?;
    if copied != digest {
        let message = format!("{} is not the file that was put: please report this", copy.display());
        return Err(Failure::new(Code::DigestMismatch, "DIGEST_MISMATCH", message));
    }
    story.say("The same, byte for byte, although one of the torrents is gone.")?;

    story.step("Wait until its copies have been made again")?;
    story.command(&format!("mds --endpoint {endpoint} status"))?;
    in_time("the copies were not made again", repaired(&cluster)).await?;
    story.say(&format!("Every fragment has {COPIES} copies again, without {killed}."))?;
    Ok(DemoView {
        directory: directory.to_owned(),
        broker: network.broker_url(),
        tracker: endpoint.to_string(),
        torrents: network.torrent_endpoints()?,
        page: network.http_address().map(|http| format!("http://{http}/")),
        killed,
        file,
        fetched_bytes,
    })
}

/// Leaves everything running until a signal comes or something ends by itself.
async fn stay(
    mut view: DemoView,
    network: &mut Network,
    story: &Story,
    signals: &mut Signals,
) -> Result<(), Failure> {
    story.step(&format!("Start {} again; from here on it is yours", view.killed))?;
    network.restart(&view.killed).await?;
    view.torrents = network.torrent_endpoints()?;
    let cluster = Cluster::connect([network.tracker_endpoint()?]).await?;
    let torrents = view.torrents.len() as u32;
    tokio::select! {
        joined = in_time("the torrent did not join again", registered(&cluster, torrents)) => joined?,
        () = signals.next() => return Ok(()),
    }
    story.say("Try, in another terminal:")?;
    story.command(&format!("export MDS_ENDPOINT={}", view.tracker))?;
    for command in ["mds status", "mds ls", "mds peers", "mds put --wait 2 FILE", "mds get NAME"] {
        story.command(&as_typed(command))?;
    }
    if let Some(page) = &view.page {
        story.say(&format!("In a browser: {page} (metrics: {page}metrics)"))?;
    }
    story.say(&format!("Everything is below {}. Ctrl-C ends it all.", view.directory.display()))?;
    story.answer(&view)?;
    tokio::select! {
        failure = network.ended() => Err(failure),
        () = signals.next() => Ok(()),
    }
}

/// A command of this program as it can be typed where this one was: `mds` may not be where the shell looks.
fn as_typed(command: &str) -> String {
    let program = std::env::args_os().next().filter(|program| program.as_encoded_bytes().contains(&b'/'));
    match (program, command.strip_prefix("mds ")) {
        (Some(program), Some(arguments)) => {
            format!("{} {arguments}", story::quoted(&program.to_string_lossy()))
        }
        (Some(_) | None, _) => command.to_owned(),
    }
}

/// The directory, and what deletes it in the end if it is a temporary one.
fn directory(told: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), Failure> {
    if let Some(directory) = told {
        let made = std::fs::create_dir_all(directory).and_then(|()| directory.canonicalize());
        return Ok((made.map_err(|error| Failure::io("made", directory, &error))?, None));
    }
    let base = std::env::temp_dir();
    let made =
        TempDir::with_prefix_in("mds-demo-", &base).map_err(|error| Failure::io("written", &base, &error))?;
    Ok((made.path().to_owned(), Some(made)))
}

fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
}

async fn in_time<T>(otherwise: &str, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| {
        let message = format!(
            "{otherwise} within {} s: their logs say why; give --dir DIR to keep them",
            PATIENCE.as_secs()
        );
        Err(Failure::new(Code::TimedOut, "TIMED_OUT", message))
    })
}

/// Waits until that many torrents take part.
async fn registered(cluster: &Cluster, torrents: u32) -> Result<(), Failure> {
    loop {
        let health = cluster.network().await?.health.unwrap_or_default();
        if unsigned(health.servers_registered) >= u64::from(torrents) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the torrent that was killed counts no more, and every fragment has its copies without it.
async fn repaired(cluster: &Cluster) -> Result<(), Failure> {
    loop {
        let health = cluster.network().await?.health.unwrap_or_default();
        if health.servers_suspect == 0
            && health.servers_registered < health.servers_known
            && health.fragments_under_replicated == 0
            && health.fragments_unavailable == 0
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The file to put and its digest: the one that was told, or a new one.
async fn file(told: Option<&Path>, directory: &Path) -> Result<(PathBuf, Hash), Failure> {
    let told = told.map(Path::to_owned);
    let path = directory.join("demo.bin");
    let made = spawn_blocking(move || match told {
        Some(told) => digest_of(&told).map(|digest| (told, digest)),
        None => {
            let digest = make_file(&path).map_err(|error| Failure::io("written", &path, &error))?;
            Ok((path, digest))
        }
    });
    made.await.map_err(panicked)?
}

/// Bytes without a pattern, the same in every run.
fn make_file(path: &Path) -> io::Result<Hash> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = BufWriter::new(File::create(path)?);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES / buffer.len() as u64 {
        random.fill(&mut buffer);
        hasher.update(&buffer);
        file.write_all(&buffer)?;
    }
    file.flush()?;
    Ok(hasher.finish())
}

fn digest_of(path: &Path) -> Result<Hash, Failure> {
    let mut hasher = Hashing(Hasher::new());
    let hashed = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    hashed.map_err(|error| Failure::io("read", path, &error))?;
    Ok(hasher.0.finish())
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn put(cluster: &Cluster, path: &Path, digest: Hash) -> Result<(FileView, FileMap), Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<FileName>().ok());
    let name = name.unwrap_or_else(|| "demo".parse().expect("a word is a file name"));
    let source = Source::Path { path: path.to_owned(), name };
    let copies = Copies::wanted(cluster, Wait::Copies(COPIES), PATIENCE).await?;
    let file = Uploads::at_tracker(cluster, true).await?.put(source, None).await?;
    let file = copies.wait_for(cluster, &file, true).await?;
    Ok((FileView::of(&file), cluster.file_map(&digest).await?))
}

/// The torrent that holds most of the file: its loss shows most.
fn victim(map: &FileMap) -> Option<&ClientId> {
    let held = |id: &ClientId| map.fragments.iter().filter(|fragment| fragment.holders.contains(id)).count();
    map.endpoints.keys().max_by_key(|id| held(id))
}

async fn get(cluster: &Cluster, map: &FileMap, copy: &Path, story: &Story) -> Result<u64, Failure> {
    let range = 0..map.size_bytes;
    // What an earlier demo left in the directory must not make this one easier.
    let _ = std::fs::remove_file(copy.with_extension("part"));
    let silent = Output { json: true };
    let got = crate::get::to_file(cluster, map.clone(), range, copy, true, silent).await?;
    for source in got.holders.iter().filter(|source| source.fragments > 0) {
        let (fragments, bytes) = (count(source.fragments, "fragment"), size(source.bytes));
        story.say(&format!("{}: {fragments}, {bytes}", source.name))?;
    }
    Ok(got.fetched_bytes)
}

fn panicked(error: tokio::task::JoinError) -> Failure {
    Failure::new(Code::Failed, "PANIC", error)
}
