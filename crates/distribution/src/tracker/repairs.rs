//! Repair: a fragment that has fewer holders than it should, while the tracker no longer has its bytes, gets new ones (S16).
//!
//! The tracker fetches the bytes from a holder and distributes them as if they had just been uploaded, so that there is one way only in
//! which copies come to be. The fewer copies are left, the sooner.
//!
//! A torrent that has just gone is *absent* for `repair_after`: what it held is expected back with it. What it does not bring back, or has
//! not brought back by then, is *wanted*; so is, at once, what an inventory or a scrub misses.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{ClientId, Hash};

use super::Tracker;
use super::waiting::Waiting;
use crate::command::{Audience, TrackerCommand};
use crate::limits::TrackerLimits;
use crate::rules::Rule;
use crate::time::Moment;

/// A torrent that was registered and may come back with what it held.
#[derive(Debug)]
struct Absent {
    until: Moment,
    /// In order.
    held: Vec<Hash>,
}

/// What was tried to get the bytes of a fragment.
#[derive(Debug, Clone, Default)]
struct Fetches {
    failures: u32,
    /// Who did not give them. They are the last to be asked again.
    failed: BTreeSet<ClientId>,
}

#[derive(Debug)]
struct Fetching {
    source: ClientId,
    size_bytes: u64,
    /// How many there were when it was asked for.
    copies: usize,
    before: Fetches,
    deadline: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Fetched {
    size_bytes: u64,
    /// How many there were when it came.
    copies: usize,
}

/// Why a holder did not give a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchError {
    /// It could not be asked, or broke off.
    Unreachable,
    /// It says that it does not have the fragment, or no longer as it was.
    NotHeld,
    /// The tracker could not store it.
    NotStored,
}

/// Where each fragment stands that lacks holders and whose bytes the tracker does not have.
#[derive(Debug, Default)]
pub struct Repairs {
    absent: BTreeMap<ClientId, Absent>,
    /// What is to be fetched, with the number of copies it had when that was found.
    wanted: BTreeMap<Hash, (usize, Fetches)>,
    /// The same, fewest copies first.
    order: BTreeSet<(usize, Hash)>,
    fetching: BTreeMap<Hash, Fetching>,
    /// Fetched, and not yet distributed: so many at most.
    fetched: BTreeMap<Hash, Fetched>,
    waiting: Waiting<Fetches>,
    /// There is nobody to give it, or nobody to take it.
    stuck: BTreeSet<Hash>,
    /// When the whole view is looked through: after a start nobody remembers who had gone before.
    look_through_at: Option<Moment>,
}

impl Repairs {
    /// How many fragments lack holders and wait for their bytes.
    pub fn pending(&self) -> usize {
        self.wanted.len() + self.fetching.len() + self.waiting.len() + self.stuck.len()
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        let absent = self.absent.values().map(|absent| absent.until).min();
        let fetching = self.fetching.values().map(|fetching| fetching.deadline).min();
        [absent, fetching, self.waiting.next_due(), self.look_through_at].into_iter().flatten().min()
    }

    /// The torrent is gone, and what it held (in order) is expected back with it until then.
    pub fn await_return_of(&mut self, client: ClientId, held: Vec<Hash>, until: Moment) {
        self.absent.insert(client, Absent { until, held });
    }

    /// What was expected of the torrent, which is back.
    pub fn is_back(&mut self, client: &ClientId) -> Vec<Hash> {
        self.absent.remove(client).map(|absent| absent.held).unwrap_or_default()
    }

    /// How many absent torrents may bring the fragment back, without those whose copies do not count.
    fn awaited(&self, fragment: &Hash, draining: &BTreeSet<ClientId>) -> usize {
        let counted = self.absent.iter().filter(|(client, _)| !draining.contains(client));
        counted.filter(|(_, absent)| absent.held.binary_search(fragment).is_ok()).count()
    }

    /// Whether the whole view will be looked through, once whoever may come after a start has had its time.
    pub const fn will_look_through(&self) -> bool {
        self.look_through_at.is_some()
    }

    /// How many torrents may come back, without those that need not be counted on.
    pub fn absent_besides(&self, others: &BTreeSet<ClientId>) -> usize {
        self.absent.keys().filter(|client| !others.contains(client)).count()
    }

    fn knows(&self, fragment: &Hash) -> bool {
        self.wanted.contains_key(fragment)
            || self.fetching.contains_key(fragment)
            || self.waiting.contains(fragment)
            || self.stuck.contains(fragment)
    }

    fn want(&mut self, fragment: Hash, copies: usize, fetches: Fetches) {
        self.order.insert((copies, fragment));
        self.wanted.insert(fragment, (copies, fetches));
    }

    fn take_first(&mut self) -> Option<(Hash, Fetches)> {
        let (_, fragment) = self.order.pop_first()?;
        self.wanted.remove(&fragment).map(|(_, fetches)| (fragment, fetches))
    }

