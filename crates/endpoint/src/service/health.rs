//! The counts behind a verdict on the network. Counting walks the whole view, so an answer is used again until it is out of date.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use protocol::Hash;

use super::describe::{Servers, int32, int64};
use crate::catalog::{Catalog, Copies, ServerState};
use crate::proto;

/// Counting may take this share of the event loop's time: after a count of 1 ms the next waits for 20 ms.
const PAUSE_PER_COUNT: u32 = 20;
/// How many fragments without holder are told apart by name.
const NAMED_WITHOUT_HOLDER: usize = 20_000;

/// The counts, and the fragments that nobody can be asked for: this daemon may have them itself.
#[derive(Debug, Clone)]
pub struct Counts {
    pub health: proto::NetworkHealth,
    pub without_holder: Vec<Hash>,
}

/// The last counts.
#[derive(Debug, Default)]
pub struct LastCounts(Mutex<Option<Counted>>);

#[derive(Debug)]
struct Counted {
    /// What the counts depend on.
    key: (Hash, Copies, usize, usize, usize),
    at: Instant,
    took: Duration,
    counts: Counts,
}

impl LastCounts {
    /// The counts of `catalog`: fresh, or at most a short time old if counting takes long.
    pub fn of(&self, catalog: &dyn Catalog) -> Counts {
        let servers = Servers::of(catalog);
        let known = servers.all().count();
        let (registered, suspect) =
            (servers.count(ServerState::Registered), servers.count(ServerState::Suspect));
        let key = (catalog.view().digest(), catalog.copies(), registered, suspect, known);
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(last) = &*last
            && (last.key == key
                || last.at.elapsed() < (last.took * PAUSE_PER_COUNT).min(Duration::from_secs(1)))
        {
            return last.counts.clone();
        }
        let at = Instant::now();
        let counts = count(catalog, &servers);
        *last = Some(Counted { key, at, took: at.elapsed(), counts: counts.clone() });
        counts
    }
}

fn count(catalog: &dyn Catalog, servers: &Servers) -> Counts {
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
    let mut without_holder = Vec::new();
    for (fragment, _) in view.fragments() {
        match servers.reachable_holders(catalog, &fragment) {
            0 => {
                health.fragments_unavailable += 1;
                if without_holder.len() < NAMED_WITHOUT_HOLDER {
                    without_holder.push(fragment);
                }
            }
            reachable if reachable < target => health.fragments_under_replicated += 1,
            _ => {}
        }
    }
    Counts { health, without_holder }
}
