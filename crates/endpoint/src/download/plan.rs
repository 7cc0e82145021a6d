//! Which fragment next, from which holder. Pure: it does no IO and is told the time.
//!
//! Fragments are asked for in file order, each holder having only a few in flight: a fast holder is done sooner and gets more. A
//! fragment is in flight at one holder; only when a holder has nothing else to do is it given a fragment that is late elsewhere, and
//! then whoever is first wins. So a holder that is slow, or says nothing, delays nobody but the last few fragments.

use std::collections::BTreeSet;
use std::time::Duration;

/// A fragment is late after this many times the usual time of the holder that could take over.
const LATE_FACTOR: u32 = 4;
/// It is never late earlier than this.
const LATE_AT_LEAST: Duration = Duration::from_millis(30);
/// It is late after this where the other holder's usual time is not known yet.
const LATE_IF_UNKNOWN: Duration = Duration::from_millis(500);
/// How often in a row a holder may fail to answer before it is asked no more.
const MAX_STRIKES: u32 = 3;
/// How long a busy holder is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// How much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Fragments in flight at one holder.
    pub per_holder: usize,
    /// Bytes in flight in all; one fragment always may be.
    pub bytes: u64,
    /// How many fragments may be asked for beyond the first that is not done yet; for those who need them about in order.
    pub window: Option<usize>,
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
    /// The holder has too much to do. It is asked again a little later.
    Busy,
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
    /// Where it is in flight, and since when. At most two.
    flights: Vec<(usize, Duration)>,
    /// Holders that said they do not have it.
    without: Vec<usize>,
}

#[derive(Debug, Default)]
struct Holder {
    /// What it holds, in file order.
    fragments: Vec<usize>,
    /// All of `fragments` before this place are done or in flight.
    cursor: usize,
    in_flight: usize,
    strikes: u32,
    dropped: Option<Dropped>,
    paused_until: Duration,
    /// What one fragment usually takes.
    usual: Option<Duration>,
}

/// The state of one download.
#[derive(Debug)]
pub struct Plan {
    limits: PlanLimits,
    fragments: Vec<Fragment>,
    holders: Vec<Holder>,
    /// Fragments in flight anywhere.
    flying: BTreeSet<usize>,
    bytes_in_flight: u64,
    first_open: usize,
}

impl Plan {
    /// A plan for fragments of these sizes in bytes, in file order, that nobody holds yet.
    #[must_use]
    pub fn new(sizes_bytes: impl IntoIterator<Item = u64>, limits: PlanLimits) -> Self {
        let fragment =
            |size_bytes| Fragment { size_bytes, is_done: false, flights: Vec::new(), without: Vec::new() };
        Self {
            limits,
            fragments: sizes_bytes.into_iter().map(fragment).collect(),
            holders: Vec::new(),
            flying: BTreeSet::new(),
            bytes_in_flight: 0,
            first_open: 0,
        }
    }

    /// There is another holder; the answer stands for it from now on.
    pub fn add_holder(&mut self) -> usize {
        self.holders.push(Holder::default());
        self.holders.len() - 1
    }

    /// `holder` holds `fragments`, besides those told before. Says whether that is news.
    pub fn add_held(&mut self, holder: usize, fragments: impl IntoIterator<Item = usize>) -> bool {
        let held = &mut self.holders[holder];
        let known = held.fragments.len();
        held.fragments.extend(fragments);
        held.fragments.sort_unstable();
        held.fragments.dedup();
        held.cursor = 0;
        held.fragments.len() > known
    }

    /// Holders that were lost get another chance, and whoever said that it does not have a fragment is believed no longer. Liars stay
    /// dropped.
    pub fn forgive(&mut self) {
        for holder in &mut self.holders {
            holder.strikes = 0;
            holder.cursor = 0;
            holder.dropped = holder.dropped.filter(|dropped| *dropped == Dropped::Lied);
        }
        for fragment in &mut self.fragments {
            fragment.without.clear();
        }
    }

