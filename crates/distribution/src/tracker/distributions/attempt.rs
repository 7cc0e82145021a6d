//! One attempt to bring a fragment to holders: from *Started* to *Ended*.

use std::collections::BTreeSet;

use protocol::event::{FragmentDistributionEnded, FragmentDistributionStarted, Issuer};
use protocol::{ClientId, EventId, Feature, Hash};

use super::Tries;
use super::flight::{InFlight, Phase};
use crate::candidates::ranked;
use crate::command::{Audience, TrackerCommand};
use crate::limits::SPARE_CANDIDATES;
use crate::rules::Rule;
use crate::time::Moment;
use crate::tracker::Tracker;
use crate::view::Change;

impl Tracker {
    pub(in crate::tracker) fn poll_distributions(&mut self, now: Moment) {
        if !self.poll_returning(now) {
            return;
        }
        self.poll_leftovers(now);
        self.poll_undeleted(now);
        self.poll_repairs(now);
        while let Some((fragment, tries)) = self.distributions.waiting.take_due(now) {
            self.distributions.enqueue(fragment, tries);
        }
        let limits = self.config.limits;
        let due = self.distributions.in_flight.iter().filter(|(_, flight)| flight.deadline(&limits) <= now);
        let due: Vec<Hash> = due.map(|(fragment, _)| *fragment).collect();
        due.into_iter().for_each(|fragment| self.handle_deadline(fragment, now));
        self.start_queued(now);
    }

    fn start_queued(&mut self, now: Moment) {
        let limits = self.config.limits;
        while let Some(fragment) = self.distributions.queue.front().map(|(fragment, _)| *fragment) {
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
            let Some((fragment, tries)) = self.distributions.dequeue() else { break };
            self.start(fragment, size_bytes, missing, tries, now);
        }
    }

    fn start(&mut self, fragment: Hash, size_bytes: u64, missing: usize, tries: Tries, now: Moment) {
        if !self.distributions.owns(&fragment) {
            return;
        }
        if !self.view.is_in_a_file(&fragment) {
            return self.discard(vec![fragment]);
        }
        if missing == 0 {
            return self.hold_until_confirmed(fragment);
        }
        let count = missing + SPARE_CANDIDATES + tries.failed.len();
        let mut ranked = self.candidates(&fragment, size_bytes, count);
        ranked.sort_by_key(|client| tries.failed.contains(client));
        if ranked.is_empty() && self.distributions.borrowed.contains(&fragment) {
            // Nobody else can take it, so its holders are as many as there can be; when there can be more, it is fetched again.
            return self.hold_until_confirmed(fragment);
        }
        if ranked.is_empty() {
            let until = now + self.config.limits.retry_delay.1;
            return self.distributions.waiting.insert(fragment, until, tries);
        }
        let attempt = (tries.attempts > 0).then_some(u64::from(tries.attempts));
        let phase = Phase::Offered { requested: BTreeSet::new(), since: None };
        let flight = InFlight { size_bytes, tries, started: now, ranked, missing, phase };
        self.distributions.take_off(fragment, flight);
        self.say(Audience::All, FragmentDistributionStarted { hash: fragment, size_bytes, attempt });
    }

    /// The torrents that should hold the fragment, best first: registered, reachable, with room, and not holding it already.
    pub(in crate::tracker) fn candidates(
        &self,
        fragment: &Hash,
        size_bytes: u64,
        count: usize,
    ) -> Vec<ClientId> {
        ranked(&self.view, self.target(), fragment, count, |client, known| {
            let capacity_bytes = known.registration.capacity_bytes.unwrap_or(u64::MAX);
            self.takes_fragments(client) && capacity_bytes.saturating_sub(known.used_bytes) >= size_bytes
        })
    }

    pub(in crate::tracker) fn handle_requested(&mut self, issuer: &Issuer, fragment: Hash, now: Moment) {
        let client = &issuer.client;
        if !self.members.speaks_as_registered(issuer)
            || !self.takes_fragments(client)
            || self.view.holds(client, &fragment)
        {
            return;
        }
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        let Phase::Offered { requested, since } = &mut flight.phase else { return };
        requested.insert(client.clone());
        since.get_or_insert(now);
        if flight.preferred_have_asked() {
            self.deliver(fragment, now);
        }
    }

    /// Picks the receivers among those who asked: the best ranked, then whoever else. What it lacks may have become less meanwhile.
    fn deliver(&mut self, fragment: Hash, now: Moment) {
        let missing = self.missing_copies(&fragment);
        let Some(flight) = self.distributions.in_flight.get(&fragment) else { return };
        let Phase::Offered { requested, .. } = &flight.phase else { return };
        let ranked = flight.ranked.iter().filter(|client| requested.contains(client));
        let others = requested.iter().filter(|client| !flight.ranked.contains(client));
        let reachable = ranked.chain(others).filter(|client| self.takes_fragments(client));
        let receivers: BTreeSet<ClientId> = reachable.take(missing).cloned().collect();
        if receivers.is_empty() {
            return self.end(fragment, now);
        }
        let is_repeated = flight.tries.attempts > 0;
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        flight.phase = Phase::Delivered {
            receivers: receivers.clone(),
            obtained: BTreeSet::new(),
            failed: BTreeSet::new(),
            since: now,
        };
        let to = self.cheapest_audience(&receivers);
        let envelope = self.envelope(None, None);
        self.commands.push_back(TrackerCommand::Deliver { to, envelope, fragment, receivers, is_repeated });
    }

