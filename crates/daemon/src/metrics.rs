//! Counters for Prometheus: prefix `mds_`, base units, and no digest or name as a label.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// An event on the bus: its name, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabels {
    /// The event's name, or `unknown`.
    pub event: &'static str,
    /// `handled`, or why it was dropped.
    pub outcome: &'static str,
}

/// The metrics of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Events heard on the bus.
    pub events_heard: Family<EventLabels, Counter>,
    /// 1 while connected to the broker.
    pub broker_connected: Gauge,
    /// Files in the view.
    pub files: Gauge,
    /// Fragments in the view.
    pub fragments: Gauge,
    /// Registered torrents in the view.
    pub torrents_registered: Gauge,
    /// Revision of the view.
    pub view_revision: Gauge<u64, AtomicU64>,
    /// Fragments with fewer holders than wanted, whose bytes the tracker has to get from a holder first.
    pub repairs_pending: Gauge<u64, AtomicU64>,
    /// Fragments whose bytes the tracker has and that wait for holders or are on their way to them.
    pub distributions_pending: Gauge<u64, AtomicU64>,
    /// Fragments in the daemon's own store.
    pub stored_fragments: Gauge<u64, AtomicU64>,
    /// Bytes of fragments in the daemon's own store.
    pub stored_bytes: Gauge<u64, AtomicU64>,
    /// Bytes that the scrub has read and verified.
    pub scrub_bytes: Counter,
    /// Unix time at which the last whole pass of the scrub ended.
    pub scrub_last_pass: Gauge<u64, AtomicU64>,
    /// Fragments that were found damaged, by whom ever.
    pub fragments_damaged: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mds");
        let mut add = |name, help, metric: Box<dyn Register>| metric.register(&mut registry, name, help);
        let metrics = Self {
            registry: Mutex::default(),
            events_heard: Family::default(),
            broker_connected: Gauge::default(),
            files: Gauge::default(),
            fragments: Gauge::default(),
            torrents_registered: Gauge::default(),
            view_revision: Gauge::default(),
            repairs_pending: Gauge::default(),
            distributions_pending: Gauge::default(),
            stored_fragments: Gauge::default(),
            stored_bytes: Gauge::default(),
            scrub_bytes: Counter::default(),
            scrub_last_pass: Gauge::default(),
            fragments_damaged: Counter::default(),
        };
        add("bus_events_heard", "Events heard on the bus", Box::new(metrics.events_heard.clone()));
        add(
            "broker_connected",
            "1 while connected to the broker",
            Box::new(metrics.broker_connected.clone()),
        );
        add("files", "Files in the view", Box::new(metrics.files.clone()));
        add("fragments", "Fragments in the view", Box::new(metrics.fragments.clone()));
        add("torrents_registered", "Registered torrents", Box::new(metrics.torrents_registered.clone()));
        add("view_revision", "Revision of the view", Box::new(metrics.view_revision.clone()));
        add(
            "repairs_pending",
            "Fragments that wait to be fetched from a holder and copied again; tracker only",
            Box::new(metrics.repairs_pending.clone()),
        );
        add(
            "distributions_pending",
            "Fragments of the tracker's own store that wait for holders; tracker only",
            Box::new(metrics.distributions_pending.clone()),
        );
        add("stored_fragments", "Fragments in the own store", Box::new(metrics.stored_fragments.clone()));
        add("stored_bytes", "Bytes of fragments in the own store", Box::new(metrics.stored_bytes.clone()));
        add("scrub_bytes", "Bytes that the scrub has verified", Box::new(metrics.scrub_bytes.clone()));
        add(
            "scrub_last_pass_timestamp_seconds",
            "Unix time at which the last whole pass of the scrub ended; 0 if none has",
            Box::new(metrics.scrub_last_pass.clone()),
        );
        add(
            "fragments_damaged",
            "Fragments in the own store that were found damaged and set aside",
            Box::new(metrics.fragments_damaged.clone()),
        );
        *metrics.registry.lock().expect("nobody else has it yet") = registry;
        metrics
    }
}

trait Register {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str);
}

impl<M: EncodeMetric + std::fmt::Debug + Send + Sync + 'static> Register for M {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, *self);
    }
}

impl Metrics {
    /// Counts an event.
    pub fn heard(&self, event: &'static str, outcome: &'static str) {
        self.events_heard.get_or_create(&EventLabels { event, outcome }).inc();
    }

    /// Sets a count that is never negative.
    pub fn set(gauge: &Gauge<u64, AtomicU64>, value: u64) {
        gauge.inner().store(value, Ordering::Relaxed);
    }

    /// All metrics in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
