//! The gRPC service of the uploads.

use distribution::view::FileInfo;
use endpoint::names::file_name;
use endpoint::proto::tracker_service_server::{TrackerService, TrackerServiceServer};
use endpoint::proto::{self, digest_text, endpoint_service_server::EndpointService, parse_digest};
use endpoint::serve::MAX_MESSAGE_BYTES;
use endpoint::{CatalogHandle, EndpointApi, Refusal};
use protocol::limits::described_event_bytes;
use protocol::{FileName, Hash, Hasher};
use storage::{FragmentWriter, Fragments};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, Streaming};
use tracing::info;
use uuid::Uuid;

use super::ingest::{Assembler, Ingest, Memory};
use super::registry::{Announced, Registry, SharedUpload, lock};
use super::tidying::{Leftovers, tidy};
use crate::operations;
use crate::requests::{Refused, Request as LoopRequest};

/// Most digests of one FindMissingFragments.
const MAX_DIGESTS: usize = 10_000;

/// The upload service of a tracker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UploadApi {
    pub(super) registry: Registry,
    pub(super) memory: Memory,
    pub(super) leftovers: Leftovers,
    pub(super) writer: FragmentWriter,
    pub(super) fragments: Fragments,
    pub(super) fragment_size_bytes: u64,
    max_event_bytes: u64,
    requests: mpsc::Sender<LoopRequest>,
    pub(super) catalog: CatalogHandle,
    reads: EndpointApi,
}

impl UploadApi {
    /// The service that stores with `writer` fragments of a size whose events have at most so many bytes, asks the event loop through `requests` and `catalog`, and answers with files as `reads` tells them. What uploads
    /// leave behind is tidied on the runtime that this is called on, as long as the event loop takes requests.
    pub fn new(
        writer: FragmentWriter,
        fragments: Fragments,
        fragment_size_bytes: u64,
        max_event_bytes: u64,
        requests: mpsc::Sender<LoopRequest>,
        catalog: CatalogHandle,
        reads: EndpointApi,
    ) -> Self {
        let (registry, memory) = (Registry::default(), Memory::new(fragment_size_bytes));
        let (leftovers, left) = Leftovers::new(registry.clone());
        tokio::spawn(tidy(registry.clone(), left, requests.clone()));
        Self {
            registry,
            memory,
            leftovers,
            writer,
            fragments,
            fragment_size_bytes,
            max_event_bytes,
            requests,
            catalog,
            reads,
        }
    }

