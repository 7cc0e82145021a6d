//! From the view to messages. All of this runs inside the event loop, so each function does a bounded amount of work.

use std::collections::BTreeMap;
use std::time::SystemTime;

use distribution::view::FileInfo;
use protocol::{ClientId, Hash};

use crate::catalog::{Catalog, Role, ServerState, ServerStatus};
use crate::names::{file_name, fragment_name, server_name};
use crate::proto::{self, digest_text};

/// The torrents that the daemon knows of, and how many holders a fragment should have.
pub struct Servers {
    by_id: BTreeMap<ClientId, ServerStatus>,
    all_reachable: bool,
    target: usize,
}

impl Servers {
    pub fn of(catalog: &dyn Catalog) -> Self {
        let by_id: BTreeMap<_, _> =
            catalog.servers().into_iter().map(|server| (server.id.clone(), server)).collect();
        let all_reachable = by_id.values().all(|server| server.state != ServerState::Suspect);
        let target = catalog.copies().target(catalog.view().clients().len());
        Self { by_id, all_reachable, target }
    }

    pub const fn target(&self) -> usize {
        self.target
    }

    pub fn get(&self, id: &ClientId) -> Option<&ServerStatus> {
        self.by_id.get(id)
    }

    pub fn all(&self) -> impl Iterator<Item = &ServerStatus> {
        self.by_id.values()
    }

    pub fn count(&self, state: ServerState) -> usize {
        self.by_id.values().filter(|server| server.state == state).count()
    }

    pub fn is_suspect(&self, id: &ClientId) -> bool {
        self.get(id).is_some_and(|server| server.state == ServerState::Suspect)
    }

    /// How many of a fragment's holders can be asked now.
    pub fn reachable_holders(&self, catalog: &dyn Catalog, fragment: &Hash) -> usize {
        let view = catalog.view();
        if self.all_reachable {
            view.holder_count(fragment)
        } else {
            view.holders(fragment).filter(|holder| !self.is_suspect(holder)).count()
        }
    }

    /// The holders of a fragment, those that may be down last.
    pub fn holders<'a>(&self, catalog: &'a dyn Catalog, fragment: &Hash) -> Vec<&'a ClientId> {
        let mut holders: Vec<_> = catalog.view().holders(fragment).collect();
        if !self.all_reachable {
            holders.sort_by_key(|holder| self.is_suspect(holder));
        }
        holders
    }
}

/// A file that lacks holders can still be read if this daemon has the fragments: the tracker's fresh uploads.
pub fn describe_file(catalog: &dyn Catalog, servers: &Servers, hash: &Hash, info: &FileInfo) -> proto::File {
    let view = catalog.view();
    let target = servers.target();
    let (mut is_healthy, mut is_available) = (true, true);
    for fragment in info.fragments.iter() {
        let reachable = servers.reachable_holders(catalog, fragment);
        is_healthy &= reachable >= target.max(1);
        is_available &= reachable > 0 || catalog.stores(fragment);
    }
    let state = match (is_available, is_healthy) {
        (false, _) => proto::FileState::Unavailable,
        (true, false) => proto::FileState::Degraded,
        (true, true) => proto::FileState::Healthy,
    };
    proto::File {
        name: file_name(hash),
        digest: digest_text(hash),
        size_bytes: int64(info.size_bytes),
        display_name: info.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        fragment_size_bytes: int64(view.fragment_size_bytes().unwrap_or_default()),
        fragment_count: int32(info.fragments.len()),
        min_holders: int32(view.fewest_holders(hash).unwrap_or(target)),
        target_holders: int32(target),
        state: state.into(),
    }
}

pub fn describe_fragment(
    catalog: &dyn Catalog,
    hash: &Hash,
    size_bytes: u64,
    offset_bytes: u64,
    holders: &[&ClientId],
) -> proto::Fragment {
    proto::Fragment {
        name: fragment_name(hash),
        digest: digest_text(hash),
        size_bytes: int64(catalog.view().fragment_bytes(hash).unwrap_or(size_bytes)),
        offset_bytes: int64(offset_bytes),
        holders: holders.iter().map(|holder| server_name(holder)).collect(),
    }
}

pub fn describe_server(server: &ServerStatus) -> proto::Server {
    let state = match server.state {
        ServerState::Registered => proto::ServerState::Registered,
        ServerState::Suspect => proto::ServerState::Suspect,
        ServerState::Unregistered => proto::ServerState::Unregistered,
    };
    proto::Server {
        name: server_name(&server.id),
        endpoints: server.endpoints.iter().map(ToString::to_string).collect(),
        state: state.into(),
        zone: server.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        used_bytes: int64(server.used_bytes),
        capacity_bytes: server.capacity_bytes.map(int64),
        fragment_count: int64(server.fragments),
        last_seen_time: server.last_seen.map(timestamp),
        draining: server.is_draining,
    }
}

pub const fn describe_role(role: Role) -> proto::ServerRole {
    match role {
        Role::Tracker => proto::ServerRole::Tracker,
        Role::Torrent => proto::ServerRole::Torrent,
    }
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// Sizes beyond 8 EiB do not occur; the messages count in signed numbers because all languages have them.
pub fn int64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn int32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
