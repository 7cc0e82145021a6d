//! Uploads in the words of `google.bytestream.ByteStream`: one stream of bytes, in order, that may break and go on.

use bytes::{Bytes, BytesMut};
use endpoint::errors::reason_of;
use endpoint::names::{Blob, parse_blob_upload};
use endpoint::proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, WriteRequest, WriteResponse,
};
use endpoint::proto::{self, ErrorReason};
use endpoint::{BlobWrites, Refusal};
use tonic::{Status, Streaming, async_trait};
use uuid::Uuid;

use super::UploadApi;
use super::ingest::{Fragment, Ingest};
use super::registry::{Announced, SharedUpload, lock};

/// Cuts bytes that come in order into fragments.
#[derive(Debug)]
struct Cutter {
    blob: Blob,
    fragment_size: usize,
    resource_name: String,
    /// Where the bytes at hand belong.
    offset: u64,
    bytes: BytesMut,
    is_finished: bool,
}

impl Cutter {
    /// Checks a message against what came before it.
    fn check(&self, message: &WriteRequest) -> Result<(), Refusal> {
        let invalid =
            |field, problem: &str| Err(Refusal::InvalidField { field, problem: problem.to_owned() });
        if self.is_finished {
            return invalid("finish_write", "nothing may follow the message in which it is true");
        }
        if !message.resource_name.is_empty() && message.resource_name != self.resource_name {
            return invalid("resource_name", "it must be that of the first message");
        }
        let expected = self.offset + self.bytes.len() as u64;
        if u64::try_from(message.write_offset) != Ok(expected) {
            return Err(Refusal::WrongWriteOffset { expected, actual: message.write_offset });
        }
        let (expected_bytes, actual_bytes) = (self.blob.size_bytes, expected + message.data.len() as u64);
        if actual_bytes > expected_bytes || (message.finish_write && actual_bytes < expected_bytes) {
            return Err(Refusal::SizeMismatch { expected_bytes, actual_bytes });
        }
        Ok(())
    }

    /// Takes a message that was checked.
    fn take(&mut self, message: &WriteRequest) {
        self.bytes.extend_from_slice(&message.data);
        self.is_finished = message.finish_write;
    }

    /// The next fragment that is whole. The last one is as long as what is left.
    fn next(&mut self) -> Option<Fragment> {
        let is_last = self.is_finished && !self.bytes.is_empty() && self.bytes.len() < self.fragment_size;
        let length = if is_last { self.bytes.len() } else { self.fragment_size };
        if self.bytes.len() < length {
            return None;
        }
        let bytes: Bytes = self.bytes.split_to(length).freeze();
        let file_offset = Some(self.offset);
        self.offset += length as u64;
        Some(Fragment { digest: None, file_offset, bytes })
    }
}

fn parse(text: &str) -> Result<(Uuid, Blob), Refusal> {
    let (upload, blob) = parse_blob_upload("resource_name", text)?;
    let problem = || "use uploads/{uuid}/blobs/{sha256}/{size} with a UUID".to_owned();
    let id = Uuid::try_parse(upload)
        .map_err(|_| Refusal::InvalidField { field: "resource_name", problem: problem() })?;
    Ok((id, blob))
}

fn int64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl UploadApi {
    async fn write_blob(&self, mut messages: Streaming<WriteRequest>) -> Result<WriteResponse, Status> {
        let Some(first) = messages.message().await? else {
            let problem = "the first message names the resource".to_owned();
            return Err(Refusal::InvalidField { field: "resource_name", problem }.into());
        };
        let (id, blob) = parse(&first.resource_name)?;
        let announced = Announced {
            request_id: Some(id),
            digest: Some(blob.digest),
            size_bytes: Some(blob.size_bytes),
            name: None,
        };
        let upload = self.create(announced, 0).await?;
        if lock(&upload).published.is_some() {
            // Nobody needs the rest of the stream.
            return Ok(WriteResponse { committed_size: int64(blob.size_bytes) });
        }
        let _share = self.memory.stream().await?;
        let mut cutter = Cutter {
            blob,
            fragment_size: usize::try_from(self.fragment_size_bytes).unwrap_or(usize::MAX),
            resource_name: first.resource_name.clone(),
            offset: lock(&upload).committed_bytes(),
            bytes: BytesMut::new(),
            is_finished: false,
        };
        let ingest = Ingest::start(upload.clone(), self.writer.clone(), &self.memory, self.leftovers.clone());
        let received = self.receive_blob(&upload, &mut cutter, first, &mut messages, &ingest).await;
        // What came before a failure is kept: the client goes on from there.
        ingest.finish().await?;
        received?;
        self.check_arrived(&upload).await?;
        if cutter.is_finished {
            self.complete_blob(&upload).await?;
            return Ok(WriteResponse { committed_size: int64(blob.size_bytes) });
        }
        let committed_size = int64(lock(&upload).committed_bytes());
        Ok(WriteResponse { committed_size })
    }

    /// Takes messages until the stream ends.
    async fn receive_blob(
        &self,
        upload: &SharedUpload,
        cutter: &mut Cutter,
        first: WriteRequest,
        messages: &mut Streaming<WriteRequest>,
        ingest: &Ingest,
    ) -> Result<(), Status> {
        let mut message = Some(first);
        while let Some(next) = message {
            cutter.check(&next)?;
            cutter.take(&next);
            while let Some(fragment) = cutter.next() {
                ingest.put(fragment).await?;
                self.check_arrived(upload).await?;
            }
            message = messages.message().await?;
        }
        Ok(())
    }

    async fn complete_blob(&self, upload: &SharedUpload) -> Result<(), Status> {
        let (id, name) = {
            let upload = lock(upload);
            (upload.id, upload.resource_name())
        };
        let completed = self.complete(proto::CompleteUploadRequest { name, ..Default::default() }).await;
        if let Err(status) = &completed
            && reason_of(status) == Some(ErrorReason::DigestMismatch)
        {
            // Going on would lead to the same end: the name is free for another attempt.
            self.leftovers.remove(id);
        }
        completed.map(drop)
    }

    async fn blob_status(&self, name: &str) -> Result<QueryWriteStatusResponse, Status> {
        let (id, blob) = parse(name)?;
        if self.size_if_there(&blob.digest).await? == Some(blob.size_bytes) {
            return Ok(QueryWriteStatusResponse { committed_size: int64(blob.size_bytes), complete: true });
        }
        self.forget_if_deleted(Some(id)).await?;
        let not_found = || Refusal::UploadNotFound(name.chars().take(200).collect());
        let upload = self.registry.of_request(id).ok_or_else(not_found)?;
        let upload = lock(&upload);
        if (upload.digest, upload.size_bytes) != (Some(blob.digest), Some(blob.size_bytes)) {
            return Err(not_found().into());
        }
        let complete = upload.published.is_some();
        Ok(QueryWriteStatusResponse { committed_size: int64(upload.committed_bytes()), complete })
    }
}

#[async_trait]
impl BlobWrites for UploadApi {
    async fn write(&self, messages: Streaming<WriteRequest>) -> Result<WriteResponse, Status> {
        self.write_blob(messages).await
    }

    async fn status(&self, request: QueryWriteStatusRequest) -> Result<QueryWriteStatusResponse, Status> {
        self.blob_status(&request.resource_name).await
    }
}
