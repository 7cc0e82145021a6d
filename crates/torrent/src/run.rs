//! The composition root: what a torrent is made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon::check::check_ready;
use daemon::config::{Loaded, print, show};
use daemon::http::{Hosts, Readiness, Site};
use daemon::metrics::{Counted, Metrics};
use daemon::scrub::Scrub;
use daemon::serving::Serving;
use daemon::start::{advertised, listen, open_store, serve_http};
use daemon::turns::on_own_thread;
use daemon::{ExitCode, Failure, OwnFragments, Shutdown, Supervisor, logging};
use distribution::{Torrent, TorrentConfig};
use endpoint::{ByteStreamApi, CatalogHandle, ElsewhereApi, EndpointApi, ReadLimits, Services};
use protocol::{ClientId, Incarnation, InstanceId};
use storage::{FragmentWriter, Store, meta};
use tokio::sync::watch;
use tracing::info;

use crate::config::{Arguments, Config};
use crate::connection::Appearance;
use crate::event_loop::{EventLoop, Parts};
use crate::remembered;

/// Questions to the event loop that may wait.
const WAITING_QUESTIONS: usize = 64;

/// Runs a torrent until a signal or a failure ends it.
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
    let config = settings.complete().map_err(unusable)?;
    let supervisor = Supervisor::of_this_process();
    let shutdown =
        Shutdown::on_signals(supervisor.clone()).map_err(|error| Failure::new(ExitCode::Failed, error))?;

    let store = open_store(&config.common.data_dir)?;
    let (listener, address) = listen(&config.common).await?;
    let endpoint = advertised(config.advertise.as_ref(), address)?;
    let (metrics, readiness) = (Arc::new(Metrics::default()), Readiness::told_to(supervisor.clone()));

    let (catalog, questions) = CatalogHandle::channel(WAITING_QUESTIONS);
    let feed = catalog.feed().clone();
    let (own, damaged) = OwnFragments::new(store.fragments().clone(), metrics.clone());
    let site = Site::new(catalog.clone(), Arc::new(own.clone()), metrics.clone(), readiness.clone());
    let site = site.with_hosts(Hosts::new(config.common.http_hosts.as_deref(), &endpoint));
    // It answers while the view is read: alive, and not ready.
    let http = serve_http(&config.common, site).await?;

    let appearance = appearance(&config, &store)?;
    info!(id = %appearance.client, %endpoint, broker = %config.common.broker, "torrent starts");
    let machine = machine(&config, &store, &appearance, BTreeSet::from([endpoint]))?;
    let writer = FragmentWriter::start(store.fragments().clone())
        .map_err(|error| Failure::text(ExitCode::Failed, format!("no thread for the store: {error}")))?;

    let scrub = Scrub::start(own.clone(), store.meta().clone(), metrics.clone(), config.common.scrub)
        .map_err(|error| Failure::text(ExitCode::Failed, format!("no thread for the scrub: {error}")))?;
    let elsewhere = ElsewhereApi::new(catalog.clone());
    let reads = EndpointApi::new(catalog, Arc::new(own.clone()), ReadLimits::default());
    let blobs = ByteStreamApi::new(reads.clone(), None);
    let services = Services::new()
        .with(Counted::new(reads.into_service(), metrics.clone()))
        .with_while(Counted::new(elsewhere.into_service(), metrics.clone()), never())
        .with(Counted::new(blobs.into_service(), metrics.clone()));
    let serving = Serving::start(listener, services, http);
    supervisor.ready();

    let parts = Parts {
        config,
        appearance,
        machine,
        store,
        writer,
        own,
        damaged,
        scrub,
        questions,
        feed,
        metrics,
        readiness,
        shutdown,
    };
    on_own_thread(async move || EventLoop::new(parts).run(serving).await).await
}

/// What never holds: health says of the tracker's services that a torrent does not serve them.
fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

fn appearance(config: &Config, store: &Store) -> Result<Appearance, Failure> {
    let unusable = |error| Failure::new(ExitCode::Store, error);
    let remembered = store.meta().get(meta::CLIENT_ID).map_err(unusable)?;
    let client: ClientId = match (&config.id, remembered) {
        (Some(id), _) => id.clone(),
        (None, Some(id)) => id
            .parse()
            .map_err(|error| Failure::text(ExitCode::Store, format!("the remembered id: {error}")))?,
        (None, None) => {
            let id = format!("torrent-{:.12}", store.id().simple().to_string());
            id.parse().map_err(|error| Failure::text(ExitCode::Failed, error))?
        }
    };
    store.meta().set(meta::CLIENT_ID, &client.as_str().to_owned()).map_err(unusable)?;
    store.flush().map_err(|error| Failure::new(ExitCode::Store, error))?;
    let instance = InstanceId(store.id());
    Ok(Appearance { client, instance, incarnation: Incarnation(store.starts()) })
}

fn machine(
    config: &Config,
    store: &Store,
    appearance: &Appearance,
    endpoints: BTreeSet<protocol::EndpointUri>,
) -> Result<Torrent, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::text(ExitCode::Store, error);
    let fragments = store.fragments();
    let inventory: Result<Vec<_>, _> = fragments.inventory().collect();
    let stored = inventory.map_err(|error| unusable(&error))?;
    let view = store.view().load().map_err(|error| unusable(&error))?;
    let capacity_bytes = config
        .capacity_bytes
        .unwrap_or_else(|| fragments.used_bytes().saturating_add(fragments.free_bytes()));
    let remembered = remembered::load(store.meta()).map_err(|error| unusable(&error))?;
    let config = TorrentConfig {
        client: appearance.client.clone(),
        instance: appearance.instance,
        incarnation: appearance.incarnation,
        endpoints,
        capacity_bytes,
        zone: config.zone.clone(),
        limits: Default::default(),
    };
    let stored = stored.into_iter().map(|(hash, size_bytes)| (hash, u64::from(size_bytes)));
    Ok(Torrent::new(config, view, stored, remembered, fastrand::u128(..).to_be_bytes()))
}
