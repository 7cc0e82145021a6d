//! The composition root: what a tracker is made of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use daemon::check::check_ready;
use daemon::config::{Loaded, print, show};
use daemon::http::{Hosts, Readiness, Site};
use daemon::metrics::{Counted, Metrics};
use daemon::scrub::Scrub;
use daemon::serving::Serving;
use daemon::start::{advertised, listen, open_store, serve_http};
use daemon::turns::on_own_thread;
use daemon::{ExitCode, Failure, OwnFragments, Shutdown, Supervisor, logging};
use distribution::limits::{Rhythm, TrackerLimits};
use distribution::tracker::Memory;
use distribution::{Tracker, TrackerConfig};
use endpoint::client::Channels;
use endpoint::{ByteStreamApi, CatalogHandle, EndpointApi, ReadLimits, Services};
use protocol::{EndpointUri, Epoch};
use storage::{FragmentWriter, Store, meta};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::config::{Arguments, Config};
use crate::connection::Connector;
use crate::event_loop::{EventLoop, Parts};
use crate::fetching::Fetcher;
use crate::others::OtherTracker;
use crate::uploads::UploadApi;

/// Questions and requests to the event loop that may wait.
const WAITING_QUESTIONS: usize = 64;

/// Runs a tracker until a signal, another tracker, or a failure ends it.
///
/// # Errors
/// With the exit code that the failure has.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let usage = |error| Failure::new(ExitCode::Usage, error);
    let Loaded { settings, origins } = arguments.merged().map_err(usage)?;
    let unusable = |error| usage(origins.explain(error));
    if arguments.print_config {
        show(&print(&settings.clone().in_use(), &origins))?;
        return settings.complete().map(drop).map_err(unusable);
    }
    if arguments.check_ready {
        let sentence = check_ready(&settings.complete().map_err(unusable)?.common.data_dir)?;
        return show(&format!("{sentence}\n"));
    }
    logging::start(settings.common.log_format().map_err(unusable)?);
    settings.common.warn_of_readers(&origins);
    let mut config = settings.complete().map_err(unusable)?;
    // Who waits for another's end waits for the broker, too.
    config.common.retry_connect |= arguments.standby;
    let supervisor = Supervisor::of_this_process();
    let shutdown =
        Shutdown::on_signals(supervisor.clone()).map_err(|error| Failure::new(ExitCode::Failed, error))?;

    let store = Arc::new(open_store(&config.common.data_dir)?);
    let (listener, address) = listen(&config.common).await?;
    let endpoint = advertised(config.advertise.as_ref(), address)?;
    let (metrics, readiness) = (Arc::new(Metrics::default()), Readiness::told_to(supervisor.clone()));
    info!(%endpoint, broker = %config.common.broker, copies = %config.copies, "tracker starts");

    let writer = FragmentWriter::start(store.fragments().clone())
        .map_err(|error| Failure::text(ExitCode::Failed, format!("no thread for the store: {error}")))?;
    let (catalog, questions) = CatalogHandle::channel(WAITING_QUESTIONS);
    let feed = catalog.feed().clone();
    let (request, requests) = mpsc::channel(WAITING_QUESTIONS);
    let (own, damaged) = OwnFragments::new(store.fragments().clone(), metrics.clone());
    let reads = EndpointApi::new(catalog.clone(), Arc::new(own.clone()), ReadLimits::default());
    let uploads = UploadApi::new(
        writer.clone(),
        store.fragments().clone(),
        config.fragment_size_bytes,
        config.common.limits.max_event_bytes as u64,
        request,
        catalog.clone(),
        reads.clone(),
    );
    let registry = uploads.registry();
    let site = Site::new(catalog, Arc::new(own.clone()), metrics.clone(), readiness.clone());
    let site = site.with_hosts(Hosts::new(config.common.http_hosts.as_deref(), &endpoint));
    let site =
        site.with_gather(move |metrics| Metrics::set(&metrics.uploads_in_flight, registry.in_flight()));
    // It answers while the view is read: alive, and not ready.
    let http = serve_http(&config.common, site).await?;

    let machine = machine(&config, &store, &endpoint)?;
    let fetcher = Fetcher {
        runtime: Handle::current(),
        channels: Channels::default(),
        writer,
        timeout: machine.config().limits.fetch_timeout,
    };
    let scrub = Scrub::start(own.clone(), store.meta().clone(), metrics.clone(), config.common.scrub)
        .map_err(|error| Failure::text(ExitCode::Failed, format!("no thread for the scrub: {error}")))?;
    let (online, is_online) = watch::channel(false);
    let blobs = ByteStreamApi::new(reads.clone(), Some(Arc::new(uploads.clone())));
    let services = Services::new()
        .with(Counted::new(reads.into_service(), metrics.clone()))
        .with_while(Counted::new(uploads.into_service(), metrics.clone()), is_online)
        .with(Counted::new(blobs.into_service(), metrics.clone()));
    let serving = Serving::start(listener, services, http);
    supervisor.ready();

    let other = match (arguments.takeover, arguments.standby) {
        (true, _) => OtherTracker::Replace,
        (false, true) => OtherTracker::Await,
        (false, false) => OtherTracker::Respect,
    };
    let connector = Arc::new(Connector {
        common: config.common.clone(),
        store: store.clone(),
        fragment_size_bytes: config.fragment_size_bytes,
        require_direct: config.require_direct,
        other: Mutex::new(other),
        standing_by: watch::Sender::new(None),
    });
    let parts = Parts {
        config,
        endpoint,
        machine,
        store,
        own,
        damaged,
        scrub,
        connector,
        questions,
        feed,
        online,
        requests,
        fetcher,
        metrics,
        readiness,
        shutdown,
    };
    on_own_thread(async move || EventLoop::new(parts)?.run(serving).await).await
}

