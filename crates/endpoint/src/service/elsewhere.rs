//! The tracker's services where there is no tracker: every call is refused, and told where to go.

use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::catalog::CatalogHandle;
use crate::errors::Refusal;
use crate::proto;
use crate::proto::tracker_service_server::{TrackerService, TrackerServiceServer};
use crate::serve::MAX_MESSAGE_BYTES;

/// The implementation of `TrackerService` of who is no tracker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ElsewhereApi {
    catalog: CatalogHandle,
}

impl ElsewhereApi {
    /// The service of the daemon whose event loop answers `catalog`.
    #[must_use]
    pub const fn new(catalog: CatalogHandle) -> Self {
        Self { catalog }
    }

    /// The service with its message limits, as it is added to a server.
    #[must_use]
    pub fn into_service(self) -> TrackerServiceServer<Self> {
        TrackerServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn refuse<R>(&self) -> Result<Response<R>, Status> {
        Err(only_at_tracker(&self.catalog).await.into())
    }
}

/// The refusal of what only a tracker does, with where it is.
pub(super) async fn only_at_tracker(catalog: &CatalogHandle) -> Refusal {
    match catalog.ask(|catalog| catalog.tracker_endpoints()).await {
        Ok(tracker_endpoints) => Refusal::OnlyAtTracker { tracker_endpoints },
        Err(stopped) => stopped.into(),
    }
}

#[async_trait]
impl TrackerService for ElsewhereApi {
    async fn create_upload(
        &self,
        _: Request<proto::CreateUploadRequest>,
    ) -> Result<Response<proto::CreateUploadResponse>, Status> {
        self.refuse().await
    }

    async fn get_upload(
        &self,
        _: Request<proto::GetUploadRequest>,
    ) -> Result<Response<proto::GetUploadResponse>, Status> {
        self.refuse().await
    }

    async fn find_missing_fragments(
        &self,
        _: Request<proto::FindMissingFragmentsRequest>,
    ) -> Result<Response<proto::FindMissingFragmentsResponse>, Status> {
        self.refuse().await
    }

    async fn write_fragments(
        &self,
        _: Request<Streaming<proto::WriteFragmentsRequest>>,
    ) -> Result<Response<proto::WriteFragmentsResponse>, Status> {
        self.refuse().await
    }

    async fn complete_upload(
        &self,
        _: Request<proto::CompleteUploadRequest>,
    ) -> Result<Response<proto::CompleteUploadResponse>, Status> {
        self.refuse().await
    }

    async fn cancel_upload(
        &self,
        _: Request<proto::CancelUploadRequest>,
    ) -> Result<Response<proto::CancelUploadResponse>, Status> {
        self.refuse().await
    }

    async fn delete_file(
        &self,
        _: Request<proto::DeleteFileRequest>,
    ) -> Result<Response<proto::DeleteFileResponse>, Status> {
        self.refuse().await
    }

    async fn drain_server(
        &self,
        _: Request<proto::DrainServerRequest>,
    ) -> Result<Response<proto::DrainServerResponse>, Status> {
        self.refuse().await
    }
}
