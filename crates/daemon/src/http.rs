//! `/healthz`, `/readyz` and `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Supervisor;
use crate::metrics::Metrics;

/// Whether the daemon is ready, and if not, one sentence why not. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    why_not: Arc<RwLock<Option<String>>>,
    supervisor: Supervisor,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::told_to(Supervisor::default())
    }
}

impl Readiness {
    /// Not ready yet; `supervisor` is told of every change.
    #[must_use]
    pub fn told_to(supervisor: Supervisor) -> Self {
        Self { why_not: Arc::new(RwLock::new(Some("the daemon is starting".into()))), supervisor }
    }

    /// Says whether the daemon is ready: `None` if it is.
    pub fn set(&self, why_not: Option<&str>) {
        let mut place = self.why_not.write().unwrap_or_else(PoisonError::into_inner);
        if place.as_deref() != why_not {
            *place = why_not.map(str::to_owned);
            self.supervisor.status(why_not.unwrap_or("ready"));
        }
    }

    fn answer(&self) -> (StatusCode, String) {
        match &*self.why_not.read().unwrap_or_else(PoisonError::into_inner) {
            None => (StatusCode::OK, "ready\n".into()),
            Some(why_not) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why_not}\n")),
        }
    }
}

/// Serves the daemon's pages until the process ends. Gives the address in use.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Readiness,
) -> io::Result<SocketAddr> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let listener = TcpListener::bind(address).await?;
    let in_use = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(move || async move { readiness.answer() }))
        .route(
            "/metrics",
            get(move || async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.text()) }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(in_use)
}
