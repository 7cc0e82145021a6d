//! A gRPC server with everything that each of ours has: health, reflection, limits, and an end that is waited for.

mod connections;
mod explained;
mod health;
mod reflection;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use axum::middleware::map_response;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;

use health::EndingHealth;

/// Largest message that is sent or taken: 1 MiB of data and room for what stands around it.
pub const MAX_MESSAGE_BYTES: usize = (1 << 20) + (64 << 10);
/// How long open streams may go on after the end was asked for.
pub const GRACE: Duration = Duration::from_secs(10);

/// More are closed as soon as they are made.
const MAX_CONNECTIONS: usize = 1024;
const MAX_STREAMS_PER_CONNECTION: u32 = 256;
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);
/// What a client may send before it is read. Only uploads send much.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const FRAME_BYTES: u32 = 256 << 10;

/// What health calls the server as a whole.
const WHOLE_SERVER: &str = "";

/// Why a server ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener's address cannot be told.
    #[error("the listening socket is unusable")]
    Socket(#[source] io::Error),
    /// The server failed.
    #[error("the gRPC server failed")]
    Server(#[from] tonic::transport::Error),
    /// The descriptors in this build are broken.
    #[error("the service descriptors are broken: this build is unusable")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The services of one server.
#[derive(Debug)]
pub struct Services {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    conditions: Vec<(&'static str, watch::Receiver<bool>)>,
    health: HealthReporter,
}

impl Default for Services {
    fn default() -> Self {
        let (names, conditions) = Default::default();
        Self { routes: RoutesBuilder::default(), names, conditions, health: HealthReporter::new() }
    }
}

impl Services {
    /// No service yet but health and reflection, which are always there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service. Its health is `SERVING` until it is told otherwise.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Adds a service whose health is `SERVING` only while `condition` holds. The server as a whole is `SERVING` as long as it runs.
    #[must_use]
    pub fn with_while<S>(mut self, service: S, condition: watch::Receiver<bool>) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.conditions.push((S::NAME, condition));
        self.routes.add_service(service);
        self
    }
}

/// Serves until `shutdown` is ready and open streams have ended, or [`GRACE`] has passed.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    services: Services,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let Services { mut routes, names, conditions, health } = services;
    let mut all = vec![WHOLE_SERVER];
    for name in names {
        health.set_service_status(name, ServingStatus::Serving).await;
        all.push(name);
    }
    let mut following = JoinSet::new();
    for (name, condition) in conditions {
        following.spawn(follow(health.clone(), name, condition));
        all.push(name);
    }
    let (is_ending, ending) = watch::channel(false);
    reflection::add(&mut routes, &ending)?;
    routes.add_service(HealthServer::new(EndingHealth::new(health.clone(), ending)));

    let explained = map_response(async |mut answer: axum::response::Response| {
        explained::explain(answer.headers_mut());
        answer
    });
    let router = routes.routes().into_axum_router().layer(explained);

    // `Server::tcp_nodelay` has no effect on a listener that is handed in: without this line each small answer takes 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(TCP_KEEP_ALIVE));
    let incoming = connections::limited(incoming, MAX_CONNECTIONS);
    let (end, ended) = oneshot::channel::<()>();
    let server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, async {
            let _ = ended.await;
        });
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return Ok(result?),
        () = shutdown => {}
    }
    // From here on health says so: who watches goes elsewhere while the last streams end.
    following.shutdown().await;
    for name in all {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    is_ending.send_replace(true);
    let _ = end.send(());
    match tokio::time::timeout(GRACE, server).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            tracing::warn!(grace = ?GRACE, "streams were still open at the end");
            Ok(())
        }
    }
}

/// Tells the health of a service for ever.
async fn follow(health: HealthReporter, name: &'static str, mut condition: watch::Receiver<bool>) {
    loop {
        let holds = *condition.borrow_and_update();
        let status = if holds { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status(name, status).await;
        if condition.changed().await.is_err() {
            return;
        }
    }
}

/// Comes when `ending` is true, or its sender is gone.
fn end_of(ending: &watch::Receiver<bool>) -> BoxFuture<'static, ()> {
    let mut ending = ending.clone();
    async move { drop(ending.wait_for(|is_ending| *is_ending).await) }.boxed()
}
