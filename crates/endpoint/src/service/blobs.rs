//! `google.bytestream.ByteStream`: the same bytes under other names.

use std::sync::Arc;

use futures::stream::{BoxStream, TryStreamExt};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::EndpointApi;
use super::elsewhere::only_at_tracker;
use super::reads::Content;
use crate::errors::Refusal;
use crate::names::{Blob, parse_blob_name};
use crate::proto::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use crate::proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use crate::serve::MAX_MESSAGE_BYTES;

/// How a tracker takes blobs.
#[async_trait]
pub trait BlobWrites: Send + Sync + 'static {
    /// Takes a stream of messages; the bytes that are durable then.
    async fn write(&self, messages: Streaming<WriteRequest>) -> Result<WriteResponse, Status>;
    /// Where to go on.
    async fn status(&self, request: QueryWriteStatusRequest) -> Result<QueryWriteStatusResponse, Status>;
}

/// The implementation of `ByteStream`. Cheap to clone.
#[derive(Clone)]
pub struct ByteStreamApi {
    reads: EndpointApi,
    writes: Option<Arc<dyn BlobWrites>>,
}

impl std::fmt::Debug for ByteStreamApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteStreamApi").field("writes", &self.writes.is_some()).finish_non_exhaustive()
    }
}

impl ByteStreamApi {
    /// Reads what `reads` reads. Who is no tracker takes nothing.
    #[must_use]
    pub const fn new(reads: EndpointApi, writes: Option<Arc<dyn BlobWrites>>) -> Self {
        Self { reads, writes }
    }

    /// The service with its message limits, as it is added to a server.
    #[must_use]
    pub fn into_service(self) -> ByteStreamServer<Self> {
        ByteStreamServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn writes(&self) -> Result<&dyn BlobWrites, Refusal> {
        match self.writes.as_deref() {
            Some(writes) => Ok(writes),
            None => Err(only_at_tracker(&self.reads.catalog).await),
        }
    }
}

impl EndpointApi {
    async fn blob_stream(
        &self,
        request: &ReadRequest,
    ) -> Result<BoxStream<'static, Result<ReadResponse, Status>>, Refusal> {
        let blob = parse_blob_name("resource_name", &request.resource_name)?;
        let Blob { digest, size_bytes } = blob;
        let (read_offset, read_limit) = (request.read_offset, request.read_limit);
        let is_here = self.fragments.size_of(&digest) == Some(size_bytes);
        let known = self.ask(move |catalog| {
            let view = catalog.view();
            if let Some(file) = view.file(&digest).filter(|file| file.size_bytes == size_bytes) {
                return Some((file.fragments.clone(), view.fragment_size_bytes().unwrap_or(size_bytes)));
            }
            let is_fragment = is_here || view.fragment_bytes(&digest) == Some(size_bytes);
            is_fragment.then(|| ([digest].into(), size_bytes))
        });
        let (fragments, fragment_size) = known.await?.ok_or(Refusal::BlobNotFound { digest, size_bytes })?;
        let fragment_size_bytes = fragment_size.max(1);
        let content = Content { hash: digest, size_bytes, fragments, fragment_size_bytes };
        let messages = self.content_stream(content, read_offset, read_limit)?;
        Ok(Box::pin(messages.map_ok(|message| ReadResponse { data: message.data })))
    }
}

#[async_trait]
impl ByteStream for ByteStreamApi {
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(self.reads.blob_stream(request.get_ref()).await?))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteResponse>, Status> {
        Ok(Response::new(self.writes().await?.write(request.into_inner()).await?))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        Ok(Response::new(self.writes().await?.status(request.into_inner()).await?))
    }
}
