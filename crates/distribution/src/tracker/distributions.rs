//! Fragment Distribution, the tracker's side: started, requested, delivered, obtained, ended; many fragments at once.
//!
//! A fragment of the tracker's own store is in one of these places: *queued* (to be started), *in flight*, *waiting* (to be tried again
//! later, or when a torrent registers), or *releasable* (enough holders; the bytes go when they have confirmed it). Failures of the
//! procedure end in *waiting*, never in a loss: the bytes stay until enough holders have confirmed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::event::{FragmentDistributionEnded, FragmentDistributionStarted, Issuer};
use protocol::{ClientId, EventId, Feature, Hash, Revision};

use super::Tracker;
use crate::candidates::ranked;
use crate::command::{Audience, TrackerCommand};
use crate::limits::{SPARE_CANDIDATES, TrackerLimits};
use crate::time::Moment;
use crate::view::Change;

#[derive(Debug)]
enum Phase {
    /// *Started* was said.
    Offered { requested: BTreeSet<ClientId> },
    /// *Delivered* was said.
    Delivered {
        receivers: BTreeSet<ClientId>,
        obtained: BTreeSet<ClientId>,
        failed: BTreeSet<ClientId>,
        since: Moment,
    },
}

#[derive(Debug)]
struct InFlight {
    size_bytes: u64,
    attempt: u32,
    started: Moment,
    /// Who should hold it, best first.
    ranked: Vec<ClientId>,
    /// How many holders it lacks.
    missing: usize,
    phase: Phase,
}

impl InFlight {
    fn deadline(&self, limits: &TrackerLimits) -> Moment {
        match &self.phase {
            Phase::Offered { requested } if requested.is_empty() => {
                self.started + limits.distribution_timeout
            }
            Phase::Offered { .. } => self.started + limits.request_window,
            Phase::Delivered { since, .. } => *since + limits.distribution_timeout,
        }
    }

    /// Whether everybody who is asked first has asked.
    fn preferred_have_asked(&self) -> bool {
        match &self.phase {
            Phase::Offered { requested } => {
                self.ranked.iter().take(self.missing).all(|client| requested.contains(client))
            }
            Phase::Delivered { .. } => false,
        }
    }

