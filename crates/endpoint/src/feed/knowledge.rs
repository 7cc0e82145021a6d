//! What was told so far, which parts of it may be out of date, and the comparison with what is true.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use distribution::view::{Change, FileInfo};
use protocol::{ClientId, Hash};

use super::TICK;
use super::log::{State, Subject};
use crate::catalog::Catalog;
use crate::proto;
use crate::service::describe::{Servers, describe_file, describe_server};

/// Changes are gathered at least for this long.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Comparing may take this share of the event loop's time: after 1 ms of it the next waits for 20 ms.
const PAUSE_PER_COMPARISON: u32 = 20;
/// Most changed fragments that are remembered one by one; with more, every file is looked at.
const MAX_CHANGED_FRAGMENTS: usize = 1 << 16;

/// See the module's header. Nothing is remembered of files and servers before somebody watches.
#[derive(Debug, Default)]
pub struct Knowledge {
    told: Option<Told>,
    changed: Changed,
    compared: Option<Compared>,
}

#[derive(Debug)]
struct Compared {
    at: Instant,
    took: Duration,
}

/// What may be out of date.
#[derive(Debug, Default)]
struct Changed {
    is_any: bool,
    files: HashSet<Hash>,
    fragments: HashSet<Hash>,
    every_file: bool,
}

/// What was told.
#[derive(Debug, Default)]
struct Told {
    files: HashMap<Hash, Standing>,
    servers: BTreeMap<ClientId, proto::Server>,
    target: usize,
}

/// What may change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    min_holders: i32,
    target_holders: i32,
    state: i32,
}

impl Standing {
    const fn of(file: &proto::File) -> Self {
        let proto::File { min_holders, target_holders, state, .. } = *file;
        Self { min_holders, target_holders, state }
    }
}

impl Changed {
    fn note(&mut self, change: &Change) {
        match change {
            Change::FilePublished { hash, .. } | Change::FileRemoved { hash } => {
                self.files.insert(*hash);
            }
            Change::FragmentDistributed { hash, .. } | Change::HolderRemoved { hash, .. } => {
                self.fragments.insert(*hash);
            }
            Change::ClientRegistered { .. } | Change::ClientUnregistered { .. } => self.every_file = true,
            Change::FragmentSizeSet { .. }
            | Change::FragmentAdded { .. }
            | Change::FragmentRemoved { .. }
            | Change::TombstonesForgotten
            | Change::TombstonesAdded { .. }
            | Change::DrainSet { .. } => {}
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.files.len() + self.fragments.len() > MAX_CHANGED_FRAGMENTS {
            self.every_file = true;
        }
        if self.every_file {
            (self.files, self.fragments) = Default::default();
        }
    }
}

impl Knowledge {
    pub fn note(&mut self, changes: &[Change]) {
        // Before anything was told there is nothing that could be out of date.
        if self.told.is_some() {
            self.changed.is_any |= !changes.is_empty();
            changes.iter().for_each(|change| self.changed.note(change));
        }
    }

    pub fn note_stored(&mut self, fragments: &[Hash]) {
        if self.told.is_some() {
            self.changed.is_any |= !fragments.is_empty();
            self.changed.fragments.extend(fragments);
            self.changed.bound();
        }
    }

    /// See [`super::Feed::refresh`].
    pub fn refresh(
        &mut self,
        catalog: &dyn Catalog,
        mut tell: impl FnMut(Subject, State, bool),
    ) -> Option<Duration> {
        if let Some(compared) = &self.compared {
            let pause = (compared.took * PAUSE_PER_COMPARISON).max(MIN_PAUSE);
            let wanted = if self.changed.is_any { pause } else { pause.max(TICK / 2) };
            let too_early = wanted.saturating_sub(compared.at.elapsed());
            if !too_early.is_zero() {
                return self.changed.is_any.then_some(too_early);
            }
        }
        let at = Instant::now();
        let servers = Servers::of(catalog);
        match &mut self.told {
            Some(told) => {
                let changed = std::mem::take(&mut self.changed);
                let every_file = told.compare_servers(&servers, &mut tell) || changed.every_file;
                let compare = Comparison { catalog, servers: &servers };
                if every_file {
                    told.compare_every_file(compare, &mut tell);
                } else {
                    told.compare_files(compare, &changed, &mut tell);
                }
            }
            None => self.told = Some(Told::first(catalog, &servers)),
        }
        self.compared = Some(Compared { at, took: at.elapsed() });
        None
    }
}

/// What is true.
#[derive(Clone, Copy)]
struct Comparison<'a> {
    catalog: &'a dyn Catalog,
    servers: &'a Servers,
}

