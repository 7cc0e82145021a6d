//! A process that dies at every single call to the real disk and the real database: before it, after it, and within each write.
//!
//! The process runs the scripts of the fragments and of the view in a directory, and says which step is done when the call has
//! returned. Another opens what it has left, which must be what was said to be done, and goes on with the script. So this is
//! about order and about what is atomic between segments and sled. The kernel keeps what was written and not synced; that a power cut
//! does not is for the tests on the simulated machine.

mod fuse;
mod script;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use storage::fragments::OpenReport;
use storage::{OpenError, Store, StoreOptions};

use crate::{OPTIONS, Step};
use fuse::{Fuse, Lie, Moment};
use script::{Act, Expected, Running, VIEWS, acts};

/// Tells this program, started once more, that it is the process that dies: where, when, from which act on.
const CHILD: &str = "MDS_CRASH_TEST_CHILD";

/// Children that run at a time.
const WORKERS: usize = 4;

const STORE_OPTIONS: StoreOptions = StoreOptions { fragments: OPTIONS };

/// One process that dies, or none.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// The act with which it begins.
    from: usize,
    end: Option<(u64, Moment)>,
    lie: Option<Lie>,
}

/// What a process said.
#[derive(Debug)]
struct Said {
    /// Whether its store had been opened.
    is_opened: bool,
    /// Acts that are done, those of the lives before included.
    done: usize,
    /// The calls that it made or was about to make.
    calls: Vec<String>,
    is_killed: bool,
}

impl Life {
    fn to_text(self, directory: &Path) -> String {
        let (at, moment) = self.end.map_or((0, Moment::Before), |end| end);
        let moment = match moment {
            Moment::Before => "before",
            Moment::Within => "within",
            Moment::After => "after",
        };
        let lie = match self.lie {
            None => "none",
            Some(Lie::Flush) => "flush",
            Some(Lie::Write) => "write",
        };
        format!("{} {at} {moment} {lie} {}", self.from, directory.display())
    }

    fn from_text(text: &str) -> Option<(Self, &Path)> {
        let mut words = text.splitn(5, ' ');
        let from = words.next()?.parse().ok()?;
        let at = words.next()?.parse().ok()?;
        let moment = match words.next()? {
            "before" => Moment::Before,
            "within" => Moment::Within,
            _ => Moment::After,
        };
        let lie = match words.next()? {
            "flush" => Some(Lie::Flush),
            "write" => Some(Lie::Write),
            _ => None,
        };
        Some((Self { from, end: (at > 0).then_some((at, moment)), lie }, Path::new(words.next()?)))
    }

    /// Runs it in a process of its own.
    fn run(self, directory: &Path) -> Said {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "real::what_the_process_that_dies_does", "--nocapture"]);
        command.env(CHILD, self.to_text(directory));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let is_killed = output.status.signal() == Some(9);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(is_killed || output.status.success(), "the process failed by itself: {text}{errors}");
        let count = |line: &str| text.lines().filter(|said| *said == line).count();
        Said {
            is_opened: count("opened") == 1,
            done: self.from + count("done"),
            calls: text.lines().filter_map(|said| said.strip_prefix("call ")).map(str::to_owned).collect(),
            is_killed,
        }
    }

    /// What the process does.
    fn live(self, directory: &Path) {
        let wrap = Fuse::new(self.end, self.lie).before();
        let store = Store::open_through(directory, STORE_OPTIONS, wrap).unwrap();
        // What the test harness has printed so far has no end of line.
        println!("\nopened");
        let mut running = Running::on(store, directory);
        for act in &acts()[self.from..] {
            running.act(act);
            println!("done");
        }
        running.store.close().unwrap();
    }
}

/// Not a test: does nothing unless another test of this file has started it.
#[test]
fn what_the_process_that_dies_does() {
    if let Ok(text) = std::env::var(CHILD) {
        println!();
        let (life, directory) = Life::from_text(&text).expect("it was made by to_text");
        life.live(directory);
    }
}

