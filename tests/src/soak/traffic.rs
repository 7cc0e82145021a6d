//! Users: they put files in, read them from anybody, and remove some, whatever is down. What they are told goes into the ledger.

use std::fs;
use std::future::Future;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::ledger::{Known, Ledger};
use crate::binaries;
use crate::client::Client;
use crate::sim::Rng;

/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest that a user does nothing.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Files from which on more are removed than put in.
const MANY_FILES: usize = 40;

/// Where the daemons are now: each writes that into its data directory.
#[derive(Debug)]
pub struct Addresses {
    tracker: Mutex<PathBuf>,
    torrents: Vec<PathBuf>,
}

impl Addresses {
    /// By data directory.
    pub fn new(tracker: PathBuf, torrents: Vec<PathBuf>) -> Self {
        Self { tracker: Mutex::new(tracker), torrents }
    }

    /// Another tracker is in charge.
    pub fn set_tracker(&self, data_directory: PathBuf) {
        *self.tracker.lock().unwrap_or_else(PoisonError::into_inner) = data_directory;
    }

    /// `host:port` of the tracker.
    pub fn tracker(&self) -> Option<String> {
        address_in(&self.tracker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `host:port` of any daemon.
    fn any(&self, rng: &mut Rng) -> Option<String> {
        match rng.below(self.torrents.len() + 1) {
            0 => self.tracker(),
            place => address_in(&self.torrents[place - 1]),
        }
    }
}

fn address_in(data_directory: &Path) -> Option<String> {
    let address = fs::read_to_string(data_directory.join("endpoint")).ok()?;
    Some(address.trim().to_owned()).filter(|address| !address.is_empty())
}

/// Users that go on until they are told to end.
#[derive(Debug)]
pub struct Traffic {
    gate: Arc<RwLock<()>>,
    users: Vec<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct User {
    addresses: Arc<Addresses>,
    ledger: Arc<Ledger>,
    directory: Arc<TempDir>,
}

impl Traffic {
    /// Three that put in, two that read, one that removes.
    pub fn start(seed: u64, addresses: Arc<Addresses>, ledger: Arc<Ledger>) -> Self {
        let directory = Arc::new(TempDir::with_prefix("soak-").expect("a temporary directory can be made"));
        let user = User { addresses, ledger, directory };
        let gate = Arc::new(RwLock::new(()));
        let mut users = Vec::new();
        for place in 0..6 {
            let rng = Rng::new(seed ^ (place + 1) << 32);
            let (user, gate) = (user.clone(), gate.clone());
            users.push(match place {
                0..3 => tokio::spawn(go_on(gate, rng, async move |rng| user.put(rng).await)),
                3 | 4 => tokio::spawn(go_on(gate, rng, async move |rng| user.read(rng).await)),
                _ => tokio::spawn(go_on(gate, rng, async move |rng| user.remove(rng).await)),
            });
        }
        Self { gate, users }
    }

    /// Waits until nobody waits for an answer; nobody asks for anything until the answer is dropped.
    pub async fn halt(&self) -> OwnedRwLockWriteGuard<()> {
        self.gate.clone().write_owned().await
    }

    /// Ends all.
    pub fn end(self) {
        self.users.iter().for_each(JoinHandle::abort);
    }
}

async fn go_on(gate: Arc<RwLock<()>>, mut rng: Rng, act: impl AsyncFn(&mut Rng)) {
    loop {
        let open = gate.read().await;
        act(&mut rng).await;
        drop(open);
        sleep(rng.wait(LONGEST_PAUSE)).await;
    }
}

impl User {
    async fn put(&self, rng: &mut Rng) {
        if self.ledger.accepted() > MANY_FILES {
            return;
        }
        let (digest, bytes) = self.ledger.begin_put(rng);
        let with_tool = rng.chance(1, 3);
        let answer = match self.addresses.tracker() {
            None => None,
            Some(tracker) if with_tool => self.put_with_tool(&tracker, &digest, bytes).await,
            Some(tracker) => {
                let tracker = Client::of(&tracker);
                answered(tracker.try_put(&digest[..8], Cursor::new(bytes))).await.and_then(Result::ok)
            }
        };
        match answer {
            Some(told) if told == digest => {
                self.ledger.settle(&digest, Some(Known::Accepted));
                self.ledger.count(|counts| counts.accepted += 1);
            }
            Some(other) => self.ledger.violated(format!("{digest} was put in, the tracker says {other}")),
            None => {
                self.ledger.broke_off(&digest);
                self.ledger.settle(&digest, None);
            }
        }
    }

    /// What `mds put` prints, if it succeeds.
    async fn put_with_tool(&self, tracker: &str, digest: &str, bytes: Vec<u8>) -> Option<String> {
        let path = self.directory.path().join(digest);
        fs::write(&path, bytes).expect("there is room");
        let mut command = Command::new(binaries::mds());
        command.args(["--endpoint", tracker, "put"]).arg(&path);
        let output = answered(command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
        // The next one of the same name writes the same bytes.
        let _ = fs::remove_file(&path);
        let output = output?.expect("the tool can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // A line says that the file is in, whatever comes after.
        text.split_whitespace().next().map(str::to_owned)
    }

    async fn read(&self, rng: &mut Rng) {
        let Some((digest, size_bytes)) = self.ledger.to_read(rng) else { return };
        let Some(address) = self.addresses.any(rng) else { return };
        match answered(Client::of(&address).read_digest(&digest)).await {
            Some(Ok(read)) if read == (digest.clone(), size_bytes) => {
                self.ledger.count(|counts| counts.read += 1);
            }
            Some(Ok(read)) => self.ledger.violated(format!("{address} gave {read:?} for {digest}")),
            Some(Err(status)) if status.code() == Code::DataLoss => {
                self.ledger.violated(format!("{address} says of {digest}: {status}"));
            }
            Some(Err(_)) | None => self.ledger.count(|counts| counts.not_read += 1),
        }
    }

    async fn remove(&self, rng: &mut Rng) {
        if rng.below(MANY_FILES) > self.ledger.accepted() {
            return;
        }
        let Some(digest) = self.ledger.begin_removal(rng) else { return };
        let Some(tracker) = self.addresses.tracker() else {
            return self.ledger.settle(&digest, Some(Known::Accepted));
        };
        match answered(Client::of(&tracker).try_remove(&digest)).await {
            Some(Ok(())) => {
                self.ledger.settle(&digest, Some(Known::Absent));
                self.ledger.count(|counts| counts.removed += 1);
            }
            Some(Err(status)) if status.code() == Code::NotFound => {
                self.ledger
                    .violated(format!("the tracker does not know the accepted file {digest}: {status}"));
            }
            Some(Err(_)) | None => {
                self.ledger.settle(&digest, None);
                self.ledger.count(|counts| counts.not_removed += 1);
            }
        }
    }
}

/// None if nobody answers in time.
async fn answered<T>(asking: impl Future<Output = T>) -> Option<T> {
    timeout(PATIENCE, asking).await.ok()
}
