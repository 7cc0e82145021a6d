//! What was accepted, deleted and destroyed, kept outside the service: so it is known what may be gone and what may not.
//!
//! The promise: a file that is accepted is whole for as long as its bytes were not destroyed on as many disks as it has copies before the
//! service could know, and with the tracker's disk goes what no torrent holds. What is destroyed beyond that is *excused*: it may be there
//! or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use distribution::view::View;
use distribution::{Copies, Moment, RequestId};
use protocol::{ClientId, Hash};

use crate::sim::cluster::Cluster;
use crate::sim::content::Content;
use crate::sim::node::Node;
use crate::sim::tracker_node::Outcome;

use super::violation::{Kind, Violation};

/// A join takes no longer: each side gives up after 10 s, and what was said is under way for a while.
const JOINING: Duration = Duration::from_secs(30);

/// How long after an upload or a deletion what it changed may still be on its way.
const UNSETTLED_MS: u64 = 30_000;

/// What has to be true of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has to be there, whole.
    Kept,
    /// It must not be there.
    Deleted,
    /// It may be there or not: nobody knows what became of the order, or it was destroyed beyond what is promised.
    Open,
}

#[derive(Debug, Clone)]
struct Entry {
    content: Content,
    standing: Standing,
    since: Moment,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    copies: Copies,
    files: BTreeMap<Hash, Entry>,
    /// Orders whose outcome is not known yet: which file, and whether it is to be there.
    orders: BTreeMap<RequestId, (Hash, bool)>,
    /// Fragments with the disks on which they were destroyed while the service still counted on them.
    destroyed: BTreeMap<Hash, BTreeSet<ClientId>>,
    /// When a torrent's copy was last destroyed.
    last_destroyed: Moment,
    /// Uploads accepted so far.
    pub accepted: u64,
    /// Files deleted so far.
    pub removed: u64,
    /// Files that were destroyed beyond what is promised, so far.
    pub excused: u64,
}

impl Ledger {
    /// An empty ledger of a service that aims at so many copies.
    #[must_use]
    pub const fn new(copies: Copies) -> Self {
        Self {
            copies,
            files: BTreeMap::new(),
            orders: BTreeMap::new(),
            destroyed: BTreeMap::new(),
            last_destroyed: Moment(0),
            accepted: 0,
            removed: 0,
            excused: 0,
        }
    }

    /// How many destroyed copies a fragment survives.
    fn spare_copies(&self) -> usize {
        match self.copies {
            Copies::Each(copies) => copies.get() as usize - 1,
            // How many those are depends on who was registered.
            Copies::All => 0,
        }
    }

    /// The files that were ever heard of, with what has to be true of them.
    pub fn files(&self) -> impl Iterator<Item = (&Content, Standing)> {
        self.files.values().map(|entry| (&entry.content, entry.standing))
    }

    /// Whether any file that has to be there needs the fragment.
    #[must_use]
    pub fn is_needed(&self, fragment: &Hash) -> bool {
        self.kept().any(|entry| entry.content.fragments().contains_key(fragment))
    }

    fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.files.values().filter(|entry| entry.standing == Standing::Kept)
    }

    // What users order.

    /// An upload was handed in.
    pub fn uploading(&mut self, request: RequestId, content: &Content, now: Moment) {
        let entry = self.files.entry(content.hash()).or_insert_with(|| Entry {
            content: content.clone(),
            standing: Standing::Deleted,
            since: now,
        });
        entry.since = now;
        if entry.standing == Standing::Deleted {
            entry.standing = Standing::Open;
        }
        self.orders.insert(request, (content.hash(), true));
    }

    /// A deletion was asked for.
    pub fn removing(&mut self, request: RequestId, hash: Hash, now: Moment) {
        if let Some(entry) = self.files.get_mut(&hash) {
            entry.standing = Standing::Open;
            entry.since = now;
        }
        self.orders.insert(request, (hash, false));
    }

    /// What became of the orders.
    ///
    /// # Errors
    /// If something was accepted that is nowhere.
    pub fn learn(&mut self, cluster: &Cluster, before: Option<Standing>) -> Result<(), Violation> {
        let spare = self.spare_copies();
        for (request, (hash, is_upload)) in std::mem::take(&mut self.orders) {
            let outcome = cluster.outcome(request);
            let Some(entry) = self.files.get_mut(&hash) else { continue };
            match (outcome, is_upload) {
                (Some(Outcome::Accepted), true) => {
                    self.accepted += 1;
                    entry.standing = Standing::Kept;
                    let fragments: Vec<Hash> = entry.content.fragments().keys().copied().collect();
                    for fragment in fragments {
                        let destroyed = self.destroyed.get(&fragment).map_or(0, BTreeSet::len);
                        let is_nowhere = cluster.places_of(&fragment) == 0;
                        if destroyed > spare || is_nowhere && destroyed > 0 {
                            // Its bytes need not have come again: the service counts on copies that are not there.
                            self.excuse(&fragment);
                        } else if is_nowhere {
                            return Err(Violation::new(
                                Kind::Lost,
                                format!("{fragment:?} is accepted and nowhere"),
                            ));
                        }
                    }
                }
                (Some(Outcome::Accepted), false) => {
                    self.removed += 1;
                    entry.standing = Standing::Deleted;
                }
                (Some(Outcome::Refused(_)), _) => entry.standing = before.unwrap_or(Standing::Open),
                // The process ended on it, so nobody knows. What was there has not become less.
                (None, true) if before == Some(Standing::Kept) => entry.standing = Standing::Kept,
                (None, _) => entry.standing = Standing::Open,
            }
        }
        Ok(())
    }

    /// What has to be true of a file.
    #[must_use]
    pub fn standing(&self, hash: &Hash) -> Option<Standing> {
        self.files.get(hash).map(|entry| entry.standing)
    }

    // What the nemesis destroys.

    /// Whether the copy of a fragment on a torrent may be destroyed and the file is still promised.
    #[must_use]
    pub fn survives_without(&self, cluster: &Cluster, fragment: &Hash, id: &ClientId) -> bool {
        if !self.is_needed(fragment) {
            return true;
        }
        let destroyed = self.destroyed.get(fragment).map_or(0, BTreeSet::len);
        let spare = self.spare_copies();
        destroyed < spare && self.reliable_copies(cluster, fragment, Some(id)) > 0
    }

    /// Copies that are there and that the service counts on.
    fn reliable_copies(&self, cluster: &Cluster, fragment: &Hash, without: Option<&ClientId>) -> usize {
        let view = &cluster.tracker_node().disk.volume.view;
        let on_torrents = cluster.torrent_nodes().filter(|(id, node)| {
            Some(*id) != without && node.disk.volume.has_good(fragment) && view.holds(id, fragment)
        });
        let tracker = cluster.tracker_node();
        let keeps = tracker.disk.volume.has_good(fragment) && !tracker.fetched.contains(fragment);
        let own = usize::from(without.is_some() && keeps);
        on_torrents.count() + own
    }

    /// A copy on a torrent was destroyed.
    pub fn destroyed_on_torrent(&mut self, cluster: &Cluster, fragment: &Hash, id: &ClientId) {
        let survives = self.survives_without(cluster, fragment, id);
        self.last_destroyed = cluster.now;
        self.destroyed.entry(*fragment).or_default().insert(id.clone());
        if !survives {
            self.excuse(fragment);
        }
    }

    /// The disk of a torrent that was emptied, and that nobody counts on, is taken away.
    pub fn retired(&mut self, cluster: &Cluster, id: &ClientId) {
        for fragment in cluster.torrent_node(id.as_str()).disk.volume.fragments.keys() {
            self.destroyed.entry(*fragment).or_default().insert(id.clone());
        }
    }

    /// Whether the tracker's own copy of a fragment may be destroyed and the file is still promised.
    #[must_use]
    pub fn survives_without_tracker(&self, cluster: &Cluster, fragment: &Hash) -> bool {
        let is_settled = |entry: &Entry| {
            !entry.content.fragments().contains_key(fragment) || cluster.now.0 >= entry.since.0 + UNSETTLED_MS
        };
        !self.is_needed(fragment)
            || (self.files.values().all(is_settled)
                && !self.destroyed.contains_key(fragment)
                && self.reliable_copies(cluster, fragment, None) > 0)
    }

    /// The tracker's own copy was destroyed.
    pub fn destroyed_at_tracker(&mut self, cluster: &Cluster, fragment: &Hash) {
        let survives = self.survives_without_tracker(cluster, fragment);
        self.destroyed.entry(*fragment).or_default().insert(cluster.tracker_id());
        if !survives {
            self.excuse(fragment);
        }
    }

    /// The whole disk of the tracker is about to be destroyed, and with it the view: what is kept is what a torrent knows and holds.
    /// Deletions are forgotten.
    pub fn tracker_wiped(&mut self, cluster: &Cluster) {
        let now = cluster.now;
        let knows = |hash: &Hash| {
            let mut views = cluster.torrent_nodes().map(|(_, node)| &node.disk.volume.view);
            views.any(|view: &View| view.file(hash).is_some())
        };
        let survives = |entry: &Entry| {
            let mut fragments = entry.content.fragments().keys();
            now.0 >= entry.since.0 + UNSETTLED_MS
                && knows(&entry.content.hash())
                && fragments.all(|fragment| {
                    !self.destroyed.contains_key(fragment)
                        && self.reliable_copies(cluster, fragment, None) > 0
                })
        };
        let gone: Vec<Hash> = self
            .files
            .iter()
            .filter(|(_, entry)| entry.standing == Standing::Deleted || !survives(entry))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in gone {
            self.open(&hash);
        }
    }

    /// Another tracker was in charge: what was deleted may come back with a torrent that was away.
    pub fn deletions_forgotten(&mut self) {
        let deleted = self.files.values_mut().filter(|entry| entry.standing == Standing::Deleted);
        deleted.for_each(|entry| entry.standing = Standing::Open);
    }

    fn excuse(&mut self, fragment: &Hash) {
        let hit = self.kept().filter(|entry| entry.content.fragments().contains_key(fragment));
        let hit: Vec<Hash> = hit.map(|entry| entry.content.hash()).collect();
        hit.iter().for_each(|hash| self.open(hash));
    }

    fn open(&mut self, hash: &Hash) {
        if let Some(entry) = self.files.get_mut(hash) {
            self.excused += u64::from(entry.standing == Standing::Kept);
            entry.standing = Standing::Open;
        }
    }

    // What is checked.

    /// Forgets what was destroyed where the service counts on nothing that is not there, and has as many copies as it wants.
    pub fn forget_what_is_healed(&mut self, cluster: &Cluster) {
        let tracker = cluster.tracker_node();
        // What a second tracker believes is its own affair, and may be wrong for as long as it is there.
        let is_alone = cluster.tracker_nodes().count() == 1;
        if self.destroyed.is_empty() || tracker.running().is_none() || !is_alone {
            return;
        }
        let view = &tracker.disk.volume.view;
        let spare = self.spare_copies();
        // Until then a join may be under way that lists what is gone meanwhile.
        let none_joins = cluster.now.since(self.last_destroyed) >= JOINING;
        self.destroyed.retain(|fragment, _| {
            let holders: Vec<&ClientId> = view.holders(fragment).collect();
            // Who has bytes that went bad will yet say that it has them.
            let is_found = !cluster.nodes().any(|(_, node)| node.has_rotten(fragment));
            let is_right = holders.iter().all(|id| match cluster.node(id) {
                Node::Torrent(node) => node.disk.volume.has_good(fragment),
                Node::Tracker(_) | Node::SpecTracker(_) | Node::SpecTorrent(_) => false,
            });
            let is_enough = holders.len() > spare
                || tracker.disk.volume.has_good(fragment) && !tracker.fetched.contains(fragment);
            let is_gone =
                none_joins && view.fragment_bytes(fragment).is_none() && cluster.places_of(fragment) == 0;
            !(is_found && (is_gone || is_right && is_enough))
        });
    }

    /// Something was deleted on an order: it must not have been the last copy (L1).
    ///
    /// # Errors
    /// If it was.
    pub fn check_deleted(&self, cluster: &mut Cluster) -> Result<(), Violation> {
        for (id, fragment) in std::mem::take(&mut cluster.deleted) {
            if self.is_needed(&fragment) && cluster.places_of(&fragment) == 0 {
                return Err(Violation::new(
                    Kind::Lost,
                    format!("{id} deleted the last copy of {fragment:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Every fragment of every file that is kept is on a disk (L1).
    ///
    /// # Errors
    /// If one is not.
    pub fn check_nothing_lost(&self, cluster: &Cluster) -> Result<(), Violation> {
        for entry in self.kept() {
            for fragment in entry.content.fragments().keys() {
                if cluster.places_of(fragment) == 0 {
                    let what = format!("{fragment:?} of {:?} is nowhere", entry.content.hash());
                    return Err(Violation::new(Kind::Lost, what));
                }
            }
        }
        Ok(())
    }

    /// At rest: the tracker knows what is kept, and nothing is left of what was deleted.
    ///
    /// # Errors
    /// If that is not so.
    pub fn check_at_rest(&self, cluster: &Cluster) -> Result<(), Violation> {
        self.check_nothing_lost(cluster)?;
        let view = cluster.tracker().view();
        let not_deleted = self.files.values().filter(|entry| entry.standing != Standing::Deleted);
        let used: BTreeSet<&Hash> = not_deleted.flat_map(|entry| entry.content.fragments().keys()).collect();
        for (hash, entry) in &self.files {
            match entry.standing {
                Standing::Open => {}
                Standing::Kept => {
                    if view.file(hash).is_none() {
                        return Err(Violation::new(Kind::Lost, format!("the view has forgotten {hash:?}")));
                    }
                }
                Standing::Deleted => {
                    let left = entry
                        .content
                        .fragments()
                        .keys()
                        .find(|fragment| !used.contains(fragment) && cluster.places_of(fragment) > 0);
                    if view.file(hash).is_some() || left.is_some() {
                        let what = format!("{hash:?} was deleted; left of it is {left:?}");
                        return Err(Violation::new(Kind::Leaked, what));
                    }
                }
            }
        }
        Ok(())
    }
}
