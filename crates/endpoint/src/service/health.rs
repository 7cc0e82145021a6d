//! The counts behind a verdict on the network. Counting walks the whole view, so an answer is used again until it is out of date.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use protocol::Hash;

use super::describe::{Servers, int32, int64};
use crate::catalog::{Catalog, Copies, ServerState};
use crate::proto;

/// Counting may take this share of the event loop's time: after a count of 1 ms the next waits for 20 ms.
const PAUSE_PER_COUNT: u32 = 20;

/// How old an answer may be, unless counting takes long.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The last counts.
#[derive(Debug, Default)]
pub struct LastCounts(Mutex<Option<Counted>>);

#[derive(Debug)]
struct Counted {
    /// What the counts depend on besides the own disk.
    key: (Hash, Copies, usize, usize, usize),
    at: Instant,
    took: Duration,
    health: proto::NetworkHealth,
}

impl LastCounts {
    /// The counts of `catalog`: fresh, or at most a short time old if counting takes long.
    pub fn of(&self, catalog: &dyn Catalog) -> proto::NetworkHealth {
        let servers = Servers::of(catalog);
        let known = servers.all().count();
        let (registered, suspect) =
            (servers.count(ServerState::Registered), servers.count(ServerState::Suspect));
        let key = (catalog.view().digest(), catalog.copies(), registered, suspect, known);
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(last) = &*last {
            let pause = last.took * PAUSE_PER_COUNT;
            // What is on the own disk counts too and is in no key, so equal keys only stretch it.
            let is_fresh_for = if last.key == key { pause.max(MAX_AGE) } else { pause.min(MAX_AGE) };
            if last.at.elapsed() < is_fresh_for {
                return last.health;
            }
        }
        let at = Instant::now();
        let health = count(catalog, &servers);
        *last = Some(Counted { key, at, took: at.elapsed(), health });
        health
    }
}

fn count(catalog: &dyn Catalog, servers: &Servers) -> proto::NetworkHealth {
    let view = catalog.view();
    let target = servers.target();
    let mut health = proto::NetworkHealth {
        servers_registered: int32(servers.count(ServerState::Registered)),
        servers_suspect: int32(servers.count(ServerState::Suspect)),
        servers_known: int32(servers.all().count()),
        files: int64(view.files().len() as u64),
        files_bytes: int64(view.files().values().map(|file| file.size_bytes).sum()),
        fragments: int64(view.fragment_count() as u64),
        fragments_under_replicated: 0,
        fragments_unavailable: 0,
    };
    for (fragment, _) in view.fragments() {
        match servers.reachable_holders(catalog, &fragment) {
            0 if !catalog.stores(&fragment) => health.fragments_unavailable += 1,
            reachable if reachable < target.max(1) => health.fragments_under_replicated += 1,
            _ => {}
        }
    }
    health
}
