//! The end of a download: who must not be given the last fragments, and who takes over what is late elsewhere.
//!
//! All times are seconds since the download began.

use std::cell::OnceCell;

use super::holder::Speed;
use super::{Flight, Plan, Trip};

/// A holder may be silent for this share of the time that the download has taken so far: to wait for that long costs little, and to ask
/// for all again that it has in flight may cost more.
const SILENT_SHARE: f64 = 1.0 / 16.0;
/// It may be silent at least and at most this long in any case, in seconds.
const SILENT_AT_LEAST: (f64, f64) = (0.03, 1.0);
/// What another holder takes over must be there this many times sooner.
const SOONER_FACTOR: f64 = 2.0;
/// A fragment is left to another holder that would have it in less than this share of the time.
const BETTER_SHARE: f64 = 2.0 / 3.0;
/// The share of all bytes that may be asked for twice although nobody is silent, but at least one fragment.
const SPARE_SHARE: u64 = 128;

/// How many bytes may be asked for twice although nobody is silent.
pub(super) fn spare_bytes(sizes_bytes: &[u64]) -> u64 {
    let largest = sizes_bytes.iter().copied().max().unwrap_or(0);
    (sizes_bytes.iter().sum::<u64>() / SPARE_SHARE).max(largest)
}

/// What those holders that have shown their speed have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    number: u32,
    rate: f64,
    longest: f64,
}

/// The same, found out when it is first needed: for a holder that has not shown its own.
pub(super) struct Typical<'a> {
    plan: &'a Plan,
    common: OnceCell<Common>,
}

impl Typical<'_> {
    fn expected(&self, bytes: u64) -> Option<f64> {
        let in_use = || self.plan.holders.iter().filter(|holder| holder.dropped.is_none());
        let common = self.common.get_or_init(|| {
            in_use().fold(Common::default(), |mut common, holder| {
                common.add(&holder.speed);
                common
            })
        });
        common.expected(bytes)
    }
}

impl Common {
    fn add(&mut self, speed: &Speed) {
        if let Some(rate) = speed.rate() {
            self.number += 1;
            self.rate += rate;
            self.longest = self.longest.max(speed.expected(0).unwrap_or(0.0));
        }
    }

    /// How long such a holder takes for so many bytes; none if there is none.
    fn expected(&self, bytes: u64) -> Option<f64> {
        (self.number > 0).then(|| (bytes as f64 * f64::from(self.number) / self.rate).max(self.longest))
    }
}

