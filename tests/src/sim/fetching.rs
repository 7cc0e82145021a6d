//! Fragments that the tracker fetches from holders, as over gRPC.

use std::time::Duration;

use bytes::Bytes;
use distribution::Moment;
use distribution::tracker::FetchError;
use protocol::{ClientId, Hash};

use super::broker::Publication;
use super::cluster::Cluster;
use super::node::Node;

/// How long a holder takes to give a fragment.
const TAKES: Duration = Duration::from_millis(3);
/// How often one is looked at that does not move.
const AGAIN: Duration = Duration::from_secs(1);

/// A fragment on its way from a holder to the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    fragment: Hash,
    /// Who was asked.
    pub source: ClientId,
    began: Moment,
    /// When it arrives, or is looked at again.
    pub done: Moment,
}

impl Fetch {
    /// Asks the holder.
    #[must_use]
    pub fn new(fragment: Hash, source: ClientId, now: Moment) -> Self {
        Self { fragment, source, began: now, done: now + TAKES }
    }
}

impl Cluster {
    /// The fetch that ends now, unless its source stands still.
    pub(super) fn end_fetch(&mut self, tracker: &ClientId) -> Vec<Publication> {
        let now = self.local(tracker);
        let Some(Node::Tracker(node)) = self.nodes.get_mut(tracker) else { return Vec::new() };
        let at = node.fetches.iter().position(|fetch| fetch.done <= now).expect("a fetch that is due");
        let fetch = &mut node.fetches[at];
        if self.paused.contains(&fetch.source) && now < fetch.began + node.config.limits.fetch_timeout {
            fetch.done = now + AGAIN;
            return Vec::new();
        }
        let Fetch { fragment, source, .. } = node.fetches.remove(at);
        let result = self.read_at(&source, &fragment);
        let Some(Node::Tracker(node)) = self.nodes.get_mut(tracker) else { return Vec::new() };
        node.fetched(fragment, source, result, now)
    }

    /// What a holder gives who is asked for a fragment. What has gone bad it finds now.
    fn read_at(&mut self, source: &ClientId, fragment: &Hash) -> Result<Bytes, FetchError> {
        if self.paused.contains(source) {
            return Err(FetchError::Unreachable);
        }
        match self.nodes.get(source) {
            Some(Node::Torrent(holder)) if holder.running().is_some() => {
                if holder.disk.volume.is_unreadable {
                    return Err(FetchError::Unreachable);
                }
                let found = holder.disk.volume.fragments.get(fragment).cloned();
                if holder.disk.volume.rotten.contains(fragment) {
                    self.damage(source.as_str(), &[*fragment]);
                    return Err(FetchError::NotHeld);
                }
                found.ok_or(FetchError::NotHeld)
            }
            Some(Node::SpecTorrent(holder)) => {
                holder.stored.get(fragment).cloned().ok_or(FetchError::NotHeld)
            }
            Some(Node::Torrent(_) | Node::Tracker(_) | Node::SpecTracker(_)) | None => {
                Err(FetchError::Unreachable)
            }
        }
    }
}
