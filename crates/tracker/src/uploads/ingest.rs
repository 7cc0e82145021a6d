//! One stream of fragments: collected, named, stored.
//!
//! ```text
//!  gRPC messages ──► Assembler (async) ──► hashing (a thread of its own) ──► FragmentWriter (its threads, one sync for many)
//! ```
//!
//! Bytes on their way are bounded by permits, taken before a fragment goes to the hashing and given back when it is durable: for each
//! stream, and for all together. The fragment that a stream puts together is bounded too: so many streams receive at once, the others
//! wait, and after a while they are told to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use endpoint::proto::WriteFragmentsRequest;
use endpoint::{Budget, Refusal, Share};
use protocol::Hash;
use storage::FragmentWriter;
use storage::fragments::PutError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::registry::{SharedUpload, lock};
use super::tidying::Leftovers;

/// Most bytes of one stream that are received and not yet durable.
const IN_FLIGHT_BYTES: u32 = 4 << 20;
/// Most fragments of one stream that wait to be hashed.
const WAITING_FRAGMENTS: usize = 8;

/// Bytes that all streams together may have received and not yet made durable; as much again for the fragments that they put together.
const ALL_IN_FLIGHT_BYTES: u64 = 32 << 20;
/// Most streams that receive at once, however small the fragments are.
const MAX_STREAMS: u64 = 256;
/// How long a stream waits for memory before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The memory of all uploads. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    fragment_size_bytes: u64,
    assembling: Budget,
    in_flight: Budget,
}

impl Memory {
    pub fn new(fragment_size_bytes: u64) -> Self {
        Self {
            fragment_size_bytes,
            assembling: Budget::new(ALL_IN_FLIGHT_BYTES, PATIENCE),
            in_flight: Budget::new(ALL_IN_FLIGHT_BYTES, PATIENCE),
        }
    }

    /// The share of one stream, to be held as long as it receives.
    pub async fn stream(&self) -> Result<Share, Refusal> {
        self.assembling.take(self.fragment_size_bytes.max(ALL_IN_FLIGHT_BYTES / MAX_STREAMS)).await
    }
}

/// What a fragment on its way holds until it is durable.
type Held = (OwnedSemaphorePermit, Share);

/// Puts the messages of a stream together to fragments.
#[derive(Debug)]
pub struct Assembler {
    fragment_size_bytes: u64,
    digest: Option<Hash>,
    file_offset: Option<u64>,
    /// Where a fragment without an offset belongs.
    next_offset: u64,
    bytes: BytesMut,
    is_open: bool,
}

/// A whole fragment, the name that its sender gave it, and its place in the file.
#[derive(Debug)]
pub struct Fragment {
    pub digest: Option<Hash>,
    pub file_offset: Option<u64>,
    pub bytes: Bytes,
}

impl Assembler {
    /// `next_offset` is where the first fragment belongs in the file, if it does not say.
    pub fn new(fragment_size_bytes: u64, next_offset: u64) -> Self {
        let (digest, file_offset) = (None, None);
        Self { fragment_size_bytes, digest, file_offset, next_offset, bytes: BytesMut::new(), is_open: false }
    }

