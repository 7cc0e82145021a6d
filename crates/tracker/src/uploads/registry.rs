//! The uploads that are under way, in memory: what a crash leaves of them is swept at the next start, and the client begins again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use endpoint::Refusal;
use endpoint::proto::{self, UploadState, digest_text};
use protocol::{FileName, Hash, Hasher};
use tokio::time::Instant;
use uuid::Uuid;

use super::room::Arrived;

/// Most uploads at once.
const MAX_UPLOADS: usize = 256;
/// How many that became a file are remembered, so that who asks again gets the same answer.
const MAX_COMPLETE: usize = 256;
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
    /// What has arrived of it, if its size was told.
    pub arrived: Arrived,
    /// The file's hash as far as it came in order, and which fragments that was.
    hasher: Hasher,
    hashed: Vec<Hash>,
    hashed_bytes: u64,
    /// Some of the bytes that were hashed were not those of their fragment's name.
    is_hash_spoilt: bool,
    /// The file that it became.
    pub published: Option<Hash>,
    published_bytes: u64,
    last_used: Instant,
    /// The registry knows it no more: nobody would ever ask for what it still gets.
    pub is_removed: bool,
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

    /// Remembers a fragment that is durable; false if the upload was removed meanwhile.
    pub fn take_durable(&mut self, fragment: Hash, size_bytes: u64) -> bool {
        if !self.is_removed {
            let is_new = self.durable.insert(fragment, size_bytes).is_none();
            if is_new && self.size_bytes.is_some() {
                self.arrived.add(fragment, size_bytes);
            }
        }
        !self.is_removed
    }

    /// The upload has become a file, and what is remembered of the file's fragments is the view's.
    pub fn publish(&mut self, file: Hash, size_bytes: u64, fragments: &[Hash]) {
        (self.published, self.published_bytes) = (Some(file), size_bytes);
        let of_the_file: HashSet<&Hash> = fragments.iter().collect();
        self.durable.retain(|fragment, _| !of_the_file.contains(fragment));
        self.durable.shrink_to_fit();
        (self.placed, self.hashed, self.arrived) = Default::default();
    }

    /// The network has the file already.
    pub fn publish_before(&mut self, file: Hash, size_bytes: u64) {
        if self.published.is_none() {
            (self.published, self.published_bytes) = (Some(file), size_bytes);
        }
    }

    /// The bytes of a fragment were not those of its name, and have been hashed into the file as if they were.
    pub fn spoil_hash(&mut self) {
        self.is_hash_spoilt = true;
    }

    /// Bytes from the file's beginning on that are durable without a gap.
    pub fn committed_bytes(&self) -> u64 {
        if self.published.is_some() {
            return self.published_bytes;
        }
        let durable = self.in_order().take_while(|(fragment, _)| self.durable.contains_key(fragment));
        durable.map(|(_, size_bytes)| size_bytes).sum()
    }

    /// The fragments by their places.
    ///
    /// # Errors
    /// If there is a gap before one of them, or fewer bytes than were announced: then the rest of the file is on its way, or lost.
    pub fn sequence(&self, fragment_size_bytes: u64) -> Result<Vec<Hash>, Refusal> {
        let (mut sequence, mut end, mut last_bytes) = (Vec::with_capacity(self.placed.len()), 0, 0);
        for (fragment, size_bytes) in self.in_order() {
            sequence.push(fragment);
            end += size_bytes;
            last_bytes = size_bytes;
        }
        let is_short = end % fragment_size_bytes != 0;
        if sequence.len() < self.placed.len() {
            // Behind one that is too short none can be placed.
            return Err(if is_short {
                Refusal::WrongFragmentSize { expected_bytes: fragment_size_bytes, actual_bytes: last_bytes }
            } else {
                Refusal::BytesMissing { first_missing_offset: end }
            });
        }
        match self.size_bytes {
            Some(expected_bytes) if end < expected_bytes && is_short => {
                Err(Refusal::SizeMismatch { expected_bytes, actual_bytes: end })
            }
            Some(announced) if end < announced => Err(Refusal::BytesMissing { first_missing_offset: end }),
            Some(_) | None => Ok(sequence),
        }
    }

    /// The hash of the file of these fragments, if they were hashed as they came.
    pub fn hash_of(&self, sequence: &[Hash]) -> Option<Hash> {
        (!self.is_hash_spoilt && self.hashed == sequence).then(|| self.hasher.clone().finish())
    }

    /// Somebody goes on with it: it does not expire meanwhile.
    pub fn touch(&mut self) {
        self.last_used = Instant::now();
    }

    /// Its resource name.
    pub fn resource_name(&self) -> String {
        format!("uploads/{}", self.id)
    }

    /// As the messages tell it.
    pub fn describe(&self, fragment_size_bytes: u64) -> proto::Upload {
        let int64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let left = EXPIRY.saturating_sub(self.last_used.elapsed());
        proto::Upload {
            name: self.resource_name(),
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
                lock(same).touch();
                return Ok(same.clone());
            }
        }
        if in_flight(&uploads) >= MAX_UPLOADS {
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
            arrived: Arrived::default(),
            hasher: Hasher::new(),
            hashed: Vec::new(),
            hashed_bytes: 0,
            is_hash_spoilt: false,
            published: None,
            published_bytes: 0,
            last_used: Instant::now(),
            is_removed: false,
        };
        let upload = Arc::new(Mutex::new(upload));
        uploads.insert(id, upload.clone());
        Ok(upload)
    }

    /// How many uploads have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        in_flight(&self.uploads()) as u64
    }

    /// The upload that was created with this request id.
    pub fn of_request(&self, request_id: Uuid) -> Option<SharedUpload> {
        let same = |upload: &&SharedUpload| lock(upload).request_id == Some(request_id);
        self.uploads().values().find(same).cloned()
    }

    /// The upload that a resource name `uploads/{upload}` stands for.
    pub fn get(&self, name: &str) -> Result<SharedUpload, Refusal> {
        let not_found = || Refusal::UploadNotFound(name.chars().take(80).collect());
        let id = name.strip_prefix("uploads/").unwrap_or(name);
        let id = Uuid::try_parse(id).map_err(|_| not_found())?;
        let upload = self.uploads().get(&id).cloned().ok_or_else(not_found)?;
        lock(&upload).touch();
        Ok(upload)
    }

    /// Whether an upload has the fragment.
    pub fn has(&self, fragment: &Hash) -> bool {
        self.uploads().values().any(|upload| lock(upload).durable.contains_key(fragment))
    }

    /// Forgets an upload, and gives the fragments that no other upload has.
    pub fn remove(&self, id: Uuid) -> Vec<Hash> {
        let mut uploads = self.uploads();
        uploads.remove(&id).map(|upload| leftovers(&uploads, &upload)).unwrap_or_default()
    }

    /// Forgets the uploads that nobody touched for long, and of those that became a file all but the last; gives the fragments that no
    /// other upload has.
    pub fn expire(&self) -> Vec<Hash> {
        let mut uploads = self.uploads();
        let mut complete = Vec::new();
        let mut old = Vec::new();
        for (id, upload) in uploads.iter() {
            let upload = lock(upload);
            if upload.last_used.elapsed() >= EXPIRY {
                old.push(*id);
            } else if upload.published.is_some() {
                complete.push((upload.last_used, *id));
            }
        }
        complete.sort_unstable();
        let too_many = complete.len().saturating_sub(MAX_COMPLETE);
        old.extend(complete.into_iter().take(too_many).map(|(_, id)| id));
        let removed: Vec<SharedUpload> = old.iter().filter_map(|id| uploads.remove(id)).collect();
        removed.iter().flat_map(|upload| leftovers(&uploads, upload)).collect()
    }
}