    fn all_answered(&self) -> bool {
        match &self.phase {
            Phase::Offered { .. } => false,
            Phase::Delivered { receivers, obtained, failed, .. } => {
                receivers.iter().all(|client| obtained.contains(client) || failed.contains(client))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    attempt: u32,
    until: Moment,
}

/// Where each fragment of the tracker's own store stands.
#[derive(Debug, Default)]
pub struct Distributions {
    own: BTreeSet<Hash>,
    queue: VecDeque<(Hash, u32)>,
    queued: BTreeSet<Hash>,
    in_flight: BTreeMap<Hash, InFlight>,
    in_flight_bytes: u64,
    waiting: BTreeMap<Hash, Waiting>,
    alarms: BTreeSet<(Moment, Hash)>,
    releasable: BTreeMap<Hash, Revision>,
    /// Torrents that were registered before the last connection and may come back with what they hold.
    awaited: BTreeSet<ClientId>,
    settled_at: Option<Moment>,
}

impl Distributions {
    pub fn new(own: impl IntoIterator<Item = Hash>) -> Self {
        Self { own: own.into_iter().collect(), ..Self::default() }
    }

    pub fn own(&mut self, fragments: impl IntoIterator<Item = Hash>) {
        self.own.extend(fragments);
    }

    pub fn undistributed(&self) -> usize {
        self.queued.len() + self.in_flight.len() + self.waiting.len()
    }

    /// Nothing that may have had holders is distributed again before these torrents are back, or `settled_at` has passed.
    pub fn await_return_of(&mut self, clients: &[ClientId], settled_at: Moment) {
        self.awaited = clients.iter().cloned().collect();
        self.settled_at = Some(settled_at);
    }

    fn wake_all(&mut self) {
        self.alarms.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().for_each(|(fragment, waiting)| self.enqueue(fragment, waiting.attempt));
    }

    pub fn abort_all(&mut self) {
        let aborted: Vec<(Hash, u32)> = std::mem::take(&mut self.in_flight)
            .into_iter()
            .map(|(hash, flight)| (hash, flight.attempt))
            .collect();
        self.in_flight_bytes = 0;
        aborted.into_iter().for_each(|(fragment, attempt)| self.enqueue(fragment, attempt));
    }

    pub fn next_deadline(&self, limits: &TrackerLimits) -> Option<Moment> {
        let flights = self.in_flight.values().map(|flight| flight.deadline(limits)).min();
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [flights, alarm, self.settled_at].into_iter().flatten().min()
    }

    fn enqueue(&mut self, fragment: Hash, attempt: u32) {
        if self.own.contains(&fragment)
            && !self.in_flight.contains_key(&fragment)
            && self.queued.insert(fragment)
        {
            self.forget_waiting(&fragment);
            self.releasable.remove(&fragment);
            self.queue.push_back((fragment, attempt));
        }
    }

    fn wait(&mut self, fragment: Hash, waiting: Waiting) {
        self.alarms.insert((waiting.until, fragment));
        self.waiting.insert(fragment, waiting);
    }

    fn forget_waiting(&mut self, fragment: &Hash) {
        if let Some(waiting) = self.waiting.remove(fragment) {
            self.alarms.remove(&(waiting.until, *fragment));
        }
    }

    fn land(&mut self, fragment: &Hash) -> Option<InFlight> {
        let flight = self.in_flight.remove(fragment)?;
        self.in_flight_bytes -= flight.size_bytes;
        Some(flight)
    }
}

impl Tracker {
    fn target(&self) -> usize {
        self.config.copies.target(self.members.registered_count())
    }

    fn missing_copies(&self, fragment: &Hash) -> usize {
        self.target().saturating_sub(self.view.holder_count(fragment))
    }

    /// Sends a fragment of the own store on its way, or lets go of it.
    pub(super) fn enqueue_or_release(&mut self, fragment: Hash) {
        if self.missing_copies(&fragment) > 0 {
            self.distributions.enqueue(fragment, 0);
        } else {
            self.hold_until_confirmed(fragment);
        }
    }

    fn hold_until_confirmed(&mut self, fragment: Hash) {
        if self.distributions.own.contains(&fragment) {
            let revision = self.view.revision();
            if self.is_confirmed(&fragment, revision) {
                self.discard(vec![fragment]);
            } else {
                self.distributions.releasable.insert(fragment, revision);
            }
        }
    }

    pub(super) fn poll_distributions(&mut self, now: Moment) {
        self.poll_settled(now);
        while let Some((at, fragment)) =
            self.distributions.alarms.first().copied().filter(|(at, _)| *at <= now)
        {
            self.distributions.alarms.remove(&(at, fragment));
            let attempt = self.distributions.waiting.get(&fragment).map_or(0, |waiting| waiting.attempt);
            self.distributions.enqueue(fragment, attempt);
        }
        let limits = self.config.limits;
        let due = self.distributions.in_flight.iter().filter(|(_, flight)| flight.deadline(&limits) <= now);
        let due: Vec<Hash> = due.map(|(fragment, _)| *fragment).collect();
        due.into_iter().for_each(|fragment| self.handle_deadline(fragment, now));
        self.start_queued(now);
    }

    /// After a start, once whoever was registered before is back (or had its time): what still lacks holders is distributed.
    fn poll_settled(&mut self, now: Moment) {
        let settled = self
            .distributions
            .settled_at
            .is_some_and(|at| at <= now || self.distributions.awaited.is_empty());
        if !settled {
            return;
        }
        self.distributions.settled_at = None;
        let own: Vec<Hash> = self.distributions.own.iter().copied().collect();
        for fragment in own {
            if self.view.is_in_a_file(&fragment) {
                self.enqueue_or_release(fragment);
            } else {
                self.discard(vec![fragment]);
            }
        }
    }

    fn start_queued(&mut self, now: Moment) {
        let limits = self.config.limits;
        while let Some((fragment, attempt)) = self.distributions.queue.front().copied() {
            let size_bytes = self.view.fragment_bytes(&fragment).unwrap_or(0);
            let missing = self.missing_copies(&fragment);
            let window = limits.window(missing + SPARE_CANDIDATES);
            let flying = &self.distributions;
            let is_full = flying.in_flight.len() >= window
                || (!flying.in_flight.is_empty()
                    && flying.in_flight_bytes + size_bytes > limits.in_flight_bytes);
            if is_full {
                break;
            }
            self.distributions.queue.pop_front();
            self.distributions.queued.remove(&fragment);
            self.start(fragment, size_bytes, missing, attempt, now);
        }
    }

    fn start(&mut self, fragment: Hash, size_bytes: u64, missing: usize, attempt: u32, now: Moment) {
        if !self.view.is_in_a_file(&fragment) {
            return self.discard(vec![fragment]);
        }
        if missing == 0 {
            return self.hold_until_confirmed(fragment);
        }
        let ranked = self.candidates(&fragment, size_bytes, missing + SPARE_CANDIDATES);
        if ranked.is_empty() {
            let until = now + self.config.limits.retry_delay.1;
            return self.distributions.wait(fragment, Waiting { attempt, until });
        }
        let phase = Phase::Offered { requested: BTreeSet::new() };
        let flight = InFlight { size_bytes, attempt, started: now, ranked, missing, phase };
        self.distributions.in_flight.insert(fragment, flight);
        self.distributions.in_flight_bytes += size_bytes;
        let attempt = (attempt > 0).then_some(u64::from(attempt));
        self.say(Audience::All, FragmentDistributionStarted { hash: fragment, size_bytes, attempt });
    }

    pub(super) fn handle_requested(&mut self, issuer: &Issuer, fragment: Hash, now: Moment) {
        if !self.members.takes_fragments(&issuer.client) || self.view.holds(&issuer.client, &fragment) {
            return;
        }
        let window = self.config.limits.request_window;
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        let Phase::Offered { requested } = &mut flight.phase else { return };
        requested.insert(issuer.client.clone());
        if flight.preferred_have_asked() || now.since(flight.started) >= window {
            self.deliver(fragment, now);
        }
    }

    /// Picks the receivers among those who asked: the best ranked, then whoever else.
    fn deliver(&mut self, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        let Phase::Offered { requested } = &flight.phase else { return };
        let ranked = flight.ranked.iter().filter(|client| requested.contains(client));
        let others = requested.iter().filter(|client| !flight.ranked.contains(client));
        let receivers: BTreeSet<ClientId> = ranked.chain(others).take(flight.missing).cloned().collect();
        flight.phase = Phase::Delivered {
            receivers: receivers.clone(),
            obtained: BTreeSet::new(),
            failed: BTreeSet::new(),
            since: now,
        };
        let to = self.cheapest_audience(&receivers);
        let envelope = self.envelope(None, None);
        self.commands.push_back(TrackerCommand::Deliver { to, envelope, fragment, receivers });
    }

    /// One message that the broker copies to every torrent, or one for each receiver: whichever costs the broker fewer bytes.
    fn cheapest_audience(&self, receivers: &BTreeSet<ClientId>) -> Vec<Audience> {
        let has_own_topic = |client| {
            self.members.registered(client).is_some_and(|member| member.features.has(Feature::Direct))
        };
        let shared_cost = 1 + self.members.registered_count();
        let direct_cost = 2 * receivers.len();
        if direct_cost <= shared_cost && receivers.iter().all(has_own_topic) {
            receivers.iter().cloned().map(Audience::One).collect()
        } else {
            vec![Audience::All]
        }
    }

    pub(super) fn handle_obtained(&mut self, id: EventId, issuer: &Issuer, fragment: Hash, now: Moment) {
        let client = &issuer.client;
        if self.members.registered(client).is_none() {
            return;
        }
        if let Some(flight) = self.distributions.in_flight.get_mut(&fragment)
            && let Phase::Delivered { receivers, obtained, .. } = &mut flight.phase
            && receivers.contains(client)
        {
            obtained.insert(client.clone());
            if flight.all_answered() {
                self.end(fragment, now);
            }
            return;
        }
        // It comes late: the torrent keeps the bytes until it is answered (S12).
        let Some(size_bytes) = self.view.fragment_bytes(&fragment) else {
            return self.say_hello(Audience::One(client.clone()));
        };
        let receivers = BTreeSet::from([client.clone()]);
        let ended = FragmentDistributionEnded { hash: fragment, size_bytes, receivers: receivers.clone() };
        if self.view.holds(client, &fragment) {
            // *Ended* has no direct topic; the other torrents find nothing in it that they do not know.
            return self.answer(Audience::All, id, None, ended);
        }
        let change = Change::FragmentDistributed { hash: fragment, size_bytes, receivers };
        self.apply_all(std::slice::from_ref(&change));
        self.commit(vec![change], ended);
        let flight = self.distributions.in_flight.get(&fragment);
        let is_delivered = flight.is_some_and(|flight| matches!(flight.phase, Phase::Delivered { .. }));
        if self.missing_copies(&fragment) == 0 && !is_delivered {
            self.distributions.land(&fragment);
            self.distributions.forget_waiting(&fragment);
            self.hold_until_confirmed(fragment);
        }
    }

    pub(super) fn handle_failed(&mut self, issuer: &Issuer, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        match &mut flight.phase {
            Phase::Offered { requested } => drop(requested.remove(&issuer.client)),
            Phase::Delivered { failed, .. } => drop(failed.insert(issuer.client.clone())),
        }
        if flight.all_answered() {
            self.end(fragment, now);
        }
    }

    fn handle_deadline(&mut self, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.in_flight.get(&fragment) else { return };
        match &flight.phase {
            Phase::Offered { requested } if requested.is_empty() => self.end(fragment, now),
            Phase::Offered { .. } => self.deliver(fragment, now),
            Phase::Delivered { .. } => self.end(fragment, now),
        }
    }

    /// Every receiver answered, or had its time. Those that obtained become holders; if that is not enough, there will be another
    /// attempt.
    fn end(&mut self, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.land(&fragment) else { return };
        let size_bytes = flight.size_bytes;
        if let Phase::Delivered { obtained: receivers, .. } = flight.phase {
            let ended =
                FragmentDistributionEnded { hash: fragment, size_bytes, receivers: receivers.clone() };
            if receivers.is_empty() {
                self.say(Audience::All, ended);
            } else {
                let change = Change::FragmentDistributed { hash: fragment, size_bytes, receivers };
                self.apply_all(std::slice::from_ref(&change));
                self.commit(vec![change], ended);
            }
        }
        if self.missing_copies(&fragment) == 0 {
            self.hold_until_confirmed(fragment);
        } else {
            let (first, longest) = self.config.limits.retry_delay;
            let delay = first.saturating_mul(1 << flight.attempt.min(16)).min(longest);
            let until = now + self.draw.jittered(delay);
            self.distributions.wait(fragment, Waiting { attempt: flight.attempt + 1, until });
        }
    }

    /// The tracker's own bytes turn out to be unreadable: they are forgotten, and nothing more is tried with them.
    pub(super) fn handle_unreadable(&mut self, fragment: Hash) {
        self.distributions.own.remove(&fragment);
        if let Some(flight) = self.distributions.land(&fragment) {
            let ended = FragmentDistributionEnded {
                hash: fragment,
                size_bytes: flight.size_bytes,
                receivers: BTreeSet::new(),
            };
            self.say(Audience::All, ended);
        }
    }

    /// A torrent takes fragments now: whatever found no place may find one, and what it brought may be enough.
    pub(super) fn torrent_available(&mut self, client: &ClientId) {
        self.distributions.awaited.remove(client);
        self.distributions.wake_all();
        self.enqueue_lacking();
    }

    /// Where copies were enough and no longer are, while the tracker still has the bytes.
    fn enqueue_lacking(&mut self) {
        let lacking: Vec<Hash> = self
            .distributions
            .releasable
            .keys()
            .filter(|hash| self.missing_copies(hash) > 0)
            .copied()
            .collect();
        lacking.into_iter().for_each(|fragment| self.distributions.enqueue(fragment, 0));
    }

    /// A torrent is no longer registered: it answers nothing more, and what it held may lack a copy.
    pub(super) fn torrent_gone(&mut self, client: &ClientId, now: Moment) {
        for flight in self.distributions.in_flight.values_mut() {
            match &mut flight.phase {
                Phase::Offered { requested } => drop(requested.remove(client)),
                Phase::Delivered { receivers, obtained, .. } => {
                    receivers.remove(client);
                    obtained.remove(client);
                }
            }
        }
        let answered = self.distributions.in_flight.iter().filter(|(_, flight)| flight.all_answered());
        let answered: Vec<Hash> = answered.map(|(fragment, _)| *fragment).collect();
        answered.into_iter().for_each(|fragment| self.end(fragment, now));
        self.enqueue_lacking();
    }

    /// Whether enough holders have confirmed the change that made them holders (S6).
    fn is_confirmed(&self, fragment: &Hash, revision: Revision) -> bool {
        let confirmed = self.view.holders(fragment).filter(|holder| {
            self.members.registered(holder).is_some_and(|member| member.has_confirmed(revision))
        });
        confirmed.count() >= self.target()
    }

    /// Deletes the own bytes of every fragment that is safe with its holders.
    pub(super) fn release_confirmed(&mut self) {
        let releasable = self.distributions.releasable.iter();
        let released: Vec<Hash> = releasable
            .filter(|(fragment, revision)| self.is_confirmed(fragment, **revision))
            .map(|(fragment, _)| *fragment)
            .collect();
        if !released.is_empty() {
            self.discard(released);
        }
    }

    pub(super) fn discard(&mut self, fragments: Vec<Hash>) {
        for fragment in &fragments {
            self.distributions.own.remove(fragment);
            self.distributions.releasable.remove(fragment);
            self.distributions.forget_waiting(fragment);
        }
        self.commands.push_back(TrackerCommand::Discard { fragments });
    }

    /// The torrents that should hold the fragment, best first: registered, reachable, with room, and not holding it already.
    fn candidates(&self, fragment: &Hash, size_bytes: u64, count: usize) -> Vec<ClientId> {
        ranked(&self.view, fragment, count, |client, known| {
            let capacity_bytes = known.registration.capacity_bytes.unwrap_or(u64::MAX);
            self.members.takes_fragments(client)
                && capacity_bytes.saturating_sub(known.used_bytes) >= size_bytes
        })
    }
}
