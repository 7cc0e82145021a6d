//! The uploads that are under way, in memory: what a crash leaves of them is swept at the next start, and the client begins again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use endpoint::Refusal;
use endpoint::proto::{self, UploadState, digest_text};
use protocol::{FileName, Hash, Hasher};
use uuid::Uuid;

/// Most uploads at once.
const MAX_UPLOADS: usize = 256;
/// An upload that nobody touches for this long is thrown away.
const EXPIRY: Duration = Duration::from_secs(3600);

/// One upload.
#[derive(Debug)]
pub struct Upload {
    pub id: Uuid,
    request_id: Option<Uuid>,
    /// Of the whole file, if told.
    pub digest: Option<Hash>,
    /// Of the whole file in bytes, if told.
    pub size_bytes: Option<u64>,
    /// What people call it.
    pub name: Option<FileName>,
    /// The fragments and their sizes in bytes by their offset in the file, durable or not.
    placed: BTreeMap<u64, (Hash, u64)>,
    /// What is durable, with its size in bytes.
    pub durable: HashMap<Hash, u64>,
    /// The file's hash as far as it came in order, and which fragments that was.
    hasher: Hasher,
    hashed: Vec<Hash>,
    hashed_bytes: u64,
    /// The file that it became.
    pub published: Option<Hash>,
    last_used: Instant,
}

impl Upload {
    pub fn state(&self) -> UploadState {
        if self.published.is_some() { UploadState::Complete } else { UploadState::Receiving }
    }

    /// Puts a fragment in its place in the file. Again is allowed: the last one counts.
    pub fn place(&mut self, offset: u64, fragment: Hash, bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        self.placed.insert(offset, (fragment, size_bytes));
        if offset == self.hashed_bytes {
            self.hasher.update(bytes);
            self.hashed.push(fragment);
            self.hashed_bytes += size_bytes;
        }
    }

    /// The fragments from the file's beginning on, without a gap, with their sizes in bytes.
    fn in_order(&self) -> impl Iterator<Item = (Hash, u64)> {
        let mut next_offset = 0;
        self.placed.iter().map_while(move |(offset, (fragment, size_bytes))| {
            (*offset == next_offset).then(|| {
                next_offset += size_bytes;
                (*fragment, *size_bytes)
            })
        })
    }

    /// Bytes from the file's beginning on that are durable without a gap.
    pub fn committed_bytes(&self) -> u64 {
        let durable = self.in_order().take_while(|(fragment, _)| self.durable.contains_key(fragment));
        durable.map(|(_, size_bytes)| size_bytes).sum()
    }

    /// The fragments by their places.
    pub fn sequence(&self) -> Vec<Hash> {
        self.in_order().map(|(fragment, _)| fragment).collect()
    }

    /// The hash of the file of these fragments, if they were hashed as they came.
    pub fn hash_of(&self, sequence: &[Hash]) -> Option<Hash> {
        (self.hashed == sequence).then(|| self.hasher.clone().finish())
    }

    /// As the messages tell it.
    pub fn describe(&self, fragment_size_bytes: u64) -> proto::Upload {
        let int64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let left = EXPIRY.saturating_sub(self.last_used.elapsed());
        proto::Upload {
            name: format!("uploads/{}", self.id),
            digest: self.published.or(self.digest).map(|digest| digest_text(&digest)).unwrap_or_default(),
            size_bytes: self.size_bytes.map(int64),
            fragment_size_bytes: int64(fragment_size_bytes),
            state: self.state().into(),
            committed_bytes: int64(self.committed_bytes()),
            expire_time: Some((SystemTime::now() + left).into()),
        }
    }
}

/// An upload as its streams share it.
pub type SharedUpload = Arc<Mutex<Upload>>;

/// Locks an upload; a stream that panicked has left it as it was.
pub fn lock(upload: &SharedUpload) -> MutexGuard<'_, Upload> {
    upload.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All uploads. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    uploads: Arc<Mutex<BTreeMap<Uuid, SharedUpload>>>,
}

/// What is told of a new upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub request_id: Option<Uuid>,
    pub digest: Option<Hash>,
    pub size_bytes: Option<u64>,
    pub name: Option<FileName>,
}

impl Registry {
    fn uploads(&self) -> MutexGuard<'_, BTreeMap<Uuid, SharedUpload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new upload, or the one that was created with the same request id.
    pub fn create(&self, announced: Announced) -> Result<SharedUpload, Refusal> {
        let mut uploads = self.uploads();
        if let Some(request_id) = announced.request_id {
            let same = uploads.values().find(|upload| lock(upload).request_id == Some(request_id));
            if let Some(same) = same {
                let upload = lock(same);
                let known = (upload.digest, upload.size_bytes, &upload.name);
                if known != (announced.digest, announced.size_bytes, &announced.name) {
                    return Err(Refusal::RequestIdReused(request_id.to_string()));
                }
                drop(upload);
                return Ok(same.clone());
            }
        }
        if uploads.len() >= MAX_UPLOADS {
            return Err(Refusal::TooManyUploads { limit: MAX_UPLOADS });
        }
        let id = Uuid::from_u128(fastrand::u128(..));
        let Announced { request_id, digest, size_bytes, name } = announced;
        let upload = Upload {
            id,
            request_id,
            digest,
            size_bytes,
            name,
            placed: BTreeMap::new(),
            durable: HashMap::new(),
            hasher: Hasher::new(),
            hashed: Vec::new(),
            hashed_bytes: 0,
            published: None,
            last_used: Instant::now(),
        };
        let upload = Arc::new(Mutex::new(upload));
        uploads.insert(id, upload.clone());
        Ok(upload)
    }

    /// The upload that a resource name `uploads/{upload}` stands for.
    pub fn get(&self, name: &str) -> Result<SharedUpload, Refusal> {
        let not_found = || Refusal::UploadNotFound(name.chars().take(80).collect());
        let id = name.strip_prefix("uploads/").unwrap_or(name);
        let id = Uuid::try_parse(id).map_err(|_| not_found())?;
        let upload = self.uploads().get(&id).cloned().ok_or_else(not_found)?;
        lock(&upload).last_used = Instant::now();
        Ok(upload)
    }

    /// Forgets an upload, and gives the fragments that no other upload has.
    pub fn remove(&self, id: Uuid) -> Vec<Hash> {
        let mut uploads = self.uploads();
        uploads.remove(&id).map(|upload| leftovers(&uploads, &upload)).unwrap_or_default()
    }

    /// Forgets the uploads that nobody touched for long, and gives the fragments that no other upload has.
    pub fn expire(&self) -> Vec<Hash> {
        let mut uploads = self.uploads();
        let is_old = |upload: &SharedUpload| lock(upload).last_used.elapsed() >= EXPIRY;
        let old: Vec<Uuid> = uploads.iter().filter(|(_, upload)| is_old(upload)).map(|(id, _)| *id).collect();
        let removed: Vec<SharedUpload> = old.iter().filter_map(|id| uploads.remove(id)).collect();
        removed.iter().flat_map(|upload| leftovers(&uploads, upload)).collect()
    }
}

fn leftovers(others: &BTreeMap<Uuid, SharedUpload>, upload: &SharedUpload) -> Vec<Hash> {
    let mut left: BTreeSet<Hash> = lock(upload).durable.keys().copied().collect();
    for other in others.values() {
        let other = lock(other);
        left.retain(|hash| !other.durable.contains_key(hash));
    }
    left.into_iter().collect()
}
