//! What Prometheus gathers: prefix `mds_`, base units, and no digest, name or address as a label.
//!
//! Counters and what an event loop knows are kept up to date as things happen; what takes a question to the event loop is looked up when
//! somebody gathers ([`crate::http`]). docs/http.md lists them all.

mod exchanges;
mod exposition;
mod grpc;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use exchanges::{Exchange, Watched};
pub use grpc::Counted;

/// A gauge that is never negative.
pub type Count = Gauge<u64, AtomicU64>;

/// An event on the bus: its name, who said it, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabels {
    /// `heard` or `said`.
    pub direction: &'static str,
    /// The event's name, or `unknown`.
    pub event: &'static str,
    /// `handled`, or why it was dropped; `sent`, or `not_connected`.
    pub outcome: &'static str,
}

/// How a fragment stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FragmentLabels {
    /// `healthy`, `under_replicated` or `unavailable`.
    pub state: &'static str,
}

/// A gRPC call that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GrpcLabels {
    /// Service and method, or `unknown`.
    pub method: &'static str,
    /// The status code's name.
    pub code: &'static str,
}

/// What is timed of a gRPC call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MethodLabels {
    /// Service and method, or `unknown`.
    pub method: &'static str,
}

/// An HTTP request that has been answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// Which page, e.g. `/files/{digest}`, or `unknown`.
    pub route: &'static str,
    /// `GET`, `HEAD` or `other`.
    pub method: &'static str,
    /// The status code.
    pub code: u16,
}

/// What is timed of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// Which page, or `unknown`.
    pub route: &'static str,
}

type Timed<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Events on the bus.
    pub bus_events: Family<EventLabels, Counter>,
    /// 1 while connected to the broker.
    pub broker_connected: Gauge,
    /// Files in the view.
    pub files: Gauge,
    /// Fragments in the view.
    pub fragments: Family<FragmentLabels, Count>,
    /// Registered torrents in the view.
    pub torrents_registered: Gauge,
    /// Bytes that all registered torrents hold.
    pub torrents_used_bytes: Count,
    /// Bytes that all registered torrents may hold, as far as they told.
    pub torrents_capacity_bytes: Count,
    /// Revision of the view.
    pub view_revision: Count,
    /// How often the view did not follow the tracker's, and the torrent joined again.
    pub view_gaps: Counter,
    /// Fragments with fewer holders than wanted, whose bytes the tracker has to get from a holder first.
    pub repairs_pending: Count,
    /// Fragments whose bytes the tracker has and that wait for holders or are on their way to them.
    pub distributions_pending: Count,
    /// Uploads that have begun and have not ended.
    pub uploads_in_flight: Count,
    /// From the acceptance of a fragment to enough holders.
    pub single_copy_seconds: Histogram,
    /// Fragments accepted that have not enough holders yet.
    pub single_copy_fragments: Count,
    single_copy_oldest_seconds: Gauge<f64, AtomicU64>,
    single_copy_since: Mutex<Option<Instant>>,
    /// Fragments in the daemon's own store.
    pub stored_fragments: Count,
    /// Bytes of fragments in the daemon's own store.
    pub stored_bytes: Count,
    /// Bytes of fragments that may be in the daemon's own store.
    pub store_capacity_bytes: Count,
    /// Bytes that the scrub has read and verified.
    pub scrub_bytes: Counter,
    /// Unix time at which the last whole pass of the scrub ended.
    pub scrub_last_pass: Count,
    /// Fragments that were found damaged, by whom ever.
    pub fragments_damaged: Counter,
    /// gRPC calls that have ended.
    pub grpc_requests: Family<GrpcLabels, Counter>,
    /// How long they took.
    pub grpc_request_duration: Timed<MethodLabels>,
    /// gRPC calls that have not ended.
    pub grpc_requests_in_flight: Gauge,
    /// HTTP requests that have been answered.
    pub http_requests: Family<HttpLabels, Counter>,
    /// How long they took.
    pub http_request_duration: Timed<RouteLabels>,
    /// HTTP requests that are being answered.
    pub http_requests_in_flight: Gauge,
    /// Contents that are being sent over HTTP, of which there may be so many.
    pub http_transfers_in_flight: Count,
    /// Bytes of bodies sent over HTTP.
    pub http_sent_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registry::with_prefix("mds");
        Self {
            bus_events: add(&mut r, "bus_events", "Events on the bus, heard and said"),
            broker_connected: add(&mut r, "broker_connected", "1 while connected to the broker"),
            files: add(&mut r, "files", "Files in the view"),
            fragments: add(
                &mut r,
                "fragments",
                "Fragments in the view by how many of their holders can be reached",
            ),
            torrents_registered: add(&mut r, "torrents_registered", "Registered torrents"),
            torrents_used_bytes: add(
                &mut r,
                "torrents_used_bytes",
                "Bytes that all registered torrents hold",
            ),
            torrents_capacity_bytes: add(
                &mut r,
                "torrents_capacity_bytes",
                "Bytes that all registered torrents may hold, as far as they told",
            ),
            view_revision: add(&mut r, "view_revision", "Revision of the view"),
            view_gaps: add(
                &mut r,
                "view_gaps",
                "How often the view did not follow the tracker's, because the broker lost something; torrents only",
            ),
            repairs_pending: add(
                &mut r,
                "repairs_pending",
                "Fragments that wait to be fetched from a holder and copied again; tracker only",
            ),
            distributions_pending: add(
                &mut r,
                "distributions_pending",
                "Fragments of the tracker's own store that wait for holders; tracker only",
            ),
            uploads_in_flight: add(&mut r, "uploads_in_flight", "Uploads that have not ended; tracker only"),
            single_copy_seconds: add_built(
                &mut r,
                "single_copy_seconds",
                "Time from the acceptance of a fragment until enough torrents hold it; tracker only",
                Histogram::new([
                    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
                ]),
            ),
            single_copy_fragments: add(
                &mut r,
                "single_copy_fragments",
                "Fragments accepted that not enough torrents hold yet; tracker only",
            ),
            single_copy_oldest_seconds: add(
                &mut r,
                "single_copy_oldest_seconds",
                "Time since the oldest of them was accepted; 0 if there is none; tracker only",
            ),
            single_copy_since: Mutex::default(),
            stored_fragments: add(&mut r, "stored_fragments", "Fragments in the own store"),
            stored_bytes: add(&mut r, "stored_bytes", "Bytes of fragments in the own store"),
            store_capacity_bytes: add(
                &mut r,
                "store_capacity_bytes",
                "Bytes of fragments that may be in the own store; torrents only",
            ),
            scrub_bytes: add(&mut r, "scrub_bytes", "Bytes that the scrub has verified"),
            scrub_last_pass: add(
                &mut r,
                "scrub_last_pass_timestamp_seconds",
                "Unix time at which the last whole pass of the scrub ended; 0 if none has",
            ),
            fragments_damaged: add(
                &mut r,
                "fragments_damaged",
                "Fragments in the own store that were found damaged and set aside",
            ),
            grpc_requests: add(&mut r, "grpc_requests", "gRPC calls that have ended"),
            grpc_request_duration: add_built(
                &mut r,
                "grpc_request_duration_seconds",
                "Time from a gRPC call to the end of its answer",
                Family::new_with_constructor(seconds),
            ),
            grpc_requests_in_flight: add(&mut r, "grpc_requests_in_flight", "gRPC calls that have not ended"),
            http_requests: add(&mut r, "http_requests", "HTTP requests that have been answered"),
            http_request_duration: add_built(
                &mut r,
                "http_request_duration_seconds",
                "Time from an HTTP request to the end of its answer",
                Family::new_with_constructor(seconds),
            ),
            http_requests_in_flight: add(
                &mut r,
                "http_requests_in_flight",
                "HTTP requests that are being answered",
            ),
            http_transfers_in_flight: add(
                &mut r,
                "http_transfers_in_flight",
                "Contents that are being sent over HTTP; with 64 of them others are refused",
            ),
            http_sent_bytes: add(&mut r, "http_sent_bytes", "Bytes of bodies sent over HTTP"),
            registry: r,
        }
    }
}

