//! Which fragment next, from which holder. Pure: it does no IO, is told the time, and draws from the seed that it is given.
//!
//! Fragments are asked for rarest first; why, and what becomes of the order of the file, is in `docs/decisions/order-of-a-download.md`. A
//! fragment is in flight at one holder. A holder begins with one fragment and then gets as many as keep it busy at the speed that it has
//! shown; it gets none that it would have after the whole is done and others would not. Only a holder that has nothing else to do is given a
//! fragment that is in flight elsewhere, if it would be done much sooner, and then whoever is first wins. So a holder that is slow, or says
//! nothing, delays nobody, and costs few bytes.

mod holder;
mod order;
mod takeover;

use std::collections::BTreeSet;
use std::time::Duration;

use holder::{Holder, MAX_STRIKES};
use order::Order;

/// How much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Fragments in flight at one holder.
    pub per_holder: usize,
    /// Bytes in flight in all; one fragment always may be.
    pub bytes: u64,
    /// How many fragments may be asked for beyond the first that is not done yet; for those who need them about in order. With it they
    /// are asked for in file order.
    pub window: Option<usize>,
    /// Decides what is left to chance.
    pub seed: u64,
}

/// One fragment asked of one holder. Both are indices in the order in which the plan was told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flight {
    /// The fragment.
    pub fragment: usize,
    /// The holder.
    pub holder: usize,
}

/// How a flight failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The holder does not have this fragment, or not undamaged.
    NotHeld,
    /// The holder delivered other bytes. It is asked no more.
    Lied,
    /// The holder could not be reached, or went away, or was silent for too long.
    Lost,
    /// The holder has too much to do. It is asked again a little later, and for less at once.
    Busy {
        /// When it wants to be asked again. More than some seconds are not waited.
        retry_after: Duration,
    },
}

/// Whether there is anything left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Every fragment has been delivered.
    Done,
    /// Some are in flight, or can be asked for now or a little later.
    Running,
    /// Nothing is in flight, and none of these has a holder left.
    Stuck(Vec<usize>),
}

/// Why a holder is asked no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It delivered bytes that are not the fragment.
    Lied,
    /// It failed to answer several times in a row.
    Lost,
}

#[derive(Debug)]
struct Fragment {
    size_bytes: u64,
    is_done: bool,
    /// Where it is in flight.
    trips: Vec<Trip>,
}

/// A flight, seen from its fragment.
#[derive(Debug, Clone, Copy)]
struct Trip {
    holder: usize,
    /// Seconds since the download began.
    since: f64,
    /// Bytes that the holder had to deliver then, these included.
    queue_bytes: u64,
}

/// The state of one download.
#[derive(Debug)]
pub struct Plan {
    limits: PlanLimits,
    fragments: Vec<Fragment>,
    holders: Vec<Holder>,
    /// Those of them that may be free; all others have enough to do until something lands.
    awake: BTreeSet<usize>,
    order: Order,
    rng: fastrand::Rng,
    /// Fragments in flight anywhere.
    flying: BTreeSet<usize>,
    bytes_in_flight: u64,
    /// Bytes of all fragments that are not done.
    open_bytes: u64,
    /// Bytes that may still be asked for twice only because another holder would be done sooner.
    spare_bytes: u64,
    usual_size_bytes: u64,
    first_open: usize,
}

impl Plan {
    /// A plan for fragments of these sizes in bytes, in file order, that nobody holds yet.
    #[must_use]
    pub fn new(sizes_bytes: impl IntoIterator<Item = u64>, limits: PlanLimits) -> Self {
        let sizes_bytes: Vec<u64> = sizes_bytes.into_iter().collect();
        let order = match limits.window {
            Some(_) => Order::in_file_order(sizes_bytes.len()),
            None => Order::by_rarity(&sizes_bytes, limits.seed),
        };
        let open_bytes = sizes_bytes.iter().sum();
        let fragment = |size_bytes| Fragment { size_bytes, is_done: false, trips: Vec::new() };
        Self {
            limits,
            order,
            rng: fastrand::Rng::with_seed(limits.seed),
            holders: Vec::new(),
            awake: BTreeSet::new(),
            flying: BTreeSet::new(),
            bytes_in_flight: 0,
            open_bytes,
            spare_bytes: takeover::spare_bytes(&sizes_bytes),
            usual_size_bytes: open_bytes / (sizes_bytes.len() as u64).max(1),
            fragments: sizes_bytes.into_iter().map(fragment).collect(),
            first_open: 0,
        }
    }

