//! A torrent's evil twin: passes every question on to a real torrent, and every fragment with one byte of it changed.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use endpoint::client::{Channels, Reader};
use endpoint::proto::endpoint_service_client::EndpointServiceClient;
use endpoint::proto::endpoint_service_server::{EndpointService, EndpointServiceServer};
use endpoint::proto::{self, ReadFileResponse, ReadFragmentResponse, VerifyFragmentsResponse, WatchResponse};
use endpoint::{Services, serve};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

use crate::loopback::own_address;

/// A running liar. It ends when dropped.
#[derive(Debug)]
pub struct Liar {
    address: String,
    honest: Arc<OnceLock<Reader>>,
    server: JoinHandle<()>,
}

impl Liar {
    /// Begins to listen. The torrent that it pretends to be is started with its [`endpoint`](Self::endpoint) as `--advertise`, and then
    /// named to [`speaks_for`](Self::speaks_for); until then it answers nothing.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a loopback address is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let honest = Arc::new(OnceLock::new());
        let services = Services::new().with(EndpointServiceServer::new(Twin { honest: honest.clone() }));
        let server = tokio::spawn(async move {
            serve(listener, services, std::future::pending()).await.expect("it serves until it is dropped");
        });
        Self { address, honest, server }
    }

    /// Where it listens, as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// Whose twin it is: the torrent that listens on `host:port`.
    ///
    /// # Panics
    /// If that is no address, or it has been told before.
    pub fn speaks_for(&self, address: &str) {
        let uri = format!("grpc://{address}").parse().expect("an address of an endpoint");
        let channel = Channels::default().channel(&uri).expect("this scheme can be dialled");
        let reader = EndpointServiceClient::new(channel).max_decoding_message_size(2 << 20);
        assert!(self.honest.set(reader).is_ok(), "it is the twin of one torrent");
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Twin {
    honest: Arc<OnceLock<Reader>>,
}

impl Twin {
    #[allow(clippy::result_large_err, reason = "a status is what the services answer")]
    fn honest(&self) -> Result<Reader, Status> {
        self.honest.get().cloned().ok_or_else(|| Status::unavailable("it is nobody's twin yet"))
    }
}

fn changed(message: ReadFragmentResponse) -> ReadFragmentResponse {
    let mut data = message.data.to_vec();
    if let Some(last) = data.last_mut() {
        *last ^= 1;
    }
    ReadFragmentResponse { data: Bytes::from(data), ..message }
}

#[tonic::async_trait]
impl EndpointService for Twin {
    type ReadFragmentStream = BoxStream<'static, Result<ReadFragmentResponse, Status>>;
    type ReadFileStream = BoxStream<'static, Result<ReadFileResponse, Status>>;
    type VerifyFragmentsStream = BoxStream<'static, Result<VerifyFragmentsResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn get_network(
        &self,
        request: Request<proto::GetNetworkRequest>,
    ) -> Result<Response<proto::GetNetworkResponse>, Status> {
        self.honest()?.get_network(request.into_inner()).await
    }

    async fn list_servers(
        &self,
        request: Request<proto::ListServersRequest>,
    ) -> Result<Response<proto::ListServersResponse>, Status> {
        self.honest()?.list_servers(request.into_inner()).await
    }

    async fn get_file(
        &self,
        request: Request<proto::GetFileRequest>,
    ) -> Result<Response<proto::GetFileResponse>, Status> {
        self.honest()?.get_file(request.into_inner()).await
    }

    async fn list_files(
        &self,
        request: Request<proto::ListFilesRequest>,
    ) -> Result<Response<proto::ListFilesResponse>, Status> {
        self.honest()?.list_files(request.into_inner()).await
    }

    async fn list_fragments(
        &self,
        request: Request<proto::ListFragmentsRequest>,
    ) -> Result<Response<proto::ListFragmentsResponse>, Status> {
        self.honest()?.list_fragments(request.into_inner()).await
    }

    async fn batch_get_fragments(
        &self,
        request: Request<proto::BatchGetFragmentsRequest>,
    ) -> Result<Response<proto::BatchGetFragmentsResponse>, Status> {
        self.honest()?.batch_get_fragments(request.into_inner()).await
    }

    async fn read_fragment(
        &self,
        request: Request<proto::ReadFragmentRequest>,
    ) -> Result<Response<Self::ReadFragmentStream>, Status> {
        let messages = self.honest()?.read_fragment(request.into_inner()).await?.into_inner();
        Ok(Response::new(messages.map_ok(changed).boxed()))
    }

    async fn read_file(
        &self,
        request: Request<proto::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        Ok(self.honest()?.read_file(request.into_inner()).await?.map(StreamExt::boxed))
    }

    async fn verify_fragments(
        &self,
        request: Request<proto::VerifyFragmentsRequest>,
    ) -> Result<Response<Self::VerifyFragmentsStream>, Status> {
        Ok(self.honest()?.verify_fragments(request.into_inner()).await?.map(StreamExt::boxed))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(self.honest()?.watch(request.into_inner()).await?.map(StreamExt::boxed))
    }
}
