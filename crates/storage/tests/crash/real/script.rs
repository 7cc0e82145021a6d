//! What the process does before it dies, and what must be there after each step of it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use distribution::view::{Change, View};
use protocol::{Hash, Revision};
use storage::Store;

use crate::{SCRIPT, Step, nth, view};

/// A step; those of the view are made up to this one.
pub enum Act {
    Fragments(&'static Step),
    View(usize),
    Flush(usize),
}

/// The scripts of the fragments and of the view, mixed.
pub fn acts() -> Vec<Act> {
    let mut acts = Vec::new();
    let mut viewed = 0;
    for (count, step) in SCRIPT.iter().enumerate() {
        acts.push(Act::Fragments(step));
        if count % 2 == 0 {
            viewed += 1;
            acts.push(Act::View(viewed));
        }
        if count % 4 == 3 {
            acts.push(Act::Flush(viewed));
        }
    }
    acts
}

/// The script of the view, with fewer fragments: what happens to many at once is tried on the simulated machine.
static STEPS: LazyLock<Vec<Vec<Change>>> = LazyLock::new(|| view::steps(60));

/// The views after each step of it.
pub static VIEWS: LazyLock<Vec<View>> = LazyLock::new(|| {
    let mut views = vec![View::new()];
    for (changes, revision) in STEPS.iter().zip(1..) {
        let mut next = views.last().unwrap().clone();
        changes.iter().for_each(|change| next.apply(change).unwrap());
        next.set_revision(Revision(revision));
        views.push(next);
    }
    views
});

/// What has to be there.
#[derive(Debug, Default, Clone)]
pub struct Expected {
    pub stored: BTreeMap<Hash, Bytes>,
    /// Steps of the view that were made.
    pub viewed: usize,
    /// Steps of the view that were flushed.
    pub flushed: usize,
}

impl Expected {
    /// After these acts.
    pub fn after(acts: &[Act]) -> Self {
        let mut expected = Self::default();
        for act in acts {
            match act {
                Act::Fragments(Step::Put(numbers)) => {
                    expected.stored.extend(numbers.iter().map(|number| nth(*number)));
                }
                Act::Fragments(Step::Delete(numbers) | Step::Rot(numbers)) => {
                    numbers.iter().for_each(|number| drop(expected.stored.remove(&nth(*number).0)));
                }
                Act::Fragments(Step::Checkpoint) => {}
                Act::View(viewed) => expected.viewed = *viewed,
                Act::Flush(flushed) => expected.flushed = *flushed,
            }
        }
        expected
    }
}

/// A store on which the script runs, or the rest of it.
pub struct Running<'d> {
    pub store: Store,
    pub directory: &'d Path,
    /// Steps of the view that the store has.
    pub viewed: usize,
}

impl<'d> Running<'d> {
    pub fn on(store: Store, directory: &'d Path) -> Self {
        let viewed = usize::try_from(store.view().load().unwrap().revision().0).unwrap();
        Self { store, directory, viewed }
    }

    /// An act that was begun before may be done again.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Fragments(step) => self.step(step),
            Act::View(to) => self.view_to(*to),
            Act::Flush(to) => {
                self.view_to(*to);
                self.store.flush().unwrap();
            }
        }
    }

    fn view_to(&mut self, to: usize) {
        for changes in STEPS.iter().take(to).skip(self.viewed) {
            self.viewed += 1;
            self.store.view().apply(changes, Revision(self.viewed as u64)).unwrap();
        }
    }

    fn step(&self, step: &Step) {
        let fragments = self.store.fragments();
        let hashes = |numbers: &[u8]| numbers.iter().map(|number| nth(*number).0).collect::<Vec<_>>();
        match step {
            Step::Put(numbers) => {
                let batch = numbers.iter().map(|number| nth(*number)).collect();
                fragments.put_batch(batch).into_iter().for_each(|result| result.unwrap());
            }
            Step::Delete(numbers) => drop(fragments.delete_batch(&hashes(numbers)).unwrap()),
            Step::Rot(numbers) => {
                for (hash, bytes) in numbers.iter().map(|number| nth(*number)) {
                    if fragments.read(&hash).is_ok() {
                        rot(self.directory, &bytes);
                        assert!(fragments.verify(&hash).is_err(), "damage was not found");
                    }
                }
                fragments.quarantine(&hashes(numbers)).unwrap();
            }
            Step::Checkpoint => fragments.checkpoint().unwrap(),
        }
    }
}

/// Flips a bit in the middle of these bytes wherever they are in the segments. (What is in front of them may look like their beginning.)
fn rot(directory: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(directory.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (at, _) in content.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes) {
            let middle = bytes.len() / 2;
            file.write_all_at(&[bytes[middle] ^ 1], (at + middle) as u64).unwrap();
        }
    }
}