    /// Takes a message; gives the fragment that it completes.
    pub fn take(&mut self, message: WriteFragmentsRequest) -> Result<Option<Fragment>, Refusal> {
        let digest = match message.digest.as_str() {
            "" => None,
            text => Some(
                endpoint::proto::parse_digest(text).map_err(|_| Refusal::invalid_digest("digest", text))?,
            ),
        };
        if self.is_open && digest.is_some_and(|digest| self.digest.is_some_and(|known| known != digest)) {
            let problem = "another fragment began before the last one was finished".to_owned();
            return Err(Refusal::InvalidField { field: "digest", problem });
        }
        let expected = self.bytes.len() as u64;
        if u64::try_from(message.write_offset) != Ok(expected) {
            return Err(Refusal::WrongWriteOffset { expected, actual: message.write_offset });
        }
        let begins = digest.is_some() || message.file_offset.is_some() || message.finish_fragment;
        if !self.is_open && !begins && message.data.is_empty() {
            // It only names the upload.
            return Ok(None);
        }
        if !self.is_open {
            self.begin(digest, message.file_offset)?;
        }
        let actual_bytes = expected + message.data.len() as u64;
        if actual_bytes > self.fragment_size_bytes {
            let expected_bytes = self.fragment_size_bytes;
            return Err(Refusal::WrongFragmentSize { expected_bytes, actual_bytes });
        }
        // One message is one fragment: its bytes are taken as they came.
        let whole = message.finish_fragment && self.bytes.is_empty();
        let bytes = if whole {
            message.data
        } else {
            if self.bytes.capacity() == 0 {
                self.bytes.reserve(usize::try_from(self.fragment_size_bytes).unwrap_or(0));
            }
            self.bytes.extend_from_slice(&message.data);
            if !message.finish_fragment {
                return Ok(None);
            }
            std::mem::take(&mut self.bytes).freeze()
        };
        self.is_open = false;
        if bytes.is_empty() {
            let problem = "a fragment has at least one byte; an empty file has no fragment".to_owned();
            return Err(Refusal::InvalidField { field: "data", problem });
        }
        let file_offset = self.file_offset.take();
        if let Some(offset) = file_offset {
            self.next_offset = offset.saturating_add(bytes.len() as u64);
        }
        Ok(Some(Fragment { digest: self.digest.take(), file_offset, bytes }))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// If it did so within a fragment.
    pub fn end(&self) -> Result<(), Refusal> {
        if !self.is_open {
            return Ok(());
        }
        let problem = "the stream ended within a fragment: set it on the fragment's last message".to_owned();
        Err(Refusal::InvalidField { field: "finish_fragment", problem })
    }

    fn begin(&mut self, digest: Option<Hash>, file_offset: Option<i64>) -> Result<(), Refusal> {
        self.digest = digest;
        self.file_offset = match file_offset {
            Some(offset) => {
                let offset =
                    u64::try_from(offset).ok().filter(|offset| offset % self.fragment_size_bytes == 0);
                let problem =
                    || format!("a fragment begins at a multiple of {} bytes", self.fragment_size_bytes);
                Some(
                    offset
                        .ok_or_else(|| Refusal::InvalidField { field: "file_offset", problem: problem() })?,
                )
            }
            None => digest.is_none().then_some(self.next_offset),
        };
        self.is_open = true;
        Ok(())
    }
}

/// The way of one stream's fragments to the disk.
#[derive(Debug)]
pub struct Ingest {
    to_hash: mpsc::Sender<(Fragment, Held)>,
    in_flight: Budget,
    hashing: JoinHandle<()>,
    permits: Arc<Semaphore>,
    failure: Failure,
}

/// The first failure of a stream.
type Failure = Arc<Mutex<Option<Refusal>>>;

fn note(failure: &Failure, refusal: Refusal) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refusal);
}

impl Ingest {
    pub fn start(
        upload: SharedUpload,
        writer: FragmentWriter,
        memory: &Memory,
        leftovers: Leftovers,
    ) -> Self {
        let (to_hash, mut fragments) = mpsc::channel::<(Fragment, Held)>(WAITING_FRAGMENTS);
        let failure = Failure::default();
        let noted = failure.clone();
        let hashing = spawn_blocking(move || {
            while let Some((fragment, held)) = fragments.blocking_recv() {
                if let Err(refusal) = store(&upload, &writer, &leftovers, fragment, held, &noted) {
                    note(&noted, refusal);
                    return;
                }
            }
        });
        let in_flight = memory.in_flight.clone();
        let permits = Arc::new(Semaphore::new(IN_FLIGHT_BYTES as usize));
        Self { to_hash, in_flight, hashing, permits, failure }
    }