/// Opens the store. A process that another thread is starting has the files of this one open, and their locks, for an instant.
fn open(directory: &Path) -> Store {
    for _ in 0..100_000 {
        match Store::open(directory, STORE_OPTIONS) {
            Err(OpenError::Locked { .. }) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
    panic!("the store stays locked")
}

/// Opens what is left, compares it with what was said, goes on to the end of the script, and opens that.
fn assert_kept(directory: &Path, said: &Said) {
    let acts = acts();
    let store = open(directory);
    assert!(!said.is_opened || store.recovered().is_none(), "{:?}", store.recovered());
    store.check().unwrap();
    assert_fragments(&store, &acts, said.done);
    assert_view(&store, &acts, said.done);

    let mut running = Running::on(store, directory);
    acts[said.done..].iter().for_each(|act| running.act(act));
    running.act(&Act::Flush(Expected::after(&acts).viewed));
    running.store.close().unwrap();
    let store = open(directory);
    assert_eq!((store.recovered(), store.opened()), (None, OpenReport::default()));
    assert_fragments(&store, &acts, acts.len());
    assert_eq!(&store.view().load().unwrap(), VIEWS.last().unwrap());
}

/// What is there after the acts that are done, while the next was perhaps being done.
fn assert_fragments(store: &Store, acts: &[Act], done: usize) {
    let before = Expected::after(&acts[..done]).stored;
    let after = Expected::after(&acts[..acts.len().min(done + 1)]).stored;
    let may_be_rotten = matches!(acts.get(done), Some(Act::Fragments(Step::Rot(_))));
    let fragments = store.fragments();
    let listed: Vec<_> = fragments.inventory().map(Result::unwrap).collect();
    assert_eq!(fragments.len(), listed.len() as u64);
    assert_eq!(fragments.used_bytes(), listed.iter().map(|(_, size)| u64::from(*size)).sum::<u64>());
    for (hash, _) in &listed {
        let bytes = before.get(hash).or(after.get(hash));
        let bytes = bytes.unwrap_or_else(|| panic!("{hash} was deleted and is listed"));
        match fragments.read(hash) {
            Ok(read) => assert_eq!(read, bytes),
            Err(error) => {
                let is_being_set_aside = may_be_rotten && !after.contains_key(hash);
                assert!(is_being_set_aside, "it is listed: {error}");
            }
        }
    }
    for (hash, bytes) in before.iter().filter(|(hash, _)| after.contains_key(hash)) {
        let verified = fragments.verify(hash);
        assert!(verified.is_ok(), "a fragment of {} bytes is lost: {verified:?}", bytes.len());
    }
}

fn assert_view(store: &Store, acts: &[Act], done: usize) {
    let view = store.view().load().unwrap();
    view.check_invariants().unwrap();
    let least = Expected::after(&acts[..done]).flushed;
    let most = Expected::after(&acts[..acts.len().min(done + 1)]).viewed;
    let revision = usize::try_from(view.revision().0).unwrap();
    assert!((least..=most).contains(&revision), "revision {revision}, not from {least} to {most}");
    assert_eq!(view, VIEWS[revision]);
}

/// A process that dies here, sometimes another that soon dies on what the first has left, and what is there then.
fn die_at(at: u64, moment: Moment, lie: Option<Lie>, call: &str) {
    let place = tempfile::tempdir().unwrap();
    let mut said = Life { from: 0, end: Some((at, moment)), lie }.run(place.path());
    println!("{moment:?} call {at} ({call}), {} acts done", said.done);
    assert!(
        said.is_killed && said.calls.last().is_some_and(|last| last == call),
        "it died elsewhere: {said:?}"
    );
    if at.is_multiple_of(3) {
        let second = at / 3 % 12 + 1;
        println!("and again before call {second}");
        let life = Life { from: said.done, end: Some((second, Moment::Before)), lie };
        let again = life.run(place.path());
        said = Said { is_opened: said.is_opened || again.is_opened, ..again };
    }
    assert_kept(place.path(), &said);
}

/// Stops the others when one has failed.
struct StopOnPanic<'a>(&'a AtomicUsize);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// All calls of a run that nothing ends, and each moment of each.
fn try_every_call(lie: Option<Lie>) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let quiet = Life { lie, ..Life::default() }.run(place.path());
    assert!(!quiet.is_killed && quiet.done == acts().len());
    let mut deaths = Vec::new();
    for (call, at) in quiet.calls.iter().zip(1..) {
        let within = (call == "write").then_some(Moment::Within);
        let moments = [Some(Moment::Before), within, Some(Moment::After)];
        deaths.extend(moments.into_iter().flatten().map(|moment| (at, moment, call)));
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let _stop = StopOnPanic(&next);
                while let Some((at, moment, call)) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    die_at(*at, *moment, lie, call);
                }
            });
        }
    });
    quiet.calls
}

#[test]
fn a_process_that_dies_at_any_call_loses_nothing_that_it_had_promised() {
    let calls: BTreeSet<String> = try_every_call(None).into_iter().collect();
    let writing = ["create", "engine apply", "engine flush", "punch_hole", "remove", "sync_data", "sync_dir"];
    for call in writing.into_iter().chain(["write"]) {
        assert!(calls.contains(call), "no process died at {call}");
    }
}

#[test]
fn a_promise_that_is_made_before_the_call_is_missed() {
    for lie in [Lie::Flush, Lie::Write] {
        assert!(catch_unwind(|| try_every_call(Some(lie))).is_err(), "nobody noticed {lie:?}");
    }
}
