//! One upload after the other to the tracker, each going on where a broken stream ended.
//!
//! The tracker names the fragments. This side hashes the whole file while it reads, tells the digest at the end, and compares the answer:
//! so every byte is hashed here once, and what arrives is what was read.

use std::fs::File;
use std::time::Duration;

use endpoint::client::{CallError, Cluster};
use endpoint::proto::tracker_service_client::TrackerServiceClient;
use endpoint::proto::{self, ErrorReason, UploadState, WriteFragmentsRequest, digest_text};
use indicatif::ProgressBar;
use protocol::{EndpointUri, FileName, Hash};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code as StatusCode, Response, Status};
use uuid::Builder;

use super::Source;
use super::content::Content;
use crate::describe::unsigned;
use crate::exit::{Code, Failure};
use crate::output::{Output, printable};
use crate::progress;

/// Most bytes of one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Messages that wait between reading and sending.
const WAITING_MESSAGES: usize = 4;
/// How much of a stream that cannot be read again is written before the tracker must say that it is durable: as much is kept in memory.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How long the tracker may take for an answer that is not a stream. Completing may have to hash the file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long cancelling may take: somebody waits for the end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often one call or stream is tried without getting any further, and how long the pauses between are.
const ATTEMPTS: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The tracker's reason while it is without a broker, and how long such a tracker is waited for at most. Each question is asked for a
/// while anyway; beyond that the wait is as long as it would take to send the file again.
const NO_BROKER: &str = "NO_BROKER";
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

/// The reason where a file no longer has the digest that was known.
pub const CHANGED: &str = "CHANGED";

/// Uploads to one tracker.
#[derive(Debug)]
pub struct Uploads {
    endpoint: EndpointUri,
    client: TrackerServiceClient<Channel>,
    json: bool,
    /// The upload that is under way, if one is.
    under_way: Option<String>,
}

/// What the blocking side has to tell when it stops.
struct Written {
    content: Content,
    /// Whether the content is at its end; an error if it could not be read.
    ended: std::io::Result<bool>,
}

impl Uploads {
    /// Finds the tracker.
    ///
    /// # Errors
    /// If nobody is it or knows where it is.
    pub async fn at_tracker(cluster: &Cluster, json: bool) -> Result<Self, Failure> {
        let (endpoint, client) = cluster.tracker().await?;
        Ok(Self { endpoint, client, json, under_way: None })
    }

    /// Puts one file. If its digest is `known` beforehand, what the network has already is not sent again.
    ///
    /// # Errors
    /// If it cannot be read, or no longer has the digest that was known, or the tracker does not take it.
    pub async fn put(&mut self, source: Source, known: Option<Hash>) -> Result<proto::File, Failure> {
        let opened =
            spawn_blocking(move || open(&source).map(|(content, size_bytes)| (content, size_bytes, source)));
        let (mut content, size_bytes, source) = opened.await.map_err(panicked)??;
        let bar = progress::bytes(&source.to_string(), size_bytes, self.json);
        let mut attempt = 0;
        loop {
            let upload = self.create(source.name(), size_bytes, known).await?;
            self.under_way = Some(upload.name.clone());
            match self.write_and_complete(&upload, &mut content, &source, known, &bar).await {
                // The tracker has forgotten the upload (it was started anew): so does this side, if it can.
                Err(failure) if failure.reason == "UPLOAD_NOT_FOUND" && attempt < ATTEMPTS => {
                    attempt += 1;
                    let again = content.rewind(0).map_err(|error| unreadable(&source, &error))?;
                    if !again {
                        return Err(failure);
                    }
                }
                outcome => {
                    bar.finish_and_clear();
                    if outcome.is_err() {
                        self.cancel().await;
                    }
                    self.under_way = None;
                    return outcome;
                }
            }
        }
    }