    /// The uploads that it takes care of.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// The service with its message limits, as it is added to a server.
    pub fn into_service(self) -> TrackerServiceServer<Self> {
        TrackerServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn request(&self, request: LoopRequest) -> Result<(), Refusal> {
        self.requests.send(request).await.map_err(|_| Refusal::ShuttingDown)
    }

    fn describe(&self, upload: &SharedUpload) -> proto::Upload {
        lock(upload).describe(self.fragment_size_bytes)
    }

    /// Whether at least so many torrents are registered.
    async fn check_torrents(&self, wanted: usize) -> Result<(), Refusal> {
        if wanted == 0 {
            return Ok(());
        }
        let registered = self.catalog.ask(|catalog| catalog.view().clients().len()).await?;
        if registered < wanted { Err(Refusal::TooFewTorrents { registered, wanted }) } else { Ok(()) }
    }

    /// The size in bytes of a file of which the network has every byte already.
    pub(super) async fn size_if_there(&self, file: &Hash) -> Result<Option<u64>, Status> {
        let name = file_name(file);
        match self.reads.get_file(Request::new(proto::GetFileRequest { name })).await {
            Ok(answer) => {
                let file = answer.into_inner().file.unwrap_or_default();
                let is_there = file.size_bytes == 0 || file.min_holders > 0;
                Ok(u64::try_from(file.size_bytes).ok().filter(|_| is_there))
            }
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn file(&self, hash: &Hash) -> Result<Response<proto::CompleteUploadResponse>, Status> {
        let name = file_name(hash);
        let answer = self.reads.get_file(Request::new(proto::GetFileRequest { name })).await?;
        Ok(Response::new(proto::CompleteUploadResponse { file: answer.into_inner().file }))
    }

    /// A new upload, for which so many torrents must be registered, or the one that was created by the same request: that goes on, whatever
    /// has become of torrents and room since.
    pub(super) async fn create(
        &self,
        announced: Announced,
        min_servers: usize,
    ) -> Result<SharedUpload, Status> {
        // Also between the turns of `tidy`: so many that became a file are remembered, however fast they come.
        self.leftovers.expire();
        self.forget_if_deleted(announced.request_id).await?;
        let there = match &announced.digest {
            Some(file) => self.size_if_there(file).await?.map(|size_bytes| (*file, size_bytes)),
            None => None,
        };
        if let Some((_, actual_bytes)) = there
            && let Some(expected_bytes) = announced.size_bytes.filter(|announced| *announced != actual_bytes)
        {
            return Err(Refusal::SizeMismatch { expected_bytes, actual_bytes }.into());
        }
        let goes_on = announced.request_id.is_some_and(|id| self.registry.of_request(id).is_some());
        if !goes_on {
            self.check_torrents(min_servers).await?;
            if let Some(size_bytes) = announced.size_bytes.filter(|_| there.is_none()) {
                self.check_room(size_bytes).await?;
                check_describable(size_bytes, self.fragment_size_bytes, self.max_event_bytes)?;
            }
        }
        let upload = self.registry.create(announced)?;
        if let Some((file, size_bytes)) = there {
            lock(&upload).publish_before(file, size_bytes);
        }
        Ok(upload)
    }

    /// The upload of an earlier request became a file that has been deleted since: the same request is a new upload.
    pub(super) async fn forget_if_deleted(&self, request_id: Option<Uuid>) -> Result<(), Refusal> {
        let Some(upload) = request_id.and_then(|id| self.registry.of_request(id)) else { return Ok(()) };
        let (id, published) = {
            let upload = lock(&upload);
            (upload.id, upload.published)
        };
        if let Some(file) = published
            && !self.catalog.ask(move |catalog| catalog.view().file(&file).is_some()).await?
        {
            self.leftovers.remove(id);
        }
        Ok(())
    }

    async fn receive(
        &self,
        mut stream: Streaming<proto::WriteFragmentsRequest>,
    ) -> Result<proto::Upload, Status> {
        let Some(first) = stream.message().await? else {
            let problem = "the first message names the upload".to_owned();
            return Err(Refusal::InvalidField { field: "upload", problem }.into());
        };
        let upload = self.registry.get(&first.upload)?;
        let _share = self.memory.stream().await?;
        let committed_bytes = lock(&upload).committed_bytes();
        let mut assembler = Assembler::new(self.fragment_size_bytes, committed_bytes);
        let ingest = Ingest::start(upload.clone(), self.writer.clone(), &self.memory, self.leftovers.clone());
        let mut message = Some(first);
        let (mut received, mut broken) = (Ok(()), Ok(()));
        while let Some(next) = message {
            received = match assembler.take(next) {
                Ok(Some(fragment)) => ingest.put(fragment).await,
                Ok(None) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            if received.is_ok() {
                received = self.check_arrived(&upload).await;
            }
            if received.is_err() {
                break;
            }
            message = match stream.message().await {
                Ok(message) => message,
                Err(status) => {
                    broken = Err(status);
                    break;
                }
            };
        }
        // What came before a failure is kept: the client goes on from there.
        ingest.finish().await?;
        received?;
        broken?;
        assembler.end()?;
        self.check_arrived(&upload).await?;
        Ok(self.describe(&upload))
    }

    pub(super) async fn complete(&self, request: proto::CompleteUploadRequest) -> Result<Hash, Status> {
        let upload = self.registry.get(&request.name)?;
        let told = match request.digest.as_str() {
            "" => None,
            text => Some(parse_digest(text).map_err(|_| Refusal::invalid_digest("digest", text))?),
        };
        let (sequence, file, expected) = {
            let upload = lock(&upload);
            if let Some(published) = upload.published {
                return Ok(published);
            }
            let sequence = match listed(&request.fragment_digests)? {
                listed if listed.is_empty() => upload.sequence(self.fragment_size_bytes)?,
                listed => listed,
            };
            let size_bytes = self.check_sizes(&upload.durable, &sequence)?;
            if let Some(expected_bytes) = upload.size_bytes.filter(|expected| *expected != size_bytes) {
                return Err(Refusal::SizeMismatch { expected_bytes, actual_bytes: size_bytes }.into());
            }
            let file = FileInfo { size_bytes, fragments: sequence.clone().into(), name: upload.name.clone() };
            (sequence, file, told.or(upload.digest))
        };
        let hashed = lock(&upload).hash_of(&sequence);
        let hash = match hashed {
            Some(hash) => hash,
            None => self.hash_of(sequence).await?,
        };
        if let Some(expected) = expected.filter(|expected| *expected != hash) {
            return Err(Refusal::DigestMismatch { expected, actual: hash }.into());
        }
        let (size_bytes, fragments) = (file.size_bytes, file.fragments.clone());
        let (reply, replied) = oneshot::channel();
        self.request(LoopRequest::Publish { hash, file, reply }).await?;
        match replied.await.map_err(|_| Refusal::ShuttingDown)? {
            Ok(()) => {
                lock(&upload).publish(hash, size_bytes, &fragments);
                info!(file = %hash, size_bytes, "file accepted");
                Ok(hash)
            }
            Err(Refused::Missing(fragments)) => {
                let mut upload = lock(&upload);
                upload.durable.retain(|fragment, _| !fragments.contains(fragment));
                Err(Refusal::FragmentsMissing(fragments).into())
            }
            Err(Refused::NoBroker) => Err(Refusal::NoBroker.into()),
            Err(Refused::NotFound) => Err(Refusal::FileNotFound(hash).into()),
            Err(Refused::TooLarge(why)) => Err(Refusal::FileTooLarge(why).into()),
            Err(Refused::Unfit(problem)) => {
                Err(Refusal::InvalidField { field: "fragment_digests", problem }.into())
            }
        }
    }

    /// The file's size in bytes. All fragments are here, and all but the last have the size of a fragment (V4).
    fn check_sizes(
        &self,
        durable: &std::collections::HashMap<Hash, u64>,
        sequence: &[Hash],
    ) -> Result<u64, Refusal> {
        let missing: Vec<Hash> =
            sequence.iter().filter(|hash| !durable.contains_key(hash)).copied().collect();
        if !missing.is_empty() {
            return Err(Refusal::FragmentsMissing(missing));
        }
        let sizes = sequence.iter().filter_map(|hash| durable.get(hash).copied());
        let expected_bytes = self.fragment_size_bytes;
        let all_but_last = sizes.clone().take(sequence.len().saturating_sub(1));
        if let Some(actual_bytes) = all_but_last.into_iter().find(|size_bytes| *size_bytes != expected_bytes)
        {
            return Err(Refusal::WrongFragmentSize { expected_bytes, actual_bytes });
        }
        Ok(sizes.sum())
    }

    /// The hash of a file whose fragments did not come in order.
    async fn hash_of(&self, sequence: Vec<Hash>) -> Result<Hash, Refusal> {
        let fragments = self.fragments.clone();
        let hashing = spawn_blocking(move || {
            let mut hasher = Hasher::new();
            for fragment in &sequence {
                let bytes =
                    fragments.read(fragment).map_err(|_| Refusal::FragmentsMissing(vec![*fragment]))?;
                hasher.update(&bytes);
            }
            Ok(hasher.finish())
        });
        hashing.await.map_err(|_| Refusal::StoreUnusable)?
    }
}

/// Whether a file of this size can be described in an event at all. Whether the view can, with it, shows when it is completed.
fn check_describable(size_bytes: u64, fragment_size_bytes: u64, max_event_bytes: u64) -> Result<(), Refusal> {
    let fragments = size_bytes.div_ceil(fragment_size_bytes.max(1));
    let event_bytes = described_event_bytes(fragments);
    if event_bytes <= max_event_bytes {
        return Ok(());
    }
    Err(Refusal::FileTooLarge(format!(
        "a file of {fragments} fragments takes an event of {event_bytes} bytes, more than the {max_event_bytes} allowed: use a larger \
         fragment size"
    )))
}

/// The file's fragments, as a request lists them.
fn listed(digests: &[String]) -> Result<Vec<Hash>, Refusal> {
    let parse =
        |text: &String| parse_digest(text).map_err(|_| Refusal::invalid_digest("fragment_digests", text));
    digests.iter().map(parse).collect()
}

fn optional_size(size_bytes: Option<i64>) -> Result<Option<u64>, Refusal> {
    let negative =
        |_| Refusal::InvalidField { field: "size_bytes", problem: "a size is not negative".to_owned() };
    size_bytes.map(u64::try_from).transpose().map_err(negative)
}

fn min_servers(request: &proto::CreateUploadRequest) -> Result<usize, Refusal> {
    let negative =
        |_| Refusal::InvalidField { field: "min_servers", problem: "a number is not negative".to_owned() };
    usize::try_from(request.min_servers).map_err(negative)
}

fn announced(request: &proto::CreateUploadRequest) -> Result<Announced, Refusal> {
    let invalid = |field, problem: String| Refusal::InvalidField { field, problem };
    let digest = match request.digest.as_str() {
        "" => None,
        text => Some(parse_digest(text).map_err(|_| Refusal::invalid_digest("digest", text))?),
    };
    let name = match request.display_name.as_str() {
        "" => None,
        text => Some(text.parse::<FileName>().map_err(|error| invalid("display_name", error.to_string()))?),
    };
    let request_id = match request.request_id.as_str() {
        "" => None,
        text => Some(Uuid::try_parse(text).map_err(|_| invalid("request_id", "use a UUID".into()))?),
    };
    Ok(Announced { request_id, digest, size_bytes: optional_size(request.size_bytes)?, name })
}

#[tonic::async_trait]
impl TrackerService for UploadApi {
    async fn create_upload(
        &self,
        request: Request<proto::CreateUploadRequest>,
    ) -> Result<Response<proto::CreateUploadResponse>, Status> {
        let (announced, min_servers) = (announced(request.get_ref())?, min_servers(request.get_ref())?);
        let upload = self.create(announced, min_servers).await?;
        Ok(Response::new(proto::CreateUploadResponse { upload: Some(self.describe(&upload)) }))
    }

    async fn get_upload(
        &self,
        request: Request<proto::GetUploadRequest>,
    ) -> Result<Response<proto::GetUploadResponse>, Status> {
        let upload = self.registry.get(&request.get_ref().name)?;
        Ok(Response::new(proto::GetUploadResponse { upload: Some(self.describe(&upload)) }))
    }

    async fn find_missing_fragments(
        &self,
        request: Request<proto::FindMissingFragmentsRequest>,
    ) -> Result<Response<proto::FindMissingFragmentsResponse>, Status> {
        let request = request.into_inner();
        let number = request.digests.len();
        if number > MAX_DIGESTS {
            return Err(Refusal::TooMany { field: "digests", number, limit: MAX_DIGESTS }.into());
        }
        let upload = self.registry.get(&request.upload)?;
        let mut missing_digests = Vec::new();
        for text in &request.digests {
            let hash = parse_digest(text).map_err(|_| Refusal::invalid_digest("digests", text))?;
            if !lock(&upload).durable.contains_key(&hash) {
                missing_digests.push(digest_text(&hash));
            }
        }
        Ok(Response::new(proto::FindMissingFragmentsResponse { missing_digests }))
    }

    async fn write_fragments(
        &self,
        request: Request<Streaming<proto::WriteFragmentsRequest>>,
    ) -> Result<Response<proto::WriteFragmentsResponse>, Status> {
        let upload = self.receive(request.into_inner()).await?;
        Ok(Response::new(proto::WriteFragmentsResponse { upload: Some(upload) }))
    }

    async fn complete_upload(
        &self,
        request: Request<proto::CompleteUploadRequest>,
    ) -> Result<Response<proto::CompleteUploadResponse>, Status> {
        let file = self.complete(request.into_inner()).await?;
        self.file(&file).await
    }

    async fn cancel_upload(
        &self,
        request: Request<proto::CancelUploadRequest>,
    ) -> Result<Response<proto::CancelUploadResponse>, Status> {
        if let Ok(upload) = self.registry.get(&request.get_ref().name) {
            let id = lock(&upload).id;
            self.leftovers.remove(id);
        }
        Ok(Response::new(proto::CancelUploadResponse {}))
    }

    async fn delete_file(
        &self,
        request: Request<proto::DeleteFileRequest>,
    ) -> Result<Response<proto::DeleteFileResponse>, Status> {
        operations::delete_file(&self.requests, request.get_ref()).await?;
        Ok(Response::new(proto::DeleteFileResponse {}))
    }

    async fn drain_server(
        &self,
        request: Request<proto::DrainServerRequest>,
    ) -> Result<Response<proto::DrainServerResponse>, Status> {
        let remaining = operations::drain_server(&self.requests, request.get_ref()).await?;
        let remaining_fragment_count = i64::try_from(remaining).unwrap_or(i64::MAX);
        Ok(Response::new(proto::DrainServerResponse { remaining_fragment_count }))
    }
}
