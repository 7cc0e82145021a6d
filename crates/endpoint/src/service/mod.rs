//! The read service that every daemon offers.
//!
//! It owns no state of the network: what is known comes from the daemon's event loop ([`CatalogHandle`]), bytes come from the
//! daemon's disk ([`Fragments`]) or, for [`ReadFile`](EndpointService::read_file), from other daemons.

mod blobs;
mod budget;
pub(crate) mod describe;
mod elsewhere;
mod health;
mod pages;
mod reads;
mod verifying;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use protocol::Hash;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, async_trait};

use crate::catalog::{Catalog, CatalogHandle, Stopped};
use crate::client::Channels;
use crate::errors::Refusal;
use crate::fragments::Fragments;
use crate::names::{List, page_size, parse_digests, parse_file_name};
use crate::proto::endpoint_service_server::{EndpointService, EndpointServiceServer};
use crate::proto::{self, digest_text};
use crate::serve::MAX_MESSAGE_BYTES;
use describe::{describe_file, describe_role, int32, int64};
use health::LastCounts;
use pages::{FileFilter, FragmentsPage};

pub use blobs::{BlobWrites, ByteStreamApi};
pub use budget::{Budget, Share};
pub use elsewhere::ElsewhereApi;
pub use reads::MAX_CHUNK_BYTES;

/// Most digests of one `BatchGetFragments`.
pub const MAX_BATCH: usize = 10_000;

/// Most that watch at once.
const MAX_WATCHERS: usize = 64;

/// A budget out of which one call takes everything.
const ONE_AT_A_TIME: u64 = 1;

/// Limits of the read service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of fragments in memory for all reads together: one half for `ReadFragment`, one for `ReadFile`.
    pub memory_bytes: u64,
    /// How long a read waits for that memory, and a verification for another one to end, before it is refused.
    pub patience: Duration,
    /// How long another daemon may keep `ReadFile` waiting without a byte before the next holder is asked.
    pub peer_patience: Duration,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 32 << 20,
            patience: Duration::from_secs(10),
            peer_patience: Duration::from_secs(5),
        }
    }
}

/// The implementation of `EndpointService`. Cheap to clone.
#[derive(Clone)]
pub struct EndpointApi {
    catalog: CatalogHandle,
    fragments: Arc<dyn Fragments>,
    peers: Channels,
    /// For `ReadFragment`, which waits for nobody but the disk.
    fragment_budget: Budget,
    /// For `ReadFile`, which waits for `ReadFragment` of other daemons. With one budget for both, two daemons could each wait for the
    /// other's memory.
    file_budget: Budget,
    /// For `VerifyFragments`: one at a time.
    verifying: Budget,
    watching: Arc<Semaphore>,
    counts: Arc<LastCounts>,
    peer_patience: Duration,
}

impl std::fmt::Debug for EndpointApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointApi").finish_non_exhaustive()
    }
}

impl From<Stopped> for Refusal {
    fn from(_: Stopped) -> Self {
        Self::ShuttingDown
    }
}

impl EndpointApi {
    /// The service of the daemon whose event loop answers `catalog` and whose disk has `fragments`.
    #[must_use]
    pub fn new(catalog: CatalogHandle, fragments: Arc<dyn Fragments>, limits: ReadLimits) -> Self {
        Self {
            catalog,
            fragments,
            peers: Channels::default(),
            fragment_budget: Budget::new(limits.memory_bytes / 2, limits.patience),
            file_budget: Budget::new(limits.memory_bytes / 2, limits.patience),
            verifying: Budget::new(ONE_AT_A_TIME, limits.patience),
            watching: Arc::new(Semaphore::new(MAX_WATCHERS)),
            counts: Arc::default(),
            peer_patience: limits.peer_patience,
        }
    }

    /// The service with its message limits, as it is added to a server.
    #[must_use]
    pub fn into_service(self) -> EndpointServiceServer<Self> {
        EndpointServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Catalog) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        Ok(self.catalog.ask(question).await?)
    }

    /// Which of `asked` are on this daemon's disk, in order, with their sizes in bytes.
    async fn held(&self, asked: Vec<Hash>) -> Result<Vec<(Hash, u64)>, Refusal> {
        let fragments = self.fragments.clone();
        let held = move || -> Vec<_> {
            asked.into_iter().filter_map(|hash| Some((hash, fragments.size_of(&hash)?))).collect()
        };
        tokio::task::spawn_blocking(held).await.map_err(|_| Refusal::ShuttingDown)
    }

    async fn network(&self) -> Result<proto::GetNetworkResponse, Refusal> {
        let last_counts = self.counts.clone();
        let question = move |catalog: &dyn Catalog| {
            let health = last_counts.of(catalog);
            let view = catalog.view();
            proto::GetNetworkResponse {
                server_id: catalog.id().to_owned(),
                role: describe_role(catalog.role()).into(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                digest_functions: vec!["sha256".to_owned()],
                fragment_size_bytes: int64(view.fragment_size_bytes().unwrap_or_default()),
                copies: i32::try_from(catalog.copies().number()).unwrap_or(i32::MAX),
                max_chunk_bytes: int32(MAX_CHUNK_BYTES),
                broker_connected: catalog.broker_connected(),
                tracker_online: catalog.tracker_online(),
                tracker_endpoints: catalog.tracker_endpoints().iter().map(ToString::to_string).collect(),
                view_revision: int64(view.revision().0),
                view_digest: digest_text(&view.digest()),
                health: Some(health),
            }
        };
        self.ask(question).await
    }

    async fn file(&self, name: &str) -> Result<proto::File, Refusal> {
        let hash = parse_file_name("name", name)?;
        let described = self.ask(move |catalog| {
            let info = catalog.view().file(&hash).ok_or(Refusal::FileNotFound(hash))?;
            Ok(describe_file(catalog, &describe::Servers::of(catalog), &hash, info))
        });
        described.await?
    }
}

