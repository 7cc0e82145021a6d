//! Fragment Distribution, the torrent's side: ask for what falls to it, store it, say so, and keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::event::{
    FragmentDistributionDelivered, FragmentDistributionFailed, FragmentDistributionObtained,
    FragmentDistributionRequested, FragmentDistributionStarted, TrackerEvent,
};
use protocol::{EventId, Feature, Hash};

use super::{Notice, Torrent};
use crate::candidates::ranked;
use crate::command::TorrentCommand;
use crate::limits::SPARE_CANDIDATES;
use crate::time::Moment;
use crate::view::SetDigest;

#[derive(Debug, Clone, Copy)]
struct Holding {
    size_bytes: u64,
    /// Since when the torrent waits for *Ended*; none once it is a holder.
    staged_since: Option<Moment>,
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    size_bytes: u64,
    until: Moment,
}

/// What is in the own store, on its way there, and reserved for what may come.
#[derive(Debug)]
pub struct Holdings {
    held: BTreeMap<Hash, Holding>,
    staged: BTreeSet<Hash>,
    /// Staged when the torrent asked to join: once registered, these have been told.
    listed: BTreeSet<Hash>,
    storing: BTreeMap<Hash, (u64, EventId)>,
    reserved: BTreeMap<Hash, Reservation>,
    used_bytes: u64,
    digest: SetDigest,
    /// Whether something went bad since it was listed.
    overstated: bool,
}

impl Holdings {
    /// What the store had at the start counts as held: the join will tell.
    pub fn new(stored: impl IntoIterator<Item = (Hash, u64)>) -> Self {
        let held: BTreeMap<Hash, Holding> = stored
            .into_iter()
            .map(|(hash, size_bytes)| (hash, Holding { size_bytes, staged_since: None }))
            .collect();
        let used_bytes = held.values().map(|holding| holding.size_bytes).sum();
        let digest = SetDigest::of_fragments(held.keys());
        let (staged, listed, storing, reserved) = Default::default();
        Self { held, staged, listed, storing, reserved, used_bytes, digest, overstated: false }
    }

    pub fn has(&self, fragment: &Hash) -> bool {
        self.held.contains_key(fragment)
    }

    pub fn sizes(&self) -> BTreeMap<Hash, u64> {
        self.held.iter().map(|(hash, holding)| (*hash, holding.size_bytes)).collect()
    }

    pub const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub fn digest(&self) -> Hash {
        self.digest.hash()
    }

    pub fn count(&self) -> u64 {
        self.held.len() as u64
    }

    pub fn staged_count(&self) -> usize {
        self.staged.len()
    }

    pub fn free_bytes(&self, capacity_bytes: u64) -> u64 {
        let storing: u64 = self.storing.values().map(|(size_bytes, _)| size_bytes).sum();
        let reserved: u64 = self.reserved.values().map(|reservation| reservation.size_bytes).sum();
        capacity_bytes.saturating_sub(self.used_bytes + storing + reserved)
    }

    /// Reservations may go freely: nothing was promised with them.
    pub fn forget_reservations(&mut self) {
        self.reserved.clear();
    }

    pub fn expire_reservations(&mut self, now: Moment) {
        if self.next_expiry().is_some_and(|at| at <= now) {
            self.reserved.retain(|_, reservation| reservation.until > now);
        }
    }

    pub fn next_expiry(&self) -> Option<Moment> {
        self.reserved.values().map(|reservation| reservation.until).min()
    }

    /// Everything held, with its sizes in bytes, as a request to join lists it.
    pub fn list(&mut self) -> BTreeMap<Hash, u64> {
        self.listed = self.staged.clone();
        self.overstated = false;
        self.sizes()
    }

    /// Whether the last list has fragments that went bad since.
    pub const fn is_overstated(&self) -> bool {
        self.overstated
    }

    /// The join was confirmed, so nothing that it listed waits for an *Ended* any more.
    pub fn confirm_listed(&mut self) {
        for hash in std::mem::take(&mut self.listed) {
            self.confirm(&hash);
        }
    }

    pub fn staged_before(&self, now: Moment, age: Duration, at_most: usize) -> Vec<Hash> {
        let is_old = |hash: &&Hash| {
            let since = self.held.get(*hash).and_then(|holding| holding.staged_since);
            since.is_some_and(|since| now.since(since) >= age)
        };
        self.staged.iter().filter(is_old).take(at_most).copied().collect()
    }

