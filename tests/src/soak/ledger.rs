//! What was acknowledged, and so must be true; and what was found untrue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::content;
use crate::sim::Rng;
use crate::specification::sha256;

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Something was asked and not answered: it may be there or not.
    Unknown,
    /// Its upload was acknowledged.
    Accepted,
    /// Its removal was acknowledged, or it has never come in.
    Absent,
}

/// One file.
#[derive(Debug, Clone)]
pub struct File {
    /// What its bytes are made from.
    pub seed: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The digests of its fragments.
    pub fragments: Vec<String>,
    /// What is known of it.
    pub known: Known,
    /// Whether somebody is putting it in or removing it now.
    is_busy: bool,
}

/// How often something was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Uploads.
    pub accepted: usize,
    /// Uploads without an answer, or refused.
    pub not_accepted: usize,
    /// Files read whole and right, while faults went on.
    pub read: usize,
    /// Files that could not be read at that moment.
    pub not_read: usize,
    /// Removals.
    pub removed: usize,
    /// Removals without an answer, or refused.
    pub not_removed: usize,
    /// Files read back at checkpoints.
    pub verified: usize,
}

#[derive(Debug, Default)]
struct Pages {
    files: BTreeMap<String, File>,
    counts: Counts,
    violations: Vec<String>,
    /// Fragments of uploads that broke off under the tracker that runs: it keeps them for an hour, so that they can go on.
    broken_off: BTreeSet<String>,
}

/// Shared by all that put in, read and remove.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Pages>);

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that must never be.
    pub fn violated(&self, what: String) {
        eprintln!("soak: VIOLATION: {what}");
        self.pages().violations.push(what);
    }

    /// What must never have been.
    pub fn violations(&self) -> Vec<String> {
        self.pages().violations.clone()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.pages().counts
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.pages().counts);
    }

    /// Everything known now, by digest.
    pub fn files(&self) -> BTreeMap<String, File> {
        self.pages().files.clone()
    }

    /// How many files are there for sure.
    pub fn accepted(&self) -> usize {
        self.pages().files.values().filter(|file| file.known == Known::Accepted).count()
    }

    /// A file that is about to be put in, with its bytes: mostly a new one.
    pub fn begin_put(&self, rng: &mut Rng) -> (String, Vec<u8>) {
        let again = if rng.chance(1, 6) { self.draw(rng, |known| known != Known::Unknown) } else { None };
        let seed = again.as_ref().map_or_else(|| rng.next(), |(_, file)| file.seed);
        let bytes = content::bytes(seed);
        let digest = sha256(&bytes);
        let mut pages = self.pages();
        let file = pages.files.entry(digest.clone()).or_insert_with(|| File {
            seed,
            size_bytes: bytes.len() as u64,
            fragments: content::fragments(&bytes),
            known: Known::Absent,
            is_busy: true,
        });
        if file.known == Known::Absent {
            file.known = Known::Unknown;
        }
        (digest, bytes)
    }

    /// An upload has no answer: what of it has come may stay with the tracker.
    pub fn broke_off(&self, digest: &str) {
        let mut pages = self.pages();
        let fragments = pages.files.get(digest).map(|file| file.fragments.clone()).unwrap_or_default();
        pages.broken_off.extend(fragments);
        pages.counts.not_accepted += 1;
    }

    /// The tracker starts anew: it forgets uploads that broke off.
    pub fn tracker_starts(&self) {
        self.pages().broken_off.clear();
    }

    /// What the tracker may have of uploads that broke off.
    pub fn broken_off(&self) -> BTreeSet<String> {
        self.pages().broken_off.clone()
    }

    /// A file that is about to be removed.
    pub fn begin_removal(&self, rng: &mut Rng) -> Option<String> {
        let (digest, _) = self.draw(rng, |known| known == Known::Accepted)?;
        if let Some(file) = self.pages().files.get_mut(&digest) {
            file.known = Known::Unknown;
        }
        Some(digest)
    }

    /// A file that can be read.
    pub fn to_read(&self, rng: &mut Rng) -> Option<(String, u64)> {
        let pages = self.pages();
        let accepted = pages.files.iter().filter(|(_, file)| file.known == Known::Accepted);
        let accepted: Vec<_> = accepted.collect();
        let place = rng.below(accepted.len().max(1));
        accepted.get(place).map(|(digest, file)| ((*digest).clone(), file.size_bytes))
    }

    /// Draws a file like that and keeps others off it.
    fn draw(&self, rng: &mut Rng, is_meant: impl Fn(Known) -> bool) -> Option<(String, File)> {
        let mut pages = self.pages();
        let free = pages.files.iter_mut().filter(|(_, file)| !file.is_busy && is_meant(file.known));
        let mut free: Vec<_> = free.collect();
        let place = rng.below(free.len().max(1));
        let (digest, file) = free.get_mut(place)?;
        file.is_busy = true;
        Some(((*digest).clone(), file.clone()))
    }

    /// Nobody is at this file any more; what is known of it now, if that has changed.
    pub fn settle(&self, digest: &str, known: Option<Known>) {
        if let Some(file) = self.pages().files.get_mut(digest) {
            file.is_busy = false;
            file.known = known.unwrap_or(file.known);
        }
    }
}