    /// The next fragment to ask for, which counts as in flight from now on. None if there is nothing to do before something arrives
    /// or [`next_check`](Self::next_check) has come.
    pub fn next(&mut self, now: Duration) -> Option<Flight> {
        let mut free: Vec<usize> =
            (0..self.holders.len()).filter(|holder| self.is_free(*holder, now)).collect();
        // The holder that would be done first, by what it has to do and how long it usually takes.
        free.sort_by_key(|holder| {
            let holder = &self.holders[*holder];
            (holder.usual.unwrap_or_default() * (holder.in_flight as u32 + 1), holder.in_flight)
        });
        let fresh = free.iter().find_map(|holder| Some((self.next_fresh(*holder)?, *holder)));
        let (fragment, holder) = fresh
            .or_else(|| free.iter().find_map(|holder| Some((self.next_late(*holder, now)?, *holder))))?;
        self.holders[holder].in_flight += 1;
        self.fragments[fragment].flights.push((holder, now));
        self.flying.insert(fragment);
        self.bytes_in_flight += self.fragments[fragment].size_bytes;
        Some(Flight { fragment, holder })
    }

    /// When [`next`](Self::next) may have something to do although nothing has arrived.
    #[must_use]
    pub fn next_check(&self, now: Duration) -> Option<Duration> {
        let pauses = self.holders.iter().map(|holder| holder.paused_until).filter(|until| *until > now);
        let free = |holder: &usize| self.is_free(*holder, now);
        let late = (0..self.holders.len()).filter(free).flat_map(|holder| {
            let open = self.flying_elsewhere(holder);
            open.map(move |(_, since)| since + self.late_after(holder))
        });
        pauses.chain(late).min()
    }

    /// A flight brought its fragment. Answers the flights of the same fragment that are now superfluous; they are over.
    pub fn delivered(&mut self, flight: Flight, now: Duration) -> Vec<Flight> {
        let Some(since) = self.land(flight) else { return Vec::new() };
        let holder = &mut self.holders[flight.holder];
        holder.strikes = 0;
        let took = now.saturating_sub(since);
        holder.usual = Some(holder.usual.map_or(took, |usual| (usual * 3 + took) / 4));
        self.fragments[flight.fragment].is_done = true;
        while self.fragments.get(self.first_open).is_some_and(|fragment| fragment.is_done) {
            self.first_open += 1;
        }
        let others: Vec<Flight> = self.fragments[flight.fragment]
            .flights
            .iter()
            .map(|(holder, _)| Flight { fragment: flight.fragment, holder: *holder })
            .collect();
        for other in &others {
            // It took too long here: whoever was overtaken is known to need at least that much.
            if let Some(since) = self.land(*other) {
                let holder = &mut self.holders[other.holder];
                let took = now.saturating_sub(since);
                holder.usual = Some(holder.usual.map_or(took, |usual| usual.max(took)));
            }
        }
        others
    }