    fn stage(&mut self, hash: Hash, size_bytes: u64, now: Moment) {
        self.hold(hash, Holding { size_bytes, staged_since: Some(now) });
        self.staged.insert(hash);
    }

    fn hold(&mut self, hash: Hash, holding: Holding) {
        if self.held.insert(hash, holding).is_none() {
            self.used_bytes += holding.size_bytes;
            self.digest.add_fragment(&hash);
        }
    }

    fn confirm(&mut self, hash: &Hash) {
        if let Some(holding) = self.held.get_mut(hash) {
            holding.staged_since = None;
        }
        self.staged.remove(hash);
    }

    fn remove(&mut self, hash: &Hash) -> bool {
        self.staged.remove(hash);
        let Some(holding) = self.held.remove(hash) else { return false };
        self.used_bytes -= holding.size_bytes;
        self.digest.remove_fragment(hash);
        true
    }
}

impl Torrent {
    /// Asks for the fragment if the placement says that it falls to this torrent, and there is room.
    pub(super) fn handle_started(&mut self, id: EventId, started: &FragmentDistributionStarted, now: Moment) {
        let (hash, size_bytes) = (started.hash, started.size_bytes);
        let me = &self.config.client;
        if !self.membership.is_registered() || self.view.holds(me, &hash) {
            return;
        }
        if self.holdings.staged.contains(&hash) && self.tracker.has(Feature::Log) {
            // An earlier attempt brought it, and the tracker does not know: its bytes need not come again.
            self.say(FragmentDistributionObtained { hash }, Some(id));
            return;
        }
        let has_room = self.holdings.reserved.contains_key(&hash)
            || self.holdings.has(&hash)
            || self.holdings.free_bytes(self.config.capacity_bytes) >= size_bytes;
        let target = self.copies().target(self.view.clients().len());
        let missing = target.saturating_sub(self.view.holder_count(&hash)).max(1);
        let attempt = usize::try_from(started.attempt.unwrap_or(0)).unwrap_or(usize::MAX);
        let addressed = missing.saturating_add(SPARE_CANDIDATES).saturating_add(attempt.saturating_mul(2));
        let addressed = ranked(&self.view, target, &hash, addressed, |_, _| true);
        if !has_room || !addressed.contains(me) {
            return;
        }
        let until = now + self.config.limits.reservation;
        self.holdings.reserved.insert(hash, Reservation { size_bytes, until });
        self.say(FragmentDistributionRequested { hash }, None);
    }

    pub(super) fn handle_delivered(&mut self, id: EventId, delivered: FragmentDistributionDelivered) {
        let FragmentDistributionDelivered { hash, data, receivers } = delivered;
        if !self.membership.is_registered() || !receivers.contains(&self.config.client) {
            return;
        }
        if self.holdings.has(&hash) {
            self.say(FragmentDistributionObtained { hash }, Some(id));
            return;
        }
        if self.holdings.storing.contains_key(&hash) {
            return;
        }
        let size_bytes = data.len() as u64;
        let reserved = self.holdings.reserved.remove(&hash);
        let expected = self.view.fragment_bytes(&hash).or(reserved.map(|reservation| reservation.size_bytes));
        if let Some(expected) = expected.filter(|expected| *expected != size_bytes) {
            return self.fail(hash, id, format!("{size_bytes} bytes came, {expected} were announced"));
        }
        if self.holdings.free_bytes(self.config.capacity_bytes) < size_bytes {
            return self.fail(hash, id, "no room".into());
        }
        self.holdings.storing.insert(hash, (size_bytes, id));
        self.commands.push_back(TorrentCommand::Store { fragment: hash, data });
    }

    fn fail(&mut self, hash: Hash, in_reply_to: EventId, reason: String) {
        self.say(FragmentDistributionFailed { hash, reason: Some(reason) }, Some(in_reply_to));
    }

    /// From the *Obtained* on the bytes are promised: they go only on an order (S3).
    pub(super) fn handle_stored(&mut self, fragment: Hash, result: Result<u64, String>, now: Moment) {
        let Some((_, id)) = self.holdings.storing.remove(&fragment) else { return };
        let is_deleted = self.membership.is_registered()
            && self.tracker.has(Feature::Log)
            && self.view.fragment_bytes(&fragment).is_none();
        match result {
            Ok(_) if is_deleted => {
                // Its file went while it was being written, and nothing was promised for it yet.
                self.order_deletion(vec![fragment]);
                self.fail(fragment, id, "no file uses it any more".into());
            }
            Ok(size_bytes) => {
                self.holdings.stage(fragment, size_bytes, now);
                if self.membership.is_registered() {
                    self.say(FragmentDistributionObtained { hash: fragment }, Some(id));
                }
            }
            Err(reason) if self.membership.is_registered() => self.fail(fragment, id, reason),
            Err(_) => {}
        }
    }