    async fn create(
        &mut self,
        name: Option<&FileName>,
        size_bytes: Option<u64>,
        known: Option<Hash>,
    ) -> Result<proto::Upload, Failure> {
        let request = proto::CreateUploadRequest {
            digest: known.as_ref().map(digest_text).unwrap_or_default(),
            size_bytes: size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            display_name: name.map(ToString::to_string).unwrap_or_default(),
            request_id: Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string(),
            ..Default::default()
        };
        let response = self.call(|mut client| {
            let request = request.clone();
            async move { client.create_upload(request).await }
        });
        let upload = response.await?.upload.ok_or_else(|| self.invalid("upload"))?;
        if upload.fragment_size_bytes <= 0 {
            return Err(self.invalid("fragment size"));
        }
        Ok(upload)
    }

    async fn write_and_complete(
        &mut self,
        upload: &proto::Upload,
        content: &mut Content,
        source: &Source,
        known: Option<Hash>,
        bar: &ProgressBar,
    ) -> Result<proto::File, Failure> {
        let mut attempt = 0;
        let begin = Instant::now();
        let (file, digest) = loop {
            let digest = if upload.state() == UploadState::Receiving {
                self.write(upload, content, source, bar).await?;
                content.digest()
            } else {
                known.unwrap_or_else(|| content.digest())
            };
            if known.is_some_and(|known| known != digest) {
                let message = format!("{source} was changed while it was put");
                return Err(Failure::new(Code::Failed, CHANGED, message));
            }
            if let Some(announced) = upload.size_bytes.map(|bytes| u64::try_from(bytes).unwrap_or_default())
                && upload.state() == UploadState::Receiving
                && content.position() != announced
            {
                let now = content.position();
                let message = format!(
                    "{source} had {announced} bytes when it was opened, and {now} when it was read: put it again"
                );
                return Err(Failure::new(Code::DigestMismatch, CHANGED, message));
            }
            match self.complete_with_broker(upload, &digest, source, patience(begin.elapsed())).await {
                Ok(file) => break (file, digest),
                // What lay there from an earlier attempt was swept after the tracker had counted it: it says from where on it lacks bytes.
                Err(failure) if failure.reason == "FRAGMENTS_MISSING" && attempt < ATTEMPTS => {
                    attempt += 1;
                    let committed_bytes = self.committed_bytes(upload).await?;
                    if !content.rewind(committed_bytes).map_err(|error| unreadable(source, &error))? {
                        return Err(failure);
                    }
                }
                Err(failure) => return Err(failure),
            }
        };
        if file.digest != digest_text(&digest) {
            let message = format!("the tracker took {} for {source}, whose digest is {digest}", file.digest);
            return Err(Failure::new(Code::DigestMismatch, "DIGEST_MISMATCH", message));
        }
        Ok(file)
    }