/// From a millisecond to about half an hour.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0])
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    add_built(registry, name, help, M::default())
}

fn add_built<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts an event that came over the bus.
    pub fn heard(&self, event: &'static str, outcome: &'static str) {
        self.bus_events.get_or_create(&EventLabels { direction: "heard", event, outcome }).inc();
    }

    /// Counts an event of ours: `sent` if there is a session, else `not_connected`.
    pub fn said(&self, event: &'static str, is_sent: bool) {
        let outcome = if is_sent { "sent" } else { "not_connected" };
        self.bus_events.get_or_create(&EventLabels { direction: "said", event, outcome }).inc();
    }

    /// Sets a count that is never negative.
    pub fn set(gauge: &Count, value: u64) {
        gauge.inner().store(value, Ordering::Relaxed);
    }

    /// Sets how many fragments stand so.
    pub fn set_fragments(&self, state: &'static str, count: u64) {
        Self::set(&self.fragments.get_or_create(&FragmentLabels { state }), count);
    }

    /// Says since when the oldest fragment waits that has not enough holders.
    pub fn set_single_copy_since(&self, since: Option<Instant>) {
        *self.since() = since;
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.single_copy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All metrics in the older text format of Prometheus.
    #[must_use]
    pub fn older_text(&self) -> String {
        exposition::older(&self.text())
    }

    /// All metrics in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        let oldest = self.since().map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.single_copy_oldest_seconds.set(oldest);
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_single_copy_grows_older_by_itself() {
        let metrics = Metrics::default();
        assert!(metrics.text().contains("\nmds_single_copy_oldest_seconds 0.0\n"), "{}", metrics.text());
        metrics.set_single_copy_since(Some(Instant::now() - Duration::from_secs(90)));
        assert!(metrics.text().contains("\nmds_single_copy_oldest_seconds 90."), "{}", metrics.text());
    }

    #[test]
    fn an_event_is_counted_by_who_said_it_and_what_became_of_it() {
        let metrics = Metrics::default();
        metrics.heard("TrackerHello", "handled");
        metrics.said("TrackerHello", false);
        let text = metrics.text();
        for (direction, outcome) in [("heard", "handled"), ("said", "not_connected")] {
            let line = format!(
                "mds_bus_events_total{{direction=\"{direction}\",event=\"TrackerHello\",outcome=\"{outcome}\"}} 1\n"
            );
            assert!(text.contains(&line), "{text}");
        }
    }
}
