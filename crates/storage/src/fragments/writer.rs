//! Stores fragments in the background, as many with one sync as are waiting.
//!
//! ```text
//!  put ──► verifiers (hash, in parallel) ──► committer (append, one sync, index) ──► on_done
//!  put_hashed ─────────────────────────────────┘
//! ```
//!
//! So hashing goes on while the disk syncs. Fragments may overtake each other; each is durable when its `on_done` is
//! called with `Ok`. Nothing is copied: the bytes go from the caller's buffer to the kernel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::{fmt, io};

use bytes::Bytes;
use protocol::Hash;

use super::error::PutError;
use super::{Fragments, check_length, verify};

/// Payload bytes from which on no more puts join a sync.
const MAX_BATCH_BYTES: usize = 16 << 20;
/// Fragments from which on no more puts join a sync.
const MAX_BATCH_FRAGMENTS: usize = 512;
/// Payload bytes from which on hashed fragments go on together: small ones wake the committer once for many.
const MAX_VERIFIED_BYTES: usize = 1 << 20;
/// Fragments that are hashed before they go on together, at most.
const MAX_VERIFIED_FRAGMENTS: usize = 64;
/// Half of the processors hash at most; the other half has the rest of the daemon.
const MAX_VERIFIERS: usize = 4;

/// Called exactly once with what became of a put, on a thread of the writer: it must not block.
pub type OnDone = Box<dyn FnOnce(Result<(), PutError>) + Send>;

/// Threads that store fragments. Clones share them; the last one to be dropped waits until all is stored.
#[derive(Debug, Clone)]
pub struct FragmentWriter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None only while the threads are asked to end.
    queues: Option<Queues>,
    waiting_bytes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    to_verify: Sender<Put>,
    to_commit: Sender<Vec<Put>>,
}

/// A put on its way. Dropped before it is done, it says so: `on_done` is called whatever happens.
struct Put {
    hash: Hash,
    bytes: Bytes,
    on_done: Option<OnDone>,
    waiting_bytes: Arc<AtomicU64>,
}

impl FragmentWriter {
    /// Starts the threads that write to `fragments`.
    pub fn start(fragments: Fragments) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (to_verify, unverified) = mpsc::channel();
        let (to_commit, verified) = mpsc::channel();
        let unverified = Arc::new(Mutex::new(unverified));
        let mut threads = Vec::new();
        for _ in 0..(processors / 2).clamp(1, MAX_VERIFIERS) {
            let (unverified, to_commit) = (unverified.clone(), to_commit.clone());
            let verifier = thread::Builder::new().name("store-verify".into());
            threads.push(verifier.spawn(move || verify_all(&unverified, &to_commit))?);
        }
        let committer = thread::Builder::new().name("store-commit".into());
        threads.push(committer.spawn(move || commit_all(&fragments, &verified))?);
        let queues = Some(Queues { to_verify, to_commit });
        let shared = Shared { queues, waiting_bytes: Arc::default(), threads };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Stores a fragment after verifying that it hashes to its name. Returns at once, however much is waiting: the
    /// caller bounds that, by what it has in flight or by [`FragmentWriter::waiting_bytes`].
    pub fn put(&self, hash: Hash, bytes: Bytes, on_done: OnDone) {
        let put = self.begin(hash, bytes, on_done);
        if let Some(queues) = &self.shared.queues {
            // If the threads are gone, dropping the put tells its caller.
            drop(queues.to_verify.send(put));
        }
    }

    /// The same for a fragment that the caller itself has just named by hashing these bytes: they are not hashed again.
    pub fn put_hashed(&self, hash: Hash, bytes: Bytes, on_done: OnDone) {
        if let Err(error) = check_length(&hash, &bytes) {
            return on_done(Err(error));
        }
        let put = self.begin(hash, bytes, on_done);
        if let Some(queues) = &self.shared.queues {
            // If the threads are gone, dropping the put tells its caller.
            drop(queues.to_commit.send(vec![put]));
        }
    }

    fn begin(&self, hash: Hash, bytes: Bytes, on_done: OnDone) -> Put {
        let waiting_bytes = self.shared.waiting_bytes.clone();
        waiting_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Put { hash, bytes, on_done: Some(on_done), waiting_bytes }
    }

    /// Payload bytes of all puts that are not done.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.shared.waiting_bytes.load(Ordering::Relaxed)
    }
}

fn verify_all(unverified: &Mutex<Receiver<Put>>, to_commit: &Sender<Vec<Put>>) {
    loop {
        // The lock is only for taking: others hash at the same time.
        let puts = take_waiting(&unverified.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(puts) = puts else { return };
        let mut verified = Vec::with_capacity(puts.len());
        for mut put in puts {
            match verify(&put.hash, &put.bytes) {
                Ok(()) => verified.push(put),
                Err(error) => put.done(Err(error)),
            }
        }
        if !verified.is_empty() {
            drop(to_commit.send(verified));
        }
    }
}

/// What waits, or what comes first. None when nothing more will come.
fn take_waiting(unverified: &Receiver<Put>) -> Option<Vec<Put>> {
    let mut puts = vec![unverified.recv().ok()?];
    let mut bytes = puts[0].bytes.len();
    while bytes < MAX_VERIFIED_BYTES && puts.len() < MAX_VERIFIED_FRAGMENTS {
        let Ok(put) = unverified.try_recv() else { break };
        bytes += put.bytes.len();
        puts.push(put);
    }
    Some(puts)
}

fn commit_all(fragments: &Fragments, verified: &Receiver<Vec<Put>>) {
    while let Ok(mut batch) = verified.recv() {
        let mut bytes: usize = batch.iter().map(|put| put.bytes.len()).sum();
        while bytes < MAX_BATCH_BYTES && batch.len() < MAX_BATCH_FRAGMENTS {
            let Ok(puts) = verified.try_recv() else { break };
            bytes += puts.iter().map(|put| put.bytes.len()).sum::<usize>();
            batch.extend(puts);
        }
        let content = batch.iter().map(|put| (put.hash, put.bytes.clone())).collect();
        for (mut put, result) in batch.into_iter().zip(fragments.log.put_verified(content)) {
            put.done(result);
        }
    }
}

impl Put {
    fn done(&mut self, result: Result<(), PutError>) {
        if let Some(on_done) = self.on_done.take() {
            self.waiting_bytes.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
            on_done(result);
        }
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        self.done(Err(PutError::Stopped { hash: self.hash }));
    }
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Put({:?})", self.hash)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queues = None;
        for handle in self.threads.drain(..) {
            // The last handle may be dropped inside `on_done`; a thread cannot wait for itself. A thread that
            // panicked has said so already.
            if handle.thread().id() != thread::current().id() {
                drop(handle.join());
            }
        }
    }
}
