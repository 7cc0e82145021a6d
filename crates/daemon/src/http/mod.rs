//! HTTP, for browsers, `curl` and monitors: contents by their digest, how things stand, health and metrics.
//!
//! Contents come from the daemon's own [`EndpointApi`], so they are verified before a byte is sent, and what this daemon lacks of a file is
//! fetched from those who have it. It is an `EndpointApi` for HTTP alone: slow browsers take no memory from gRPC.

mod answers;
mod conditions;
mod contents;
mod fields;
mod hosts;
mod measuring;
mod page;
mod range;
mod readiness;
mod server;
mod stalls;
mod status;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use endpoint::{CatalogHandle, EndpointApi, Fragments, ReadLimits};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

pub use hosts::Hosts;
pub use readiness::Readiness;
pub use server::HttpServer;

/// Contents that are sent at once. Whoever wants one then is told to come back with 503.
pub const MAX_TRANSFERS: usize = 64;

/// A transfer waits for memory for longer than [`server::TAKING_PATIENCE`]: until then somebody has taken what is held, or is hung up on.
const READS: ReadLimits = ReadLimits {
    memory_bytes: 64 << 20,
    patience: Duration::from_secs(60),
    peer_patience: Duration::from_secs(5),
};

/// What the pages tell of.
pub struct Site {
    catalog: CatalogHandle,
    fragments: Arc<dyn Fragments>,
    reads: EndpointApi,
    transfers: Arc<Semaphore>,
    last_told: status::LastTold,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    hosts: Hosts,
    gather: Box<dyn Fn(&Metrics) + Send + Sync>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl Site {
    /// The pages of the daemon whose event loop answers `catalog` and whose disk has `fragments`.
    #[must_use]
    pub fn new(
        catalog: CatalogHandle,
        fragments: Arc<dyn Fragments>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> Self {
        let reads = EndpointApi::new(catalog.clone(), fragments.clone(), READS);
        let transfers = Arc::new(Semaphore::new(MAX_TRANSFERS));
        let last_told = status::LastTold::default();
        let (hosts, gather) = (Hosts::default(), Box::new(|_: &Metrics| {}));
        Self { catalog, fragments, reads, transfers, last_told, metrics, readiness, hosts, gather }
    }

    /// Gives contents under these names, too.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Has `gather` look up more whenever somebody asks for the metrics. It must be quick.
    #[must_use]
    pub fn with_gather(mut self, gather: impl Fn(&Metrics) + Send + Sync + 'static) -> Self {
        self.gather = Box::new(gather);
        self
    }

    /// Serves the pages on `address`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn serve(self, address: SocketAddr) -> io::Result<HttpServer> {
        HttpServer::start(address, self.router()).await
    }

    fn router(self) -> Router {
        let site = Arc::new(self);
        Router::new()
            .route("/", get(page::page))
            .route("/api/status", get(status::status))
            .route("/files/{digest}", get(contents::file))
            .route("/fragments/{digest}", get(contents::fragment))
            // What comes after it is for monitors, under whatever name they know.
            .route_layer(from_fn_with_state(site.clone(), hosts::check))
            .route("/healthz", get(async || answers::text(StatusCode::OK, "alive")))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .fallback(nothing_here)
            .method_not_allowed_fallback(async || answers::read_only())
            .layer(from_fn_with_state(site.clone(), measuring::measure))
            .with_state(site)
    }
}

async fn readyz(State(site): State<Arc<Site>>) -> Response<Body> {
    match site.readiness.why_not() {
        None => answers::text(StatusCode::OK, "ready"),
        Some(why_not) => answers::text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why_not}")),
    }
}

/// In the format of OpenMetrics for who asks for it, as Prometheus does; else in the older one, which all others read.
async fn metrics(State(site): State<Arc<Site>>, fields: HeaderMap) -> Response<Body> {
    measuring::look_up(&site).await;
    let accepted = fields.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (text, kind) = if accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        (site.metrics.text(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (site.metrics.older_text(), "text/plain; version=0.0.4; charset=utf-8")
    };
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    answer
}

async fn nothing_here() -> Response<Body> {
    answers::text(
        StatusCode::NOT_FOUND,
        "there is nothing here: ask for /files/{digest}, /fragments/{digest}, /, /api/status, /healthz, /readyz or /metrics",
    )
}
