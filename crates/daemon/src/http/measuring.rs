//! Requests are counted and timed, and what only the event loop knows is looked up when somebody gathers the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response};
use axum::middleware::Next;
use bytes::Bytes;
use endpoint::proto::endpoint_service_server::EndpointService;
use endpoint::proto::{GetNetworkRequest, NetworkHealth};
use endpoint::{Catalog, ServerState};
use http_body::Frame;
use tokio::time::timeout;

use super::Site;
use crate::metrics::{Exchange, HttpLabels, Metrics, RouteLabels, Watched};

/// An event loop that does not answer so soon leaves the metrics as they were.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Counts a request, from its head to the end of its answer.
pub async fn measure(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response<Body> {
    let mut measured = Measured::begin(site.metrics.clone(), request.method(), request.uri().path());
    let (head, body) = next.run(request).await.into_parts();
    measured.code = head.status.as_u16();
    Response::from_parts(head, Body::new(Watched::new(body, measured)))
}

/// A request that is being answered.
struct Measured {
    metrics: Arc<Metrics>,
    route: &'static str,
    method: &'static str,
    /// What is said of a request whose client left before the answer: 499, as others do.
    code: u16,
    began: Instant,
}

impl Measured {
    fn begin(metrics: Arc<Metrics>, method: &Method, path: &str) -> Self {
        metrics.http_requests_in_flight.inc();
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            _ => "other",
        };
        Self { metrics, route: route(path), method, code: 499, began: Instant::now() }
    }
}

/// The label of a path. Only these become labels: whoever asks may invent paths without end.
fn route(path: &str) -> &'static str {
    match path {
        "/" => "/",
        "/api/status" => "/api/status",
        "/healthz" => "/healthz",
        "/metrics" => "/metrics",
        "/readyz" => "/readyz",
        _ if path.starts_with("/files/") => "/files/{digest}",
        _ if path.starts_with("/fragments/") => "/fragments/{digest}",
        _ => "unknown",
    }
}

impl Exchange for Measured {
    fn sends(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.metrics.http_sent_bytes.inc_by(data.len() as u64);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let Self { metrics, route, method, code, began } = self;
        metrics.http_requests_in_flight.dec();
        metrics.http_requests.get_or_create(&HttpLabels { route, method, code: *code }).inc();
        let duration = metrics.http_request_duration.get_or_create(&RouteLabels { route });
        duration.observe(began.elapsed().as_secs_f64());
    }
}

/// Looks up what is not kept up to date as things happen.
pub async fn look_up(site: &Site) {
    (site.gather)(&site.metrics);
    let transfers = super::MAX_TRANSFERS - site.transfers.available_permits();
    Metrics::set(&site.metrics.http_transfers_in_flight, transfers as u64);
    let metrics = site.metrics.clone();
    let looked_up = async {
        let network = site.reads.get_network(tonic::Request::new(GetNetworkRequest {})).await;
        if let Ok(network) = network {
            set_fragments(&metrics, &network.get_ref().health.unwrap_or_default());
        }
        let told = metrics.clone();
        // A daemon that is ending leaves them as they were.
        let _ = site.catalog.ask(move |catalog| set_capacity(&told, catalog)).await;
    };
    let _ = timeout(LOOK_UP, looked_up).await;
}

fn set_fragments(metrics: &Metrics, health: &NetworkHealth) {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let (under, unavailable) =
        (count(health.fragments_under_replicated), count(health.fragments_unavailable));
    metrics.set_fragments("under_replicated", under);
    metrics.set_fragments("unavailable", unavailable);
    metrics.set_fragments("healthy", count(health.fragments).saturating_sub(under + unavailable));
}

fn set_capacity(metrics: &Metrics, catalog: &dyn Catalog) {
    let (mut used, mut capacity) = (0_u64, 0_u64);
    for server in catalog.servers() {
        if server.state != ServerState::Unregistered {
            used += server.used_bytes;
            capacity = capacity.saturating_add(server.capacity_bytes.unwrap_or(0));
        }
        if server.id.as_str() == catalog.id() {
            Metrics::set(&metrics.store_capacity_bytes, server.capacity_bytes.unwrap_or(0));
        }
    }
    Metrics::set(&metrics.torrents_used_bytes, used);
    Metrics::set(&metrics.torrents_capacity_bytes, capacity);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_paths_and_methods_make_no_labels() {
        let metrics = Arc::new(Metrics::default());
        for (method, path) in
            [(Method::GET, "/files/abc"), (Method::GET, "/../etc/passwd"), (Method::PATCH, "/files/abc")]
        {
            drop(Measured::begin(metrics.clone(), &method, path));
        }
        let text = metrics.text();
        for line in [
            "mds_http_requests_total{route=\"/files/{digest}\",method=\"GET\",code=\"499\"} 1\n",
            "mds_http_requests_total{route=\"unknown\",method=\"GET\",code=\"499\"} 1\n",
            "mds_http_requests_total{route=\"/files/{digest}\",method=\"other\",code=\"499\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