    /// Sends a fragment on its way; waits while too much is on its way.
    pub async fn put(&self, fragment: Fragment) -> Result<(), Refusal> {
        let weight = u32::try_from(fragment.bytes.len()).unwrap_or(IN_FLIGHT_BYTES).min(IN_FLIGHT_BYTES);
        let permit = self.permits.clone().acquire_many_owned(weight).await;
        let permit = permit.map_err(|_| Refusal::ShuttingDown)?;
        let share = self.in_flight.take(u64::from(weight)).await?;
        self.check()?;
        // The hashing ends early only after a failure.
        self.to_hash.send((fragment, (permit, share))).await.or_else(|_| self.check())
    }

    fn check(&self) -> Result<(), Refusal> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone().map_or(Ok(()), Err)
    }

    /// Waits until everything is durable.
    pub async fn finish(self) -> Result<(), Refusal> {
        let Self { to_hash, in_flight: _, hashing, permits, failure } = self;
        drop(to_hash);
        hashing.await.map_err(|_| Refusal::StoreUnusable)?;
        // All permits are back when nothing is on its way.
        let all = permits.acquire_many(IN_FLIGHT_BYTES).await;
        drop(all.map_err(|_| Refusal::ShuttingDown)?);
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), Err)
    }
}

/// Names a fragment, counts it into its file, and hands it to the writer.
fn store(
    upload: &SharedUpload,
    writer: &FragmentWriter,
    leftovers: &Leftovers,
    fragment: Fragment,
    held: Held,
    failure: &Failure,
) -> Result<(), Refusal> {
    let Fragment { digest, file_offset, bytes } = fragment;
    // What its sender named is hashed by the writer, beside what is named here.
    let hash = digest.unwrap_or_else(|| Hash::of(&bytes));
    let size_bytes = bytes.len() as u64;
    {
        let mut upload = lock(upload);
        if upload.is_removed {
            return Err(Refusal::UploadNotFound(upload.resource_name()));
        }
        if upload.published.is_some() {
            return Err(Refusal::UploadClosed { upload: upload.resource_name(), state: upload.state() });
        }
        upload.touch();
        if let Some(offset) = file_offset {
            upload.place(offset, hash, &bytes);
        }
    }
    let (upload, failure, leftovers) = (upload.clone(), failure.clone(), leftovers.clone());
    let on_done = move |result: Result<(), PutError>| {
        match result {
            Ok(()) => leftovers.durable(&upload, hash, size_bytes),
            Err(error) => {
                if let PutError::HashMismatch { .. } = error {
                    lock(&upload).spoil_hash();
                }
                note(&failure, refusal_of(error));
            }
        }
        drop(held);
    };
    match digest {
        Some(_) => writer.put(hash, bytes, Box::new(on_done)),
        None => writer.put_hashed(hash, bytes, Box::new(on_done)),
    }
    Ok(())
}

fn refusal_of(error: PutError) -> Refusal {
    match error {
        PutError::HashMismatch { expected, actual } => Refusal::DigestMismatch { expected, actual },
        PutError::NoSpace { .. } => Refusal::NoSpace,
        PutError::TooLarge { .. } | PutError::Io { .. } | PutError::Stopped { .. } | PutError::Failed(_) => {
            tracing::error!("an upload cannot be stored: {error}");
            Refusal::StoreUnusable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_that_find_no_memory_wait_and_are_told_to_come_back() {
        for (fragment_size_bytes, streams) in [(8 << 20, 4), (256 << 10, 128), (1024, 256)] {
            let memory = Memory::new(fragment_size_bytes);
            let mut shares = Vec::new();
            let refused = loop {
                match memory.stream().await {
                    Ok(share) => shares.push(share),
                    Err(refusal) => break refusal,
                }
            };
            assert_eq!((shares.len(), refused.code()), (streams, tonic::Code::ResourceExhausted));
            shares.pop();
            assert!(memory.stream().await.is_ok());
        }
    }
}