    /// There is another holder; the answer stands for it from now on.
    pub fn add_holder(&mut self) -> usize {
        let index = self.holders.len();
        self.holders.push(Holder::new(self.rng.u32(..)));
        self.order.add_holder();
        self.awake.insert(index);
        index
    }

    /// `holder` holds `fragments`, besides those told before. Says whether that is news.
    pub fn add_held(&mut self, holder: usize, fragments: impl IntoIterator<Item = usize>) -> bool {
        self.holders[holder].may_have_open = true;
        self.order.hold(holder, fragments) > 0
    }

    /// Holders that were lost get another chance, and whoever said that it does not have a fragment is believed no longer. Liars stay
    /// dropped.
    pub fn forgive(&mut self) {
        for (index, holder) in self.holders.iter_mut().enumerate() {
            holder.forgive();
            holder.may_have_open = true;
            self.order.use_holder(index, holder.dropped.is_none());
            self.order.hold(index, holder.disclaimed.drain(..));
            self.awake.insert(index);
        }
    }

    /// The next fragment to ask for, which counts as in flight from now on. None if there is nothing to do before something arrives
    /// or [`next_check`](Self::next_check) has come.
    pub fn next(&mut self, now: Duration) -> Option<Flight> {
        if !self.flying.is_empty() && self.bytes_in_flight >= self.limits.bytes {
            return None;
        }
        let now = now.as_secs_f64();
        let (holders, most) = (&self.holders, self.limits.per_holder);
        self.awake.retain(|holder| {
            let holder = &holders[*holder];
            holder.is_paused(now) || holder.is_free(most, now)
        });
        let flight = self.next_open(now).or_else(|| self.next_takeover(now))?;
        let Flight { fragment, holder } = flight;
        let size_bytes = self.fragments[fragment].size_bytes;
        self.order.close(fragment);
        self.holders[holder].took_off(size_bytes, now);
        let queue_bytes = self.holders[holder].bytes_in_flight;
        self.fragments[fragment].trips.push(Trip { holder, since: now, queue_bytes });
        self.flying.insert(fragment);
        self.bytes_in_flight += size_bytes;
        Some(flight)
    }

    /// When [`next`](Self::next) may have something to do although nothing has arrived.
    #[must_use]
    pub fn next_check(&self, now: Duration) -> Option<Duration> {
        let seconds = now.as_secs_f64();
        let pauses = self.awake.iter().map(|holder| &self.holders[*holder]);
        let pauses = pauses.filter(|holder| holder.dropped.is_none()).map(|holder| holder.paused_until);
        let pauses = pauses.filter(|until| *until > seconds);
        let check = pauses.chain(self.takeover_checks(seconds)).min_by(f64::total_cmp)?;
        // A little more than it is, lest rounding makes it too early.
        Some(Duration::from_secs_f64(check + 1e-6).max(now + Duration::from_millis(1)))
    }

    /// A flight brought its fragment. Answers the flights of the same fragment that are now superfluous; they are over.
    pub fn delivered(&mut self, flight: Flight, now: Duration) -> Vec<Flight> {
        let now = now.as_secs_f64();
        let Fragment { is_done, trips, .. } = &mut self.fragments[flight.fragment];
        if !trips.iter().any(|trip| trip.holder == flight.holder) {
            return Vec::new();
        }
        // Before it lands, lest it is to be had again.
        *is_done = true;
        let stalled = if trips.len() > 1 { self.stalled(now) } else { Vec::new() };
        let Some(trip) = self.land(flight) else { return Vec::new() };
        let Fragment { size_bytes, trips, .. } = &self.fragments[flight.fragment];
        let others: Vec<Flight> =
            trips.iter().map(|trip| Flight { fragment: flight.fragment, holder: trip.holder }).collect();
        self.holders[flight.holder].delivered(*size_bytes, trip.since, now);
        self.open_bytes -= *size_bytes;
        for other in &others {
            self.land(*other);
            self.holders[other.holder].overtaken(stalled[other.holder], now);
        }
        while self.fragments.get(self.first_open).is_some_and(|fragment| fragment.is_done) {
            self.first_open += 1;
        }
        others
    }