fn in_flight(uploads: &BTreeMap<Uuid, SharedUpload>) -> usize {
    uploads.values().filter(|upload| lock(upload).published.is_none()).count()
}

fn leftovers(others: &BTreeMap<Uuid, SharedUpload>, upload: &SharedUpload) -> Vec<Hash> {
    let mut left: BTreeSet<Hash> = {
        let mut upload = lock(upload);
        upload.is_removed = true;
        upload.durable.keys().copied().collect()
    };
    for other in others.values() {
        let other = lock(other);
        left.retain(|hash| !other.durable.contains_key(hash));
    }
    left.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(request: u128) -> Announced {
        Announced { request_id: Some(Uuid::from_u128(request)), digest: None, size_bytes: None, name: None }
    }

    #[test]
    fn uploads_that_became_a_file_do_not_count_as_running_and_are_forgotten_in_the_end() {
        let registry = Registry::default();
        for number in 0..2 * (MAX_UPLOADS + MAX_COMPLETE) as u128 {
            assert_eq!(registry.expire(), []);
            let upload = registry.create(announced(number)).unwrap();
            lock(&upload).publish(Hash::of(&number.to_le_bytes()), 0, &[]);
        }
        assert!(registry.uploads().len() <= MAX_COMPLETE + 1);
    }

    #[test]
    fn no_more_uploads_run_than_allowed() {
        let registry = Registry::default();
        let running: Vec<_> =
            (0..MAX_UPLOADS as u128).map(|id| registry.create(announced(id)).unwrap()).collect();
        let refused = registry.create(announced(u128::MAX)).map(drop);
        assert!(matches!(refused, Err(Refusal::TooManyUploads { limit: MAX_UPLOADS })), "{refused:?}");
        let ended = lock(&running[0]).id;
        registry.remove(ended);
        registry.create(announced(u128::MAX)).unwrap();
    }

    #[test]
    fn a_gap_is_no_end_of_the_file() {
        let registry = Registry::default();
        let upload = registry.create(announced(1)).unwrap();
        let mut upload = lock(&upload);
        let first_missing = |upload: &Upload| match upload.sequence(4) {
            Err(Refusal::BytesMissing { first_missing_offset }) => Some(first_missing_offset),
            _ => None,
        };
        let (first, second, third) = (Hash::of(b"1st."), Hash::of(b"2nd."), Hash::of(b"3"));
        upload.place(8, third, b"3");
        assert_eq!(first_missing(&upload), Some(0));
        upload.place(0, first, b"1st.");
        assert_eq!(first_missing(&upload), Some(4));
        upload.place(4, second, b"2nd.");
        assert_eq!(upload.sequence(4).unwrap(), [first, second, third]);
        upload.size_bytes = Some(10);
        assert!(matches!(upload.sequence(4), Err(Refusal::SizeMismatch { actual_bytes: 9, .. })));
        upload.placed.remove(&8);
        assert_eq!(first_missing(&upload), Some(8));
        upload.place(0, third, b"3");
        assert!(matches!(upload.sequence(4), Err(Refusal::WrongFragmentSize { actual_bytes: 1, .. })));
    }

    #[test]
    fn an_upload_that_became_a_file_keeps_only_what_is_not_in_it() {
        let registry = Registry::default();
        let upload = registry.create(announced(1)).unwrap();
        let (of_the_file, other) = (Hash::of(b"of the file"), Hash::of(b"other"));
        let mut open = lock(&upload);
        open.place(0, of_the_file, b"of the file");
        open.durable.extend([(of_the_file, 11), (other, 5)]);
        open.publish(Hash::of(b"of the file"), 11, &[of_the_file]);
        assert_eq!((open.committed_bytes(), open.placed.len(), open.hashed.len()), (11, 0, 0));
        let id = open.id;
        drop(open);
        assert_eq!(registry.remove(id), [other]);
    }

    #[test]
    fn a_file_is_not_named_by_bytes_that_were_refused() {
        let registry = Registry::default();
        let upload = registry.create(announced(1)).unwrap();
        let fragment = Hash::of(b"right");
        let mut upload = lock(&upload);
        upload.place(0, fragment, b"wrong");
        upload.spoil_hash();
        upload.place(0, fragment, b"right");
        assert_eq!(upload.hash_of(&[fragment]), None);
    }
}
