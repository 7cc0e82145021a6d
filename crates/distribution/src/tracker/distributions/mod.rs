//! Fragment Distribution, the tracker's side: started, requested, delivered, obtained, ended; many fragments at once.
//!
//! A fragment of the tracker's own store is in one of these places: *queued* (to be started), *in flight*, *waiting* (to be tried again
//! later, or when a torrent registers), or *releasable* (enough holders; the bytes go when they have confirmed it). Failures of the
//! procedure end in *waiting*, never in a loss: the bytes stay until enough holders have confirmed.
//!
//! This file keeps the books; `attempt` is the conversation, `flight` one fragment in it, `release` the end of the tracker's own bytes.

mod attempt;
mod flight;
mod release;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::{ClientId, Hash, Revision};

use crate::limits::TrackerLimits;
use crate::time::Moment;
use crate::tracker::waiting::Waiting;
use crate::undeleted::Undeleted;

use flight::InFlight;

/// What was tried with a fragment before.
#[derive(Debug, Clone, Default)]
struct Tries {
    attempts: u32,
    /// Who did not obtain it. They are the last to be asked again.
    failed: BTreeSet<ClientId>,
}

/// After a start, torrents come back with what they hold: until they have, nobody knows what lacks holders.
#[derive(Debug)]
struct Returning {
    /// Who was registered before and is not back.
    clients: BTreeSet<ClientId>,
    until: Moment,
}

/// Own bytes that no file needed when the tracker came online: what is left of uploads that did not end, as a rule. But where the tracker
/// has lost its view they may be the only copy of something accepted, and the files come back with the torrents (S8).
#[derive(Debug, Default)]
struct Leftovers {
    fragments: BTreeSet<Hash>,
    until: Moment,
}

/// Where each fragment of the tracker's own store stands.
#[derive(Debug, Default)]
pub struct Distributions {
    own: BTreeSet<Hash>,
    /// Those of them that were fetched from a holder, to make more copies: the holder still has them.
    borrowed: BTreeSet<Hash>,
    queue: VecDeque<(Hash, Tries)>,
    queued: BTreeSet<Hash>,
    in_flight: BTreeMap<Hash, InFlight>,
    in_flight_bytes: u64,
    waiting: Waiting<Tries>,
    releasable: BTreeMap<Hash, Revision>,
    returning: Option<Returning>,
    leftovers: Leftovers,
    /// Own bytes that were let go of and are still on the disk.
    undeleted: Undeleted,
    /// Whether the view was lost and not everybody had time to bring it back.
    may_have_forgotten: bool,
}

impl Distributions {
    pub fn new(own: impl IntoIterator<Item = Hash>, may_have_forgotten: bool) -> Self {
        Self { own: own.into_iter().collect(), may_have_forgotten, ..Self::default() }
    }

    /// The tracker answers for these fragments until enough holders have them.
    pub fn own(&mut self, fragments: impl IntoIterator<Item = Hash>) {
        for fragment in fragments {
            self.borrowed.remove(&fragment);
            self.leftovers.fragments.remove(&fragment);
            self.own.insert(fragment);
        }
    }

    /// The bytes were fetched from a holder. Those that the tracker answers for already it goes on answering for.
    pub fn borrow(&mut self, fragment: Hash) {
        if self.own.insert(fragment) {
            self.borrowed.insert(fragment);
        }
    }

    pub fn owns(&self, fragment: &Hash) -> bool {
        self.own.contains(fragment)
    }

    /// How many fragments wait for holders or are on their way to them, as far as is known yet.
    pub fn undistributed(&self) -> usize {
        match &self.returning {
            Some(_) => self.own.len(),
            None => self.queued.len() + self.in_flight.len() + self.waiting.len(),
        }
    }

    /// Whether bytes were delivered to the torrent of which nothing is known yet.
    pub fn is_receiver(&self, client: &ClientId) -> bool {
        self.in_flight.values().any(|flight| flight.is_receiver(client))
    }

    /// Nothing is distributed before these torrents and those awaited already are back, or `until` has passed.
    ///
    /// Who was registered before may be forgotten (a start right after another), so own bytes alone are a reason to wait.
    pub fn await_return_of(
        &mut self,
        clients: impl IntoIterator<Item = ClientId>,
        now: Moment,
        until: Moment,
    ) {
        let mut awaited = self.returning.take().map(|returning| returning.clients).unwrap_or_default();
        awaited.extend(clients);
        let until = if self.own.is_empty() { now } else { until };
        self.returning = Some(Returning { clients: awaited, until });
    }

    /// Whether nothing is distributed yet because torrents are coming back.
    pub const fn awaits_returns(&self) -> bool {
        self.returning.is_some()
    }

    /// Whether the fragment waits for holders or is on its way to them.
    pub fn is_undistributed(&self, fragment: &Hash) -> bool {
        self.queued.contains(fragment)
            || self.in_flight.contains_key(fragment)
            || self.waiting.contains(fragment)
    }

    fn is_back(&mut self, client: &ClientId, now: Moment) {
        if let Some(returning) = &mut self.returning
            && returning.clients.remove(client)
            && returning.clients.is_empty()
        {
            returning.until = now;
        }
    }

    fn wake_all(&mut self) {
        self.waiting.take_all().for_each(|(fragment, tries)| self.enqueue(fragment, tries));
    }

    pub fn abort_all(&mut self) {
        self.in_flight_bytes = 0;
        let aborted = std::mem::take(&mut self.in_flight);
        aborted.into_iter().for_each(|(fragment, flight)| self.enqueue(fragment, flight.tries));
    }

    pub fn next_deadline(&self, limits: &TrackerLimits) -> Option<Moment> {
        if let Some(returning) = &self.returning {
            return Some(returning.until);
        }
        let flights = self.in_flight.values().map(|flight| flight.deadline(limits)).min();
        let leftovers = self.may_have_forgotten.then_some(self.leftovers.until);
        let deletions = leftovers.into_iter().chain(self.undeleted.next_due());
        flights.into_iter().chain(self.waiting.next_due()).chain(deletions).min()
    }

    fn enqueue(&mut self, fragment: Hash, tries: Tries) {
        if self.own.contains(&fragment)
            && !self.in_flight.contains_key(&fragment)
            && self.queued.insert(fragment)
        {
            self.waiting.remove(&fragment);
            self.releasable.remove(&fragment);
            self.queue.push_back((fragment, tries));
        }
    }

    fn dequeue(&mut self) -> Option<(Hash, Tries)> {
        let (fragment, tries) = self.queue.pop_front()?;
        self.queued.remove(&fragment);
        Some((fragment, tries))
    }

    fn take_off(&mut self, fragment: Hash, flight: InFlight) {
        self.in_flight_bytes += flight.size_bytes;
        self.in_flight.insert(fragment, flight);
    }

    fn land(&mut self, fragment: &Hash) -> Option<InFlight> {
        let flight = self.in_flight.remove(fragment)?;
        self.in_flight_bytes -= flight.size_bytes;
        Some(flight)
    }

    /// The bytes are no longer the tracker's. What is in flight with them lands by itself, and what is queued is passed over.
    fn disown(&mut self, fragment: &Hash) {
        self.own.remove(fragment);
        self.leftovers.fragments.remove(fragment);
        self.borrowed.remove(fragment);
        self.releasable.remove(fragment);
        self.waiting.remove(fragment);
    }
}