impl Comparison<'_> {
    fn describe(&self, hash: &Hash, info: &FileInfo) -> proto::File {
        describe_file(self.catalog, self.servers, hash, info)
    }
}

impl Told {
    /// What whoever begins to watch now learns from the catalog itself.
    fn first(catalog: &dyn Catalog, servers: &Servers) -> Self {
        let files = catalog.view().files().iter();
        let standing = |hash, info| Standing::of(&describe_file(catalog, servers, hash, info));
        Self {
            files: files.map(|(hash, info)| (*hash, standing(hash, info))).collect(),
            servers: servers.all().map(|server| (server.id.clone(), describe_server(server))).collect(),
            target: servers.target(),
        }
    }

    /// Whether what changed may change the state of any file.
    fn compare_servers(&mut self, servers: &Servers, tell: &mut impl FnMut(Subject, State, bool)) -> bool {
        let mut concerns_files = self.target != servers.target();
        self.target = servers.target();
        let gone: Vec<ClientId> =
            self.servers.keys().filter(|id| servers.get(id).is_none()).cloned().collect();
        for id in gone {
            // The view of a torrent forgets a server when it is unregistered.
            let Some(server) = self.servers.remove(&id) else { continue };
            let state = proto::ServerState::Unregistered.into();
            let last = proto::Server { state, used_bytes: 0, fragment_count: 0, ..server };
            tell(Subject::Server(id), State::Server(last), true);
            concerns_files = true;
        }
        for server in servers.all() {
            let now = describe_server(server);
            let before = self.servers.insert(server.id.clone(), now.clone());
            let is_new = before.as_ref().is_none_or(|before| before.state != now.state);
            // That somebody was heard again is no news.
            let is_same = before
                .is_some_and(|before| proto::Server { last_seen_time: now.last_seen_time, ..before } == now);
            if !is_same {
                concerns_files |= is_new;
                tell(Subject::Server(server.id.clone()), State::Server(now), is_new);
            }
        }
        concerns_files
    }

    fn compare_every_file(&mut self, is: Comparison<'_>, tell: &mut impl FnMut(Subject, State, bool)) {
        let files = is.catalog.view().files();
        self.files.retain(|hash, _| {
            let is_there = files.contains_key(hash);
            if !is_there {
                tell(Subject::File(*hash), State::FileRemoved, true);
            }
            is_there
        });
        for (hash, info) in files {
            let file = is.describe(hash, info);
            let before = self.files.insert(*hash, Standing::of(&file));
            if before != Some(Standing::of(&file)) {
                tell(Subject::File(*hash), State::File(file), before.is_none());
            }
        }
    }

    fn compare_files(
        &mut self,
        is: Comparison<'_>,
        changed: &Changed,
        tell: &mut impl FnMut(Subject, State, bool),
    ) {
        let files = is.catalog.view().files();
        for hash in &changed.files {
            if !files.contains_key(hash) && self.files.remove(hash).is_some() {
                tell(Subject::File(*hash), State::FileRemoved, true);
            }
        }
        let concerned = files.iter().filter(|(hash, info)| {
            let has_changed = |fragment| changed.fragments.contains(fragment);
            changed.files.contains(hash)
                || (!changed.fragments.is_empty() && info.fragments.iter().any(has_changed))
        });
        for (hash, info) in concerned {
            let file = is.describe(hash, info);
            let before = self.files.insert(*hash, Standing::of(&file));
            let is_known_already = changed.files.contains(hash) && before == Some(Standing::of(&file));
            if !is_known_already {
                tell(Subject::File(*hash), State::File(file), before.is_none());
            }
        }
    }
}