    /// Completes it; while the tracker has lost its broker the bytes wait there for up to `patience`.
    async fn complete_with_broker(
        &self,
        upload: &proto::Upload,
        digest: &Hash,
        source: &Source,
        patience: Duration,
    ) -> Result<proto::File, Failure> {
        let begin = Instant::now();
        let mut is_told = false;
        loop {
            match self.complete(upload, digest).await {
                Err(failure) if failure.reason == NO_BROKER && begin.elapsed() < patience => {
                    if !is_told {
                        let left = Duration::from_secs(patience.saturating_sub(begin.elapsed()).as_secs());
                        let left = humantime::format_duration(left);
                        let message =
                            format!("{source}: {}; it is waited for, up to {left}", failure.message);
                        Output { json: self.json }.warn(&printable(&message));
                        is_told = true;
                    }
                    sleep(LONGEST_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn complete(&self, upload: &proto::Upload, digest: &Hash) -> Result<proto::File, Failure> {
        let request = proto::CompleteUploadRequest {
            name: upload.name.clone(),
            fragment_digests: Vec::new(),
            digest: digest_text(digest),
        };
        let response = self.call(|mut client| {
            let request = request.clone();
            async move { client.complete_upload(request).await }
        });
        response.await?.file.ok_or_else(|| self.invalid("file"))
    }

    /// Writes everything, over as many streams as it takes.
    async fn write(
        &mut self,
        upload: &proto::Upload,
        content: &mut Content,
        source: &Source,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut attempt = 0;
        let mut committed_bytes = content.position();
        loop {
            let (messages, receiver) = mpsc::channel(WAITING_MESSAGES);
            let reading = {
                let taken = std::mem::replace(content, Content::of_stream(std::io::empty()));
                let (upload, bar) = (upload.clone(), bar.clone());
                spawn_blocking(move || write_messages(taken, &upload, &messages, &bar))
            };
            let answered = self.client.write_fragments(ReceiverStream::new(receiver)).await;
            let written = reading.await.map_err(panicked)?;
            *content = written.content;
            let ended = written.ended.map_err(|error| unreadable(source, &error))?;
            let answered = match answered {
                // An empty stream has nothing to say and is refused.
                _ if ended && content.position() == committed_bytes => return Ok(()),
                Ok(answer) => {
                    Ok(answer.into_inner().upload.map_or(0, |upload| unsigned(upload.committed_bytes)))
                }
                Err(status) => Err(CallError::new(&self.endpoint, &status)),
            };
            let now_committed = match answered {
                Ok(now_committed) => now_committed,
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                    sleep(pause(attempt, LONGEST_PAUSE)).await;
                    self.committed_bytes(upload).await?
                }
                Err(error) => return Err(Failure::refused_by_tracker(&error)),
            };
            if ended && now_committed == content.position() {
                return Ok(());
            }
            attempt = if now_committed > committed_bytes { 0 } else { attempt + 1 };
            committed_bytes = now_committed;
            if attempt >= ATTEMPTS {
                let message =
                    format!("the tracker at {} does not get beyond byte {committed_bytes}", self.endpoint);
                return Err(Failure::new(Code::Failed, "NO_PROGRESS", message));
            }
            content.release(committed_bytes);
            if !content.rewind(committed_bytes).map_err(|error| unreadable(source, &error))? {
                let message = format!(
                    "the upload broke at byte {committed_bytes} of {source}, which cannot be read again: put it into a file first"
                );
                return Err(Failure::new(Code::Failed, "CANNOT_RESUME", message));
            }
        }
    }

    async fn committed_bytes(&mut self, upload: &proto::Upload) -> Result<u64, Failure> {
        let name = upload.name.clone();
        let response = self.call(|mut client| {
            let request = proto::GetUploadRequest { name: name.clone() };
            async move { client.get_upload(request).await }
        });
        Ok(unsigned(response.await?.upload.unwrap_or_default().committed_bytes))
    }

    /// Cancels the upload that is under way, if one is: what nobody goes on with only takes the tracker's room.
    pub async fn cancel(&mut self) {
        let Some(name) = self.under_way.take() else { return };
        // If it does not come to pass, the upload expires by itself.
        let _ = timeout(CANCEL_TIMEOUT, self.client.cancel_upload(proto::CancelUploadRequest { name })).await;
    }

    /// One question, asked again while the tracker cannot be reached.
    async fn call<T, F>(&self, question: impl Fn(TrackerServiceClient<Channel>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempt = 0;
        loop {
            let answered = timeout(ANSWER_TIMEOUT, question(self.client.clone())).await;
            let status = match answered {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())),
            };
            let error = CallError::new(&self.endpoint, &status);
            if attempt >= ATTEMPTS || !is_passing(&error) {
                return Err(Failure::refused_by_tracker(&error));
            }
            sleep(pause(attempt, LONGEST_PAUSE)).await;
            attempt += 1;
        }
    }

    fn invalid(&self, what: &str) -> Failure {
        let message = format!("{} answered with an invalid {what}: its version may not fit", self.endpoint);
        Failure::new(Code::Failed, "INVALID_ANSWER", message)
    }
}

/// Whether the same may succeed a little later.
fn is_passing(error: &CallError) -> bool {
    match error.reason {
        Some(reason) => {
            matches!(reason, ErrorReason::ShuttingDown | ErrorReason::ServerBusy | ErrorReason::NoBroker)
        }
        // Without a reason it is the connection that speaks.
        None => matches!(
            error.code,
            StatusCode::Unavailable | StatusCode::Unknown | StatusCode::Cancelled | StatusCode::Internal
        ),
    }
}

/// How long to wait before something is tried again: twice as long each time, at most `longest`.
pub fn pause(attempt: u32, longest: Duration) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(longest)
}

/// How long to wait for a broker before a file is given up that took so long to send.
fn patience(sending: Duration) -> Duration {
    sending.min(LONGEST_PATIENCE)
}

fn panicked(error: tokio::task::JoinError) -> Failure {
    Failure::new(Code::Failed, "PANIC", error)
}

fn unreadable(source: &Source, error: &std::io::Error) -> Failure {
    Failure::io("read", source.to_string().as_ref(), error)
}

/// Opens the source; its size if it is a regular file, which can also be read again.
fn open(source: &Source) -> Result<(Content, Option<u64>), Failure> {
    match source {
        Source::Stdin { .. } => Ok((Content::of_stream(std::io::stdin()), None)),
        Source::Path { path, .. } => {
            let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
            let (file, metadata) = opened.map_err(|error| Failure::io("read", path, &error))?;
            if metadata.is_file() {
                // Files that the kernel makes up say that they are empty: only reading shows.
                Ok((Content::of_file(file), Some(metadata.len()).filter(|size| *size > 0)))
            } else {
                Ok((Content::of_stream(file), None))
            }
        }
    }
}

/// Reads the content from where it is and hands it over as messages, until its end, the end of a segment, or nobody takes them.
fn write_messages(
    mut content: Content,
    upload: &proto::Upload,
    messages: &mpsc::Sender<WriteFragmentsRequest>,
    bar: &ProgressBar,
) -> Written {
    let fragment_bytes = unsigned(upload.fragment_size_bytes).max(1);
    let start = content.position();
    // A segment holds whole fragments: what the tracker has of an unfinished one is lost with the stream.
    let segment_bytes = (SEGMENT_BYTES / fragment_bytes).max(1) * fragment_bytes;
    let end = if content.keeps_what_it_reads() { start.saturating_add(segment_bytes) } else { u64::MAX };
    let mut next = Message { upload: upload.name.clone(), fragment_bytes };
    let ended = (|| {
        let mut at = content.position();
        let mut data = content.read(next.length_at(at))?;
        loop {
            if data.is_empty() {
                return Ok(true);
            }
            let behind = at + data.len() as u64;
            // Whether the file ends here shows only when nothing more can be read.
            let is_end_of_segment = behind >= end;
            let following =
                if is_end_of_segment { Default::default() } else { content.read(next.length_at(behind))? };
            let is_last = following.is_empty() && !is_end_of_segment;
            let message = next.build(at, data, is_last);
            if messages.blocking_send(message).is_err() {
                return Ok(false);
            }
            bar.set_position(behind);
            if is_end_of_segment {
                return Ok(false);
            }
            (at, data) = (behind, following);
        }
    })();
    Written { content, ended }
}

/// Cuts a file into messages, none of which reaches from one fragment into the next.
struct Message {
    /// The upload, until the first message has named it.
    upload: String,
    fragment_bytes: u64,
}

impl Message {
    /// How long the message may be that begins at `offset` of the file.
    fn length_at(&self, offset: u64) -> usize {
        let left = self.fragment_bytes - offset % self.fragment_bytes;
        usize::try_from(left.min(MESSAGE_BYTES)).unwrap_or(usize::MAX)
    }

    /// The message with the bytes at `offset` of the file.
    fn build(&mut self, offset: u64, data: bytes::Bytes, is_last: bool) -> WriteFragmentsRequest {
        let within = offset % self.fragment_bytes;
        let finishes = is_last || within + data.len() as u64 == self.fragment_bytes;
        WriteFragmentsRequest {
            upload: std::mem::take(&mut self.upload),
            digest: String::new(),
            write_offset: i64::try_from(within).unwrap_or(i64::MAX),
            data,
            finish_fragment: finishes,
            file_offset: (within == 0).then(|| i64::try_from(offset).unwrap_or(i64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
