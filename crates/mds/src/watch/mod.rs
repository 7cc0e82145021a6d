//! `mds watch`: whatever settles in a directory is put, until a signal.
//!
//! The system tells what changes, and now and then everything is looked through for what it did not tell. A file is put when nobody has
//! written to it for a while, and once: `memory` knows what was put. What is moved or deleted here stays in the network. If the tracker is
//! away, what has settled waits; what the tracker has no room for waits alone, in `queue`, and what it can never take is left out.

mod memory;
mod queue;
mod settling;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use endpoint::client::Cluster;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use protocol::{FileName, Hash, Hasher};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::cli::Watch;
use crate::describe::PutView;
use crate::exit::{Code, Failure};
use crate::output::{Output, count, printable};
use crate::put::{CHANGED, Source, Uploads};
use crate::signals::Signals;

use memory::Memory;
use queue::{Queue, Settled};
use settling::{Settling, Stamp};
use tree::{Tree, Walk};

/// Where is kept what was put, unless told otherwise. It begins with a dot, so it is not put itself.
const STATE_NAME: &str = ".mds-watch";
/// Reasons of failures that do not pass: the file cannot be read here, and its description would not fit into an event.
const IO: &str = "IO";
const TOO_LARGE: &str = "FILE_TOO_LARGE";
/// How often files are looked at that have not settled yet, at most and at least.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A file that was put, for programs: one a line.
#[derive(Debug, Serialize)]
struct WatchedView {
    #[serde(flatten)]
    put: PutView,
    /// Where it is here.
    path: String,
}

/// Watches until a signal. What has settled and is not put yet makes the difference between an end and an interruption.
///
/// # Errors
/// If the directory cannot be watched, or nobody answers at the start, or a signal comes before all is put.
pub async fn run(
    cluster: &Cluster,
    watch: &Watch,
    output: Output,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut watching = Watching::begin(cluster, watch, output)?;
    let ended = tokio::select! {
        ended = watching.go_on() => Some(ended),
        () = signals.next() => None,
    };
    if let (None, Some(uploads)) = (&ended, &mut watching.uploads) {
        uploads.cancel().await;
    }
    match (ended, watching.settled.len()) {
        (Some(Err(failure)), _) => Err(failure),
        (Some(Ok(())) | None, 0) => Ok(()),
        (Some(Ok(())) | None, left) => {
            let mut failure = Failure::interrupted();
            let left = count(left as u64, "file");
            failure.message = format!("interrupted: {left} not put yet; the same command goes on with them");
            Err(failure)
        }
    }
}

struct Watching<'a> {
    cluster: &'a Cluster,
    output: Output,
    tree: Tree,
    memory: Memory,
    look_every: Duration,
    rescan_every: Duration,
    settling: Settling,
    /// Where the last file was put, or is just being put.
    uploads: Option<Uploads>,
    /// What has settled and is to be put.
    settled: Queue,
    /// By path: how it was when it could not be put for a reason that will not pass by itself.
    refused: BTreeMap<PathBuf, Stamp>,
    /// What was complained of already.
    told: BTreeSet<String>,
    /// Changes as the system tells them. The watcher ends with what holds it.
    changes: UnboundedReceiver<notify::Result<notify::Event>>,
    _watcher: Option<RecommendedWatcher>,
}