    /// A flight failed. Answers the flights of the same holder that are over because it is asked no more.
    pub fn failed(&mut self, flight: Flight, failure: Failure, now: Duration) -> Vec<Flight> {
        if self.land(flight).is_none() {
            return Vec::new();
        }
        let holder = &mut self.holders[flight.holder];
        match failure {
            Failure::NotHeld => self.fragments[flight.fragment].without.push(flight.holder),
            Failure::Busy => holder.paused_until = now + BUSY_PAUSE,
            Failure::Lied => return self.drop_holder(flight.holder, Dropped::Lied),
            Failure::Lost => {
                holder.strikes += 1;
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
        let mut has_holder = vec![false; self.fragments.len()];
        for (index, holder) in self.holders.iter().enumerate().filter(|(_, holder)| holder.dropped.is_none())
        {
            for fragment in &holder.fragments {
                has_holder[*fragment] |= !self.fragments[*fragment].without.contains(&index);
            }
        }
        let open = (0..self.fragments.len()).filter(|fragment| !self.fragments[*fragment].is_done);
        let (with, without): (Vec<_>, Vec<_>) = open.partition(|fragment| has_holder[*fragment]);
        let window = self.limits.window.unwrap_or(usize::MAX);
        let can_go_on = with.iter().any(|fragment| fragment - self.first_open < window);
        if can_go_on { Outlook::Running } else { Outlook::Stuck(without) }
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

    fn is_free(&self, holder: usize, now: Duration) -> bool {
        let holder = &self.holders[holder];
        holder.dropped.is_none()
            && holder.in_flight < self.limits.per_holder
            && holder.paused_until <= now
            && (self.flying.is_empty() || self.bytes_in_flight < self.limits.bytes)
    }

    /// The first fragment that `holder` holds and that is neither done nor in flight.
    fn next_fresh(&mut self, holder: usize) -> Option<usize> {
        let Self { fragments, holders, .. } = self;
        let held = &mut holders[holder];
        let is_taken = |fragment: &usize| {
            let fragment = &fragments[*fragment];
            fragment.is_done || !fragment.flights.is_empty() || fragment.without.contains(&holder)
        };
        held.cursor += held.fragments[held.cursor..].iter().take_while(|fragment| is_taken(fragment)).count();
        let next = *held.fragments.get(held.cursor)?;
        let is_in_window = self.limits.window.is_none_or(|window| next - self.first_open < window);
        is_in_window.then_some(next)
    }

    /// The fragment that has been in flight longest at another holder, if it is late and `holder` holds it too.
    fn next_late(&self, holder: usize, now: Duration) -> Option<usize> {
        let (fragment, since) = self.flying_elsewhere(holder).min_by_key(|(_, since)| *since)?;
        (now >= since + self.late_after(holder)).then_some(fragment)
    }

    /// The fragments that `holder` holds and that are in flight at one other holder only, and since when.
    fn flying_elsewhere(&self, holder: usize) -> impl Iterator<Item = (usize, Duration)> + '_ {
        self.flying.iter().filter_map(move |&index| {
            let fragment = &self.fragments[index];
            let [(elsewhere, since)] = fragment.flights.as_slice() else { return None };
            let could_take_over = *elsewhere != holder
                && !fragment.without.contains(&holder)
                && self.holders[holder].fragments.binary_search(&index).is_ok();
            could_take_over.then_some((index, *since))
        })
    }

    fn late_after(&self, holder: usize) -> Duration {
        let usual = self.holders[holder].usual;
        usual.map_or(LATE_IF_UNKNOWN, |usual| (usual * LATE_FACTOR).max(LATE_AT_LEAST))
    }

    /// Ends a flight. Says since when it was under way; none if it is not.
    fn land(&mut self, flight: Flight) -> Option<Duration> {
        let fragment = &mut self.fragments[flight.fragment];
        let at = fragment.flights.iter().position(|(holder, _)| *holder == flight.holder)?;
        let (_, since) = fragment.flights.swap_remove(at);
        self.bytes_in_flight -= fragment.size_bytes;
        self.holders[flight.holder].in_flight -= 1;
        if fragment.flights.is_empty() {
            self.flying.remove(&flight.fragment);
        }
        if !fragment.is_done && fragment.flights.is_empty() {
            // It is to be had again: whoever holds it looks from there.
            for holder in &mut self.holders {
                if let Ok(at) = holder.fragments.binary_search(&flight.fragment) {
                    holder.cursor = holder.cursor.min(at);
                }
            }
        }
        Some(since)
    }

    fn drop_holder(&mut self, holder: usize, why: Dropped) -> Vec<Flight> {
        self.holders[holder].dropped = Some(why);
        let is_there = |fragment: &usize| {
            self.fragments[*fragment].flights.iter().any(|(elsewhere, _)| *elsewhere == holder)
        };
        let flying = self.flying.iter().copied().filter(is_there);
        let over: Vec<Flight> = flying.map(|fragment| Flight { fragment, holder }).collect();
        for flight in &over {
            self.land(*flight);
        }
        over
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