impl Plan {
    pub(super) const fn typical(&self) -> Typical<'_> {
        Typical { plan: self, common: OnceCell::new() }
    }

    pub(super) fn is_stalled(&self, holder: usize, typical: &Typical<'_>, now: f64) -> bool {
        self.stalled_from(holder, typical, now).is_some_and(|from| from <= now)
    }

    /// By holder, whether it is silent for too long.
    pub(super) fn stalled(&self, now: f64) -> Vec<bool> {
        let typical = self.typical();
        (0..self.holders.len()).map(|holder| self.is_stalled(holder, &typical, now)).collect()
    }

    fn stalled_from(&self, holder: usize, typical: &Typical<'_>, now: f64) -> Option<f64> {
        self.holders[holder].stalled_from(|bytes| typical.expected(bytes), at_least(now))
    }

    /// Whether `fragment` is better left to others: `holder` would not be done with it before the whole is done, and another one would have
    /// it much sooner.
    pub(super) fn is_for_others(&self, fragment: usize, holder: usize, now: f64) -> bool {
        if self.flying.is_empty() {
            return false;
        }
        let size_bytes = self.fragments[fragment].size_bytes;
        let Some(expected) = self.holders[holder].expected(size_bytes) else { return false };
        let window_bytes =
            self.limits.window.map_or(u64::MAX, |window| self.usual_size_bytes.saturating_mul(window as u64));
        let open_bytes = self.open_bytes.min(window_bytes) as f64;
        // All together are at least as fast as those that work: most of the time this settles it.
        if expected * self.holders.iter().filter_map(|holder| holder.speed.rate()).sum::<f64>() <= open_bytes
        {
            return false;
        }
        let stalled = self.stalled(now);
        let is_working = |other: usize| {
            let holder = &self.holders[other];
            holder.dropped.is_none() && holder.paused_until <= now && !stalled[other]
        };
        let working = (0..self.holders.len()).filter(|other| is_working(*other));
        let rate: f64 = working.clone().filter_map(|other| self.holders[other].speed.rate()).sum();
        if rate <= 0.0 || expected * rate <= open_bytes {
            return false;
        }
        working.filter(|other| *other != holder && self.order.holds(*other, fragment)).any(|other| {
            self.holders[other].expected(size_bytes).is_some_and(|other| other < expected * BETTER_SHARE)
        })
    }

    /// The fragment that has been in flight longest of those that a holder with nothing else to do may take over; and that holder, which
    /// is the one that would be done first.
    pub(super) fn next_takeover(&mut self, now: f64) -> Option<Flight> {
        let mut free = self.free(now);
        let typical = self.typical();
        let expected = |holder: usize| self.holders[holder].expected(self.usual_size_bytes).unwrap_or(0.0);
        free.sort_by(|a, b| expected(*a).total_cmp(&expected(*b)));
        let (flight, is_spare) = free.into_iter().find_map(|holder| {
            let takeovers = self.takeovers(holder, &typical, now).filter(|takeover| takeover.from <= now);
            let first = takeovers.min_by(|a, b| a.since.total_cmp(&b.since))?;
            Some((Flight { fragment: first.fragment, holder }, first.is_spare))
        })?;
        if is_spare {
            self.spare_bytes -= self.fragments[flight.fragment].size_bytes;
        }
        Some(flight)
    }

    /// When a holder with nothing else to do may take something over.
    pub(super) fn takeover_checks(&self, now: f64) -> impl Iterator<Item = f64> + '_ {
        let typical = self.typical();
        let is_full = self.bytes_in_flight >= self.limits.bytes;
        let free = if self.flying.is_empty() || is_full { Vec::new() } else { self.free(now) };
        let checks: Vec<f64> = free
            .into_iter()
            .flat_map(|holder| self.takeovers(holder, &typical, now).map(|takeover| takeover.from))
            .filter(|from| *from > now)
            .collect();
        checks.into_iter()
    }

    /// What `holder` may take over, and from when on.
    fn takeovers<'a>(
        &'a self,
        holder: usize,
        typical: &'a Typical<'a>,
        now: f64,
    ) -> impl Iterator<Item = Takeover> + 'a {
        let own = self.holders[holder].expected(self.usual_size_bytes).or_else(|| typical.expected(0));
        self.flying.iter().filter_map(move |index| {
            let fragment = &self.fragments[*index];
            let trips = fragment.trips.as_slice();
            let is_here = trips.iter().any(|trip| trip.holder == holder);
            if is_here || !self.order.holds(holder, *index) {
                return None;
            }
            let since = trips.first()?.since;
            // All of its flights must have ended in silence: flights that bring something are two at most.
            let mut stalled = trips.iter().map(|trip| self.stalled_from(trip.holder, typical, now));
            let stalled = stalled.try_fold(f64::MIN, |latest, from| Some(latest.max(from?)))?;
            let late = (trips.len() == 1 && fragment.size_bytes <= self.spare_bytes)
                .then(|| self.late_from(trips[0], own?, now))
                .flatten();
            let (from, is_spare) = match late {
                Some(late) if late < stalled => (late, true),
                Some(_) | None => (stalled, false),
            };
            Some(Takeover { fragment: *index, since, from, is_spare })
        })
    }

    /// From when on somebody who needs `own` for it should take over what this flight was to bring.
    fn late_from(&self, trip: Trip, own: f64, now: f64) -> Option<f64> {
        let due = trip.since + self.holders[trip.holder].speed.expected(trip.queue_bytes)?;
        let much_sooner = own * SOONER_FACTOR + at_least(now);
        // What is overdue is expected to take as long again as it is overdue.
        Some(if now + much_sooner < due { now } else { due + much_sooner })
    }
}

/// How long a holder may be silent in any case.
fn at_least(now: f64) -> f64 {
    (now * SILENT_SHARE).clamp(SILENT_AT_LEAST.0, SILENT_AT_LEAST.1)
}

/// What a holder may take over.
struct Takeover {
    fragment: usize,
    since: f64,
    from: f64,
    /// Whether it is at the cost of the spare bytes.
    is_spare: bool,
}