fn machine(config: &Config, store: &Store, endpoint: &EndpointUri) -> Result<Tracker, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::text(ExitCode::Store, error);
    let view = store.view().load().map_err(|error| unusable(&error))?;
    let inventory: Result<Vec<_>, _> = store.fragments().inventory().collect();
    let inventory = inventory.map_err(|error| unusable(&error))?;
    let meta = store.meta();
    let remembered = meta.get(meta::VIEW_FORGOTTEN).map_err(|error| unusable(&error))?.unwrap_or(0) != 0;
    let may_have_forgotten = remembered || Tracker::may_have_forgotten(&view, inventory.len());
    if may_have_forgotten && !remembered {
        // Before anything is accepted into the view that is empty now.
        meta.set(meta::VIEW_FORGOTTEN, &1).map_err(|error| unusable(&error))?;
        store.flush().map_err(|error| unusable(&error))?;
    }
    let own = inventory.into_iter().map(|(hash, _)| hash);
    let deletions_since = meta.get(meta::DELETIONS_SINCE).map_err(|error| unusable(&error))?;
    let memory = Memory { may_have_forgotten, deletions_since: Epoch(deletions_since.unwrap_or(0)) };
    let mut limits = TrackerLimits::default();
    limits.fragments_in_flight = config.fragments_in_flight.unwrap_or(limits.fragments_in_flight);
    let machine_config = TrackerConfig {
        copies: config.copies,
        fragment_size_bytes: config.fragment_size_bytes,
        rhythm: Rhythm::default(),
        limits,
        repair_after: config.repair_after,
        max_event_bytes: config.common.limits.max_event_bytes as u64,
        endpoints: BTreeSet::from([endpoint.clone()]),
        require_direct: config.require_direct,
    };
    let seed = fastrand::u128(..).to_be_bytes();
    Tracker::new(machine_config, view, own, memory, seed).map_err(|error| {
        Failure::text(
            ExitCode::Usage,
            format!("{error}: start with the --fragment-size that this data directory has, or use another --data-dir"),
        )
    })
}