    /// One message that the broker copies to every torrent, or one for each receiver: whichever costs the broker fewer bytes (Q5).
    fn cheapest_audience(&self, receivers: &BTreeSet<ClientId>) -> Vec<Audience> {
        let has_own_topic = |client| {
            self.members.registered(client).is_some_and(|member| member.features.has(Feature::Direct))
        };
        let shared_cost = 1 + self.members.registered_count();
        let direct_cost = 2 * receivers.len();
        let is_cheaper = direct_cost <= shared_cost && Rule::BytesToWhoAsked.is_kept();
        if is_cheaper && receivers.iter().all(has_own_topic) {
            receivers.iter().cloned().map(Audience::One).collect()
        } else {
            vec![Audience::All]
        }
    }

    pub(in crate::tracker) fn handle_obtained(
        &mut self,
        id: EventId,
        issuer: &Issuer,
        fragment: Hash,
        now: Moment,
    ) {
        let client = &issuer.client;
        if !self.members.speaks_as_registered(issuer) {
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
        self.handle_late_obtained(id, client, fragment);
    }

    /// The torrent keeps the bytes until it is answered (S12).
    fn handle_late_obtained(&mut self, id: EventId, client: &ClientId, fragment: Hash) {
        let Some(size_bytes) = self.view.fragment_bytes(&fragment) else {
            return self.say_hello(Audience::One(client.clone()));
        };
        let receivers = BTreeSet::from([client.clone()]);
        let ended = FragmentDistributionEnded { hash: fragment, size_bytes, receivers: receivers.clone() };
        if self.view.holds(client, &fragment) && !Rule::RepeatsAreAnswered.is_kept() {
            return;
        }
        if self.view.holds(client, &fragment) {
            // *Ended* has no direct topic; the other torrents find nothing in it that they do not know.
            return self.answer(Audience::All, id, ended);
        }
        let change = Change::FragmentDistributed { hash: fragment, size_bytes, receivers };
        self.apply_all(std::slice::from_ref(&change));
        self.commit_answer(vec![change], Some(id), ended);
        let is_delivered = self.distributions.in_flight.get(&fragment).is_some_and(InFlight::is_delivered);
        if self.missing_copies(&fragment) == 0 && !is_delivered {
            self.distributions.land(&fragment);
            self.distributions.waiting.remove(&fragment);
            self.hold_until_confirmed(fragment);
        }
        self.wake_repair(fragment);
    }

    pub(in crate::tracker) fn handle_failed(&mut self, issuer: &Issuer, fragment: Hash, now: Moment) {
        if !self.members.speaks_as_registered(issuer) {
            return;
        }
        let Some(flight) = self.distributions.in_flight.get_mut(&fragment) else { return };
        match &mut flight.phase {
            Phase::Offered { .. } => flight.forget(&issuer.client),
            Phase::Delivered { failed, .. } => drop(failed.insert(issuer.client.clone())),
        }
        if flight.all_answered() {
            self.end(fragment, now);
        }
    }

    fn handle_deadline(&mut self, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.in_flight.get(&fragment) else { return };
        match &flight.phase {
            Phase::Offered { since: Some(_), .. } => self.deliver(fragment, now),
            Phase::Offered { since: None, .. } | Phase::Delivered { .. } => self.end(fragment, now),
        }
    }

    /// Every receiver answered, or had its time. Those that obtained become holders; if that is not enough, there will be another
    /// attempt.
    fn end(&mut self, fragment: Hash, now: Moment) {
        let Some(flight) = self.distributions.land(&fragment) else { return };
        let size_bytes = flight.size_bytes;
        let did_not_obtain = flight.did_not_obtain();
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
            let until = now + self.draw.backoff(self.config.limits.retry_delay, flight.tries.attempts);
            let mut tries = flight.tries;
            tries.attempts += 1;
            tries.failed.extend(did_not_obtain);
            self.distributions.waiting.insert(fragment, until, tries);
        }
    }

    /// The tracker's own bytes turn out to be unreadable: they are forgotten, and nothing more is tried with them.
    pub(in crate::tracker) fn handle_unreadable(&mut self, fragment: Hash) {
        self.distributions.disown(&fragment);
        self.distributions.undeleted.forget(&fragment);
        self.call_off(fragment);
        self.consider_repair(fragment);
    }

    /// What is in flight ends with nobody.
    pub(super) fn call_off(&mut self, fragment: Hash) {
        if let Some(flight) = self.distributions.land(&fragment) {
            let (size_bytes, receivers) = (flight.size_bytes, BTreeSet::new());
            self.say(Audience::All, FragmentDistributionEnded { hash: fragment, size_bytes, receivers });
        }
    }

    /// Whether the torrent is there, and not being emptied.
    fn takes_fragments(&self, client: &ClientId) -> bool {
        self.members.takes_fragments(client) && !self.view.is_draining(client)
    }

    /// Nothing more is expected of the torrent in any flight, and nothing counts that it said.
    pub(super) fn forget_in_flight(&mut self, client: &ClientId, now: Moment) {
        let flights = &mut self.distributions.in_flight;
        flights.values_mut().for_each(|flight| flight.forget(client));
        let answered = flights.iter().filter(|(_, flight)| flight.all_answered());
        let answered: Vec<Hash> = answered.map(|(fragment, _)| *fragment).collect();
        answered.into_iter().for_each(|fragment| self.end(fragment, now));
    }
}