impl<'a> Watching<'a> {
    fn begin(cluster: &'a Cluster, watch: &Watch, output: Output) -> Result<Self, Failure> {
        let tree = Tree::of(&watch.directory)?;
        let state = watch.state.clone().unwrap_or_else(|| tree.root().join(STATE_NAME));
        let memory = Memory::open(&state)?;
        let (sender, changes) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |change| {
            // Nobody listens any more at the end.
            let _ = sender.send(change);
        })
        .and_then(|mut watcher| {
            watcher.watch(tree.root(), RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watcher.map_err(|error| {
            let every = humantime::format_duration(watch.rescan);
            output.warn(&format!(
                "the system does not tell what changes ({error}): looking through everything every {every}"
            ));
        });
        Ok(Self {
            cluster,
            output,
            tree,
            memory,
            look_every: (watch.settle / 4).clamp(SHORTEST_LOOK, LONGEST_LOOK),
            rescan_every: watch.rescan.max(SHORTEST_LOOK),
            settling: Settling::new(watch.settle),
            uploads: None,
            settled: Queue::new(Instant::now()),
            refused: BTreeMap::new(),
            told: BTreeSet::new(),
            changes,
            _watcher: watcher.ok(),
        })
    }

    /// Goes on until something fails for good.
    async fn go_on(&mut self) -> Result<(), Failure> {
        let mut rescan = interval(self.rescan_every);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look_at = Instant::now() + self.look_every;
            tokio::select! {
                Some(change) = self.changes.recv() => self.take(change)?,
                _ = rescan.tick() => self.look_through_all()?,
                () = sleep_until(look_at), if !self.settling.is_empty() => {}
                () = sleep_until(self.settled.due().unwrap_or(look_at)), if !self.settled.is_empty() => {}
            }
            for (path, stamp) in self.settling.look(Instant::now(), Stamp::of_path) {
                self.settled.push(path, stamp);
            }
            while let Some(settled) = self.settled.next(Instant::now()) {
                self.put_or_wait(settled).await?;
            }
        }
    }

    /// What the system tells. Reading changes nothing.
    fn take(&mut self, change: notify::Result<notify::Event>) -> Result<(), Failure> {
        match change {
            Ok(event) if event.need_rescan() => self.look_through_all(),
            Ok(event) if event.kind.is_access() => Ok(()),
            Ok(event) => {
                event.paths.iter().for_each(|path| self.notice(self.tree.files(path)));
                Ok(())
            }
            Err(error) => {
                self.complain(&format!("the system cannot tell all that changes: {error}"));
                Ok(())
            }
        }
    }

    /// Looks at every file there is.
    fn look_through_all(&mut self) -> Result<(), Failure> {
        if !self.tree.root().is_dir() {
            let message = format!("{} is no longer there", self.tree.root().display());
            return Err(Failure::new(Code::Failed, "GONE", message));
        }
        self.notice(self.tree.files(self.tree.root()));
        Ok(())
    }

    /// Notices the files that were not put as they are.
    fn notice(&mut self, walk: Walk) {
        let now = Instant::now();
        for path in walk.files {
            let Some(stamp) = Stamp::of_path(&path) else { continue };
            let is_put = self.tree.name(&path).is_ok_and(|name| self.memory.knows(name.as_str(), stamp));
            if !is_put && !self.settled.contains(&path) && self.refused.get(&path) != Some(&stamp) {
                self.settling.notice(&path, stamp, now);
            }
        }
        walk.failures.iter().for_each(|failure| self.complain(&failure.message));
    }

    /// Puts a file that has settled. It stays in the queue if it may go well later.
    async fn put_or_wait(&mut self, mut settled: Settled) -> Result<(), Failure> {
        let outcome = self.put(&mut settled).await;
        let Settled { path, stamp, .. } = settled.clone();
        let prospect = outcome.as_ref().err().map_or(Prospect::Never, prospect);
        match outcome {
            Ok(()) => {}
            Err(failure) if failure.is_closed_output() => return Err(failure),
            Err(failure) if failure.reason == CHANGED => {
                if let Some(stamp) = Stamp::of_path(&path) {
                    self.settling.notice(&path, stamp, Instant::now());
                }
            }
            Err(failure) => {
                let message = failure.about(&path.display().to_string()).message;
                let pause = match prospect {
                    Prospect::WithTheTracker => Some(self.settled.wait_for_all(settled, Instant::now())),
                    Prospect::Later => Some(self.settled.wait_alone(settled, Instant::now())),
                    Prospect::Never => None,
                };
                let then = if let Some(pause) = pause {
                    format!("tried again in {}", humantime::format_duration(pause))
                } else {
                    self.settled.done(&path);
                    self.refused.insert(path, stamp);
                    "left out until it changes".to_owned()
                };
                self.output.warn(&printable(&format!("{message}; {then}")));
                return Ok(());
            }
        }
        self.settled.done(&path);
        Ok(())
    }

    async fn put(&mut self, settled: &mut Settled) -> Result<(), Failure> {
        let (path, stamp) = (settled.path.as_path(), settled.stamp);
        let name: FileName = self.tree.name(path)?;
        if self.memory.knows(name.as_str(), stamp) {
            return Ok(());
        }
        let digest = match settled.digest {
            Some(digest) => Ok(digest),
            None => digest_of(path.to_owned()).await,
        };
        // What is gone or was written to meanwhile comes again by itself, if at all.
        if Stamp::of_path(path) != Some(stamp) {
            return Err(Failure::new(Code::Failed, CHANGED, format!("{} was changed", path.display())));
        }
        let digest = digest?;
        settled.digest = Some(digest);
        // A file that was moved or touched, or one that is like another; unless the network has been told to delete it meanwhile.
        if self.memory.knows_digest(&digest) && self.is_in_the_network(&digest).await? {
            return self.memory.record(name.as_str(), stamp, &digest);
        }
        let source = Source::Path { path: path.to_owned(), name: name.clone() };
        // It may be another tracker than that of the last file.
        let uploads = self.uploads.insert(Uploads::at_tracker(self.cluster, self.output.json).await?);
        let file = uploads.put(source, Some(digest)).await?;
        self.memory.record(name.as_str(), stamp, &digest)?;
        let put = PutView::of(&file, Some(&name));
        if let Some(warning) = put.warning() {
            self.output.warn(&printable(&warning));
        }
        if self.output.json {
            self.output.value_line(&WatchedView { put, path: path.display().to_string() })
        } else {
            self.output.line(&put.file.sum_line())
        }
    }

    async fn is_in_the_network(&self, digest: &Hash) -> Result<bool, Failure> {
        match self.cluster.file(digest).await.map_err(Failure::from) {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == Code::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Tells it once.
    fn complain(&mut self, text: &str) {
        if self.told.insert(text.to_owned()) {
            self.output.warn(&printable(text));
        }
    }
}

/// When a file may go well that did not, although it stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prospect {
    /// When the tracker is there again, as all others.
    WithTheTracker,
    /// At some time; others may go well now.
    Later,
    /// Not before it is another file.
    Never,
}

fn prospect(failure: &Failure) -> Prospect {
    match failure.code {
        Code::Unreachable => Prospect::WithTheTracker,
        Code::NotFound | Code::TimedOut | Code::DigestMismatch | Code::NoSpace => Prospect::Later,
        // Whatever the tracker has for reasons, except that this file cannot be read, or not be described in an event.
        Code::Failed if [IO, TOO_LARGE].contains(&failure.reason.as_str()) => Prospect::Never,
        Code::Failed => Prospect::Later,
        Code::Usage | Code::PartlyDone | Code::NotAllowed | Code::Interrupted => Prospect::Never,
    }
}

async fn digest_of(path: PathBuf) -> Result<Hash, Failure> {
    let hashed = spawn_blocking(move || {
        let mut hasher = Hashing(Hasher::new());
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        copied.map_err(|error| Failure::io("read", &path, &error))?;
        Ok(hasher.0.finish())
    });
    hashed.await.map_err(|error| Failure::new(Code::Failed, "PANIC", error))?
}

struct Hashing(Hasher);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