#[async_trait]
impl EndpointService for EndpointApi {
    async fn get_network(
        &self,
        _: Request<proto::GetNetworkRequest>,
    ) -> Result<Response<proto::GetNetworkResponse>, Status> {
        Ok(Response::new(self.network().await?))
    }

    async fn list_servers(
        &self,
        request: Request<proto::ListServersRequest>,
    ) -> Result<Response<proto::ListServersResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let list = List::new("servers");
        let after = list.start(&request.page_token)?;
        let page = self.ask(move |catalog| pages::servers_page(catalog, after.as_ref(), size)).await?;
        let (servers, next) = page;
        Ok(Response::new(proto::ListServersResponse { servers, next_page_token: list.token(next) }))
    }

    async fn get_file(
        &self,
        request: Request<proto::GetFileRequest>,
    ) -> Result<Response<proto::GetFileResponse>, Status> {
        let file = self.file(&request.get_ref().name).await?;
        Ok(Response::new(proto::GetFileResponse { file: Some(file) }))
    }

    async fn list_files(
        &self,
        request: Request<proto::ListFilesRequest>,
    ) -> Result<Response<proto::ListFilesResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let filter = FileFilter::of(&request)?;
        let list = filter.list();
        let after = list.start(&request.page_token)?;
        let page = self.ask(move |catalog| pages::files_page(catalog, &filter, after, size)).await?;
        let (files, next) = page;
        Ok(Response::new(proto::ListFilesResponse { files, next_page_token: list.token(next) }))
    }

    async fn list_fragments(
        &self,
        request: Request<proto::ListFragmentsRequest>,
    ) -> Result<Response<proto::ListFragmentsResponse>, Status> {
        let request = request.into_inner();
        let file = parse_file_name("parent", &request.parent)?;
        let size = page_size(request.page_size)?;
        let list = List::new(&format!("fragments of {file}"));
        let start = list.start(&request.page_token)?.unwrap_or(0);
        let page = self.ask(move |catalog| pages::fragments_page(catalog, file, start, size)).await?;
        let FragmentsPage { fragments, servers, next } = page?;
        let next_page_token = list.token(next);
        Ok(Response::new(proto::ListFragmentsResponse { fragments, servers, next_page_token }))
    }

    async fn batch_get_fragments(
        &self,
        request: Request<proto::BatchGetFragmentsRequest>,
    ) -> Result<Response<proto::BatchGetFragmentsResponse>, Status> {
        let asked = parse_digests("digests", &request.get_ref().digests, MAX_BATCH)?;
        let held = self.held(asked).await?.into_iter();
        let fragments = held
            .map(|(hash, size)| proto::HeldFragment { digest: digest_text(&hash), size_bytes: int64(size) })
            .collect();
        Ok(Response::new(proto::BatchGetFragmentsResponse { fragments }))
    }

    type ReadFragmentStream = BoxStream<'static, Result<proto::ReadFragmentResponse, Status>>;

    async fn read_fragment(
        &self,
        request: Request<proto::ReadFragmentRequest>,
    ) -> Result<Response<Self::ReadFragmentStream>, Status> {
        Ok(Response::new(self.fragment_stream(request.get_ref()).await?))
    }

    type ReadFileStream = BoxStream<'static, Result<proto::ReadFileResponse, Status>>;

    async fn read_file(
        &self,
        request: Request<proto::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        Ok(Response::new(self.file_stream(request.get_ref()).await?))
    }

    type VerifyFragmentsStream = BoxStream<'static, Result<proto::VerifyFragmentsResponse, Status>>;

    async fn verify_fragments(
        &self,
        request: Request<proto::VerifyFragmentsRequest>,
    ) -> Result<Response<Self::VerifyFragmentsStream>, Status> {
        Ok(Response::new(self.verification_stream(request.get_ref()).await?))
    }
    type WatchStream = BoxStream<'static, Result<proto::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(self.watch_stream(request.get_ref())?))
    }
}