    /// A distribution ended and the view has it. A torrent that is named a holder and has nothing joins again, so that its inventory
    /// sets the tracker right.
    pub(super) fn settle(&mut self, fragment: Hash, now: Moment) {
        self.holdings.reserved.remove(&fragment);
        if !self.view.holds(&self.config.client, &fragment) {
            return;
        }
        if self.holdings.has(&fragment) {
            self.holdings.confirm(&fragment);
        } else {
            self.leave(now, "the tracker counts on a fragment that is not here");
        }
    }

    /// What is damaged is given up, and nothing is deleted for it: the store may be taking a good copy. Its inventory tells the tracker, so
    /// the torrent joins again. A join that is under way is not disturbed: it is followed by another, so that a disk that fails piece by
    /// piece does not keep the torrent from ever joining.
    pub(super) fn handle_damaged(&mut self, mut fragments: Vec<Hash>, now: Moment) {
        fragments.iter().for_each(|hash| self.undeleted.forget(hash));
        fragments.retain(|hash| self.holdings.remove(hash));
        if fragments.is_empty() {
            return;
        }
        self.holdings.overstated = true;
        self.notices.push_back(Notice::Damaged(fragments));
        if self.membership.is_registered() {
            self.tell_of_damage(now);
        }
    }

    pub(super) fn tell_of_damage(&mut self, now: Moment) {
        self.join_now(now, "damaged fragments are no longer here");
    }

    /// An *Ended* that is only an answer.
    pub(super) fn settle_answer(&mut self, event: &TrackerEvent) {
        if let TrackerEvent::FragmentDistributionEnded(ended) = event {
            self.holdings.reserved.remove(&ended.hash);
            if ended.receivers.contains(&self.config.client) {
                self.holdings.confirm(&ended.hash);
            }
        }
    }

    /// A file with these fragments is no more: those go that nothing else needs.
    pub(super) fn delete_unused(&mut self, fragments: BTreeSet<Hash>) {
        let unused = fragments.iter().filter(|hash| self.view.fragment_bytes(hash).is_none());
        let unused: Vec<Hash> = unused.copied().collect();
        self.holdings.reserved.retain(|hash, _| !unused.contains(hash));
        self.delete(unused.iter());
    }

    pub(super) fn delete<'a>(&mut self, fragments: impl Iterator<Item = &'a Hash>) {
        let held = fragments.filter(|hash| self.holdings.remove(hash)).copied().collect();
        self.order_deletion(held);
    }

    /// Whether one of them could not be deleted before does not matter any more: this deletion will tell.
    fn order_deletion(&mut self, fragments: Vec<Hash>) {
        fragments.iter().for_each(|fragment| self.undeleted.forget(fragment));
        if !fragments.is_empty() {
            self.commands.push_back(TorrentCommand::Delete { fragments });
        }
    }

    /// The bytes are still here. Until they are tried again nobody counts on them.
    pub(super) fn handle_not_deleted(&mut self, fragments: Vec<Hash>, now: Moment) {
        self.undeleted.add(fragments, now, self.config.limits.retry_delay, &mut self.draw);
    }

    /// What could not be deleted goes now. What a file needs by now is held again, as after a start: the order to delete it may be out of date,
    /// so the torrent joins, and is ordered anew or keeps it. One that is not registered does not know what is needed.
    pub(super) fn poll_undeleted(&mut self, now: Moment) {
        let mut left = self.undeleted.take_due(now);
        left.retain(|fragment| !self.holdings.has(fragment));
        let is_registered = self.membership.is_registered();
        let (left, later): (Vec<Hash>, Vec<Hash>) = left
            .into_iter()
            .partition(|fragment| is_registered && !self.holdings.storing.contains_key(fragment));
        self.handle_not_deleted(later, now);
        let mut unused = Vec::new();
        let mut is_needed = false;
        for fragment in left {
            if let Some(size_bytes) = self.view.fragment_bytes(&fragment) {
                self.holdings.hold(fragment, Holding { size_bytes, staged_since: None });
                is_needed = true;
            } else {
                unused.push(fragment);
            }
        }
        self.order_deletion(unused);
        if is_needed {
            self.join_now(now, "fragments that could not be deleted are still here");
        }
    }
}