    /// Nothing more is done for the fragment; what is being fetched is not taken.
    pub fn forget(&mut self, fragment: &Hash) {
        if let Some((copies, _)) = self.wanted.remove(fragment) {
            self.order.remove(&(copies, *fragment));
        }
        self.waiting.remove(fragment);
        self.fetching.remove(fragment);
        self.fetched.remove(fragment);
        self.stuck.remove(fragment);
    }

    /// What was being fetched is wanted again: nobody knows what becomes of it.
    pub fn abort_all(&mut self) {
        for (fragment, fetching) in std::mem::take(&mut self.fetching) {
            self.want(fragment, fetching.copies, fetching.before);
        }
    }

    /// Whether one more may be fetched, of which there are so many copies. What is fetched and finds nobody to take it, as a torrent that is
    /// ill may be the only one for it, does not hold up what has fewer.
    fn has_room_for(&self, copies: usize, size_bytes: u64, limits: &TrackerLimits) -> bool {
        let fetched = self.fetched.values().filter(|fetched| fetched.copies <= copies);
        let (fetched, fetched_bytes) =
            fetched.fold((0, 0), |(count, bytes), fetched| (count + 1, bytes + fetched.size_bytes));
        let count = self.fetching.len() + fetched;
        let bytes = self.fetching.values().map(|fetching| fetching.size_bytes).sum::<u64>() + fetched_bytes;
        count == 0
            || (self.fetching.len() < limits.fetches_at_once
                && count < limits.fragments_in_flight
                && bytes + size_bytes <= limits.in_flight_bytes)
    }

    fn fetches_from(&self, source: &ClientId) -> usize {
        self.fetching.values().filter(|fetching| fetching.source == *source).count()
    }
}

impl Tracker {
    /// Looks at a fragment of which a copy may be missing, and has it repaired if nobody is expected to bring it back.
    pub(super) fn consider_repair(&mut self, fragment: Hash) {
        let missing = self.missing_copies(&fragment);
        if missing == 0
            || !Rule::Repair.is_kept()
            || !self.view.is_in_a_file(&fragment)
            || self.distributions.owns(&fragment)
            || self.repairs.knows(&fragment)
            || self.repairs.awaited(&fragment, &self.view.orders().draining) >= missing
        {
            return;
        }
        self.want_repair(fragment, Fetches::default());
    }

    /// Puts the fragment in its place: the fewer copies there are, the sooner.
    fn want_repair(&mut self, fragment: Hash, fetches: Fetches) {
        let copies = self.copies(&fragment);
        self.repairs.want(fragment, copies, fetches);
    }

    /// The same for every fragment of the view: the number of copies aimed at has changed, or nobody remembers who had gone.
    pub(super) fn consider_repair_of_all(&mut self) {
        let lacking: Vec<Hash> = self.view.fragments().map(|(fragment, _)| fragment).collect();
        lacking.into_iter().for_each(|fragment| self.consider_repair(fragment));
    }

    /// A start: everybody who was registered is expected back, and so, for as long, is whoever had gone before.
    pub(super) fn await_return_of_all(&mut self, clients: &[ClientId], now: Moment) {
        self.repairs.abort_all();
        let until = now + self.config.repair_after;
        for client in clients {
            let held = self.view.inventory(client).into_iter().collect();
            self.repairs.await_return_of(client.clone(), held, until);
        }
        self.repairs.look_through_at.get_or_insert(until);
    }

    pub(super) fn poll_repairs(&mut self, now: Moment) {
        if self.repairs.look_through_at.is_some_and(|at| at <= now) {
            self.repairs.look_through_at = None;
            self.consider_repair_of_all();
        }
        let over = self.repairs.absent.iter().filter(|(_, absent)| absent.until <= now);
        let over: Vec<ClientId> = over.map(|(client, _)| client.clone()).collect();
        for client in over {
            self.repairs.is_back(&client).into_iter().for_each(|fragment| self.consider_repair(fragment));
            self.release_confirmed();
        }
        while let Some((fragment, fetches)) = self.repairs.waiting.take_due(now) {
            self.want_repair(fragment, fetches);
        }
        let late = self.repairs.fetching.iter().filter(|(_, fetching)| fetching.deadline <= now);
        let late: Vec<Hash> = late.map(|(fragment, _)| *fragment).collect();
        for fragment in late {
            self.fetch_failed(fragment, FetchError::Unreachable, now);
        }
        let distributions = &self.distributions;
        self.repairs.fetched.retain(|fragment, _| distributions.is_undistributed(fragment));
        self.start_fetches(now);
    }