    /// A flight failed. Answers the flights of the same holder that are over because it is asked no more.
    pub fn failed(&mut self, flight: Flight, failure: Failure, now: Duration) -> Vec<Flight> {
        if self.land(flight).is_none() {
            return Vec::new();
        }
        let now = now.as_secs_f64();
        let holder = &mut self.holders[flight.holder];
        match failure {
            Failure::NotHeld => {
                if self.order.release(flight.holder, flight.fragment) {
                    holder.disclaimed.push(flight.fragment);
                }
            }
            Failure::Busy { retry_after } => holder.refused(retry_after, now),
            Failure::Lied => return self.drop_holder(flight.holder, Dropped::Lied),
            Failure::Lost => {
                holder.lost(now);
                if holder.strikes >= MAX_STRIKES {
                    return self.drop_holder(flight.holder, Dropped::Lost);
                }
            }
        }
        Vec::new()
    }

    /// Whether there is anything left to do.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        if self.first_open == self.fragments.len() {
            return Outlook::Done;
        }
        if !self.flying.is_empty() {
            return Outlook::Running;
        }
        let open = (self.first_open..self.fragments.len()).filter(|fragment| !self.is_done(*fragment));
        let window = self.limits.window.unwrap_or(usize::MAX);
        if open.clone().any(|fragment| fragment - self.first_open < window && self.order.has_holder(fragment))
        {
            return Outlook::Running;
        }
        Outlook::Stuck(open.filter(|fragment| !self.order.has_holder(*fragment)).collect())
    }

    /// Whether `fragment` has been delivered.
    #[must_use]
    pub fn is_done(&self, fragment: usize) -> bool {
        self.fragments[fragment].is_done
    }

    /// Why `holder` is asked no more, if so.
    #[must_use]
    pub fn dropped(&self, holder: usize) -> Option<Dropped> {
        self.holders[holder].dropped
    }

    /// What is asked for nowhere yet: of the holder that would be done first, what comes first in the order of those it holds.
    fn next_open(&mut self, now: f64) -> Option<Flight> {
        let mut free = self.free(now);
        free.retain(|holder| self.holders[*holder].may_have_open);
        let size_bytes = self.usual_size_bytes;
        let rank =
            |holder: &Holder| (holder.expected(size_bytes).unwrap_or(0.0), holder.in_flight, holder.tie);
        while let Some((at, _)) = free
            .iter()
            .map(|holder| rank(&self.holders[*holder]))
            .enumerate()
            .min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))))
        {
            let holder = free.swap_remove(at);
            let Some(fragment) = self.order.first(holder) else {
                self.holders[holder].may_have_open = false;
                continue;
            };
            let is_near = self.limits.window.is_none_or(|window| fragment - self.first_open < window);
            if is_near && !self.is_for_others(fragment, holder, now) {
                return Some(Flight { fragment, holder });
            }
        }
        None
    }

    /// The holders that may be given one more fragment.
    fn free(&self, now: f64) -> Vec<usize> {
        let is_free = |holder: &usize| self.holders[*holder].is_free(self.limits.per_holder, now);
        let mut free: Vec<usize> = self.awake.iter().copied().filter(is_free).collect();
        if free.iter().any(|holder| self.holders[*holder].in_flight > 0) {
            let typical = self.typical();
            free.retain(|holder| !self.is_stalled(*holder, &typical, now));
        }
        free
    }

    /// Ends a flight. Says what it was; none if it is not under way.
    fn land(&mut self, flight: Flight) -> Option<Trip> {
        let fragment = &mut self.fragments[flight.fragment];
        let at = fragment.trips.iter().position(|trip| trip.holder == flight.holder)?;
        let trip = fragment.trips.swap_remove(at);
        self.bytes_in_flight -= fragment.size_bytes;
        self.holders[flight.holder].landed(fragment.size_bytes);
        self.awake.insert(flight.holder);
        if fragment.trips.is_empty() {
            self.flying.remove(&flight.fragment);
            if !fragment.is_done {
                self.order.reopen(flight.fragment);
                self.holders.iter_mut().for_each(|holder| holder.may_have_open = true);
            }
        }
        Some(trip)
    }

    fn drop_holder(&mut self, holder: usize, why: Dropped) -> Vec<Flight> {
        self.holders[holder].dropped = Some(why);
        self.order.use_holder(holder, false);
        let is_there =
            |fragment: &usize| self.fragments[*fragment].trips.iter().any(|trip| trip.holder == holder);
        let flying = self.flying.iter().copied().filter(is_there);
        let over: Vec<Flight> = flying.map(|fragment| Flight { fragment, holder }).collect();
        for flight in &over {
            self.land(*flight);
        }
        over
    }
}

#[cfg(test)]
mod tests;