    fn start_fetches(&mut self, now: Moment) {
        while let Some((_, fragment)) = self.repairs.order.first().copied() {
            let size_bytes = self.view.fragment_bytes(&fragment).unwrap_or(0);
            let copies = self.copies(&fragment);
            if !self.repairs.has_room_for(copies, size_bytes, &self.config.limits) {
                break;
            }
            let Some((fragment, fetches)) = self.repairs.take_first() else { break };
            let is_settled = !self.view.is_in_a_file(&fragment)
                || self.distributions.owns(&fragment)
                || self.missing_copies(&fragment) == 0;
            if is_settled {
                continue;
            }
            let source = self.source_of(&fragment, &fetches);
            match source.filter(|_| !self.candidates(&fragment, size_bytes, 1).is_empty()) {
                Some(source) => self.fetch(fragment, size_bytes, source, fetches, now),
                None => drop(self.repairs.stuck.insert(fragment)),
            }
        }
    }

    /// The holder to ask: one that was not asked in vain, whose connection stands, and of whom least is asked already.
    fn source_of(&self, fragment: &Hash, fetches: &Fetches) -> Option<ClientId> {
        let endpoints = |client| self.view.client(client).map(|known| known.registration.endpoints.len());
        let holders = self.view.holders(fragment).filter(|holder| endpoints(holder).unwrap_or(0) > 0);
        let source = holders.min_by_key(|holder| {
            let failed = fetches.failed.contains(holder);
            (failed, !self.members.takes_fragments(holder), self.repairs.fetches_from(holder))
        });
        source.cloned()
    }

    fn fetch(&mut self, fragment: Hash, size_bytes: u64, source: ClientId, before: Fetches, now: Moment) {
        let Some(client) = self.view.client(&source) else { return };
        let endpoints = client.registration.endpoints.clone();
        let deadline = now + self.config.limits.fetch_timeout;
        let copies = self.copies(&fragment);
        let fetching = Fetching { source: source.clone(), size_bytes, copies, before, deadline };
        self.repairs.fetching.insert(fragment, fetching);
        self.commands.push_back(TrackerCommand::Fetch { fragment, size_bytes, source, endpoints });
    }

    /// The bytes are checked and durable in the tracker's own store, or why not.
    pub(super) fn handle_fetched(
        &mut self,
        fragment: Hash,
        source: &ClientId,
        result: Result<(), FetchError>,
        now: Moment,
    ) {
        if let Err(error) = result {
            // Somebody else may be asked by now, of whom that says nothing.
            if self.repairs.fetching.get(&fragment).is_some_and(|fetching| fetching.source == *source) {
                self.fetch_failed(fragment, error, now);
            }
            return;
        }
        // However late they come, they are here.
        let size_bytes = self.view.fragment_bytes(&fragment).unwrap_or(0);
        self.keep(&[fragment]);
        self.borrow(fragment);
        if self.view.is_in_a_file(&fragment) {
            let copies = self.copies(&fragment);
            self.repairs.fetched.insert(fragment, Fetched { size_bytes, copies });
            self.enqueue(fragment);
        } else {
            self.discard(vec![fragment]);
        }
    }

    fn fetch_failed(&mut self, fragment: Hash, error: FetchError, now: Moment) {
        let Some(fetching) = self.repairs.fetching.remove(&fragment) else { return };
        let Fetching { source, copies, before: mut fetches, .. } = fetching;
        if error == FetchError::NotHeld && self.view.holds(&source, &fragment) {
            // Its inventory will set the view right (S9).
            self.say_hello(Audience::One(source.clone()));
        }
        let others = self.view.holders(&fragment).filter(|holder| !fetches.failed.contains(*holder)).count();
        fetches.failed.insert(source);
        fetches.failures += 1;
        if others > 1 && error != FetchError::NotStored {
            return self.repairs.want(fragment, copies, fetches);
        }
        let until = now + self.draw.backoff(self.config.limits.retry_delay, fetches.failures);
        self.repairs.waiting.insert(fragment, until, fetches);
    }

    /// The fragment has a new holder, who can be asked.
    pub(super) fn wake_repair(&mut self, fragment: Hash) {
        self.repairs.stuck.remove(&fragment);
        self.consider_repair(fragment);
    }

    /// A torrent takes fragments now, or gives some: what could not be repaired may be.
    pub(super) fn wake_repairs(&mut self) {
        for fragment in std::mem::take(&mut self.repairs.stuck) {
            self.consider_repair(fragment);
        }
        for (fragment, mut fetches) in self.repairs.waiting.take_all() {
            fetches.failed.clear();
            self.want_repair(fragment, fetches);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_holds_up_nothing_that_has_fewer_copies() {
        let limits = TrackerLimits::default();
        let mut repairs = Repairs::default();
        for number in 0..limits.fragments_in_flight {
            assert!(repairs.has_room_for(2, 1000, &limits));
            let fragment = Hash::of(&number.to_be_bytes());
            repairs.fetched.insert(fragment, Fetched { size_bytes: 1000, copies: 2 });
        }
        assert!(!repairs.has_room_for(2, 1000, &limits));
        assert!(!repairs.has_room_for(3, 1000, &limits));
        assert!(repairs.has_room_for(1, 1000, &limits));
    }
}
