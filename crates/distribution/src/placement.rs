//! Who should hold a fragment: a pure function of the view. The tracker and every torrent compute it, and find the same with equal views.
//!
//! The order of the candidates for a fragment comes from three rules, the first that tells two apart decides:
//!
//! 1. **Zones.** Each next place goes to a zone that has been used least so far, by holders and by the places before. A candidate
//!    without a zone is a zone of its own.
//! 2. **Cost.** Weighted rendezvous hashing (`score`): each torrent draws a number with the fragment, divided by its weight; and the
//!    cost of torrents that hold more than their fair share is raised, of those that hold less lowered (`load`).
//! 3. **Name.**
//!
//! What would surprise: [`Placement::new`] looks at how full the torrents are, so the order for one fragment changes with every
//! fragment stored. It says where to put the copies that are *missing*; that an order has changed is no reason to move a copy.
//! [`Placement::ideal`] does not look at it, and there the order moves little: when a torrent joins, every change of a fragment's
//! places is the newcomer taking one; when one leaves, only its own places are taken by others (zones may add to that: a
//! newcomer may open or fill one). In exchange it fills torrents as unevenly as chance does: 1.2 times the mean for the fullest of
//! 100 with 200 fragments each, where [`Placement::new`] keeps to 1.05. `cargo run --release --example placement_figures` prints both.

mod load;
mod score;

use std::collections::BTreeMap;

use protocol::{ClientId, Hash};

use load::Share;
use score::Key;

/// A torrent that may hold fragments.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Who it is. One that is named twice counts once, as named first.
    pub client: &'a ClientId,
    /// How many bytes of fragments it may store: its weight, up to 4 PiB. Where it is not told, or 0, the median of those that are
    /// told stands in.
    pub capacity_bytes: Option<u64>,
    /// How many bytes of fragments it holds.
    pub used_bytes: u64,
    /// The failure domain it stands in. Without one it is a zone of its own.
    pub zone: Option<&'a str>,
}

/// What is aimed at: the same for every fragment of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// How many holders each fragment should have.
    pub copies: usize,
    /// The length in bytes of every fragment but a file's last.
    pub fragment_size_bytes: u64,
}

/// How a candidate stands to one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be given the fragment.
    Free,
    /// It holds the fragment: it gets no place, and its zone counts as used.
    Holds,
    /// It cannot take the fragment now: it gets no place. It still has its fair share of the whole.
    Unable,
}

/// All candidates, prepared to be ranked for many fragments.
#[derive(Debug, Clone)]
pub struct Placement {
    /// By name.
    torrents: Vec<Torrent>,
    zones: usize,
    total_bytes: u128,
    fragment_size_bytes: u64,
    heeds_loads: bool,
}

#[derive(Debug, Clone)]
struct Torrent {
    client: ClientId,
    seed: u64,
    zone: usize,
    share: Share,
    used_bytes: u64,
    /// See [`score::inverse`].
    inverse_weight: u128,
    /// The inverse weight under the pressure of its load: what the surprise is multiplied with.
    cost_factor: u128,
}

/// A free candidate and what it costs to choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    cost: u128,
    /// The index in [`Placement::torrents`]; so equal costs are told apart by name.
    torrent: usize,
}

/// From how many places on all offers are sorted instead of searched anew for each place.
const SORT_FROM: usize = 12;

impl Placement {
    /// The placement that keeps all torrents equally full for their weight.
    #[must_use]
    pub fn new<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>, aim: Aim) -> Self {
        let mut placement = Self::ideal(candidates, aim);
        placement.heeds_loads = true;
        placement.weigh_loads();
        placement
    }

    /// The placement that does not heed what the torrents hold.
    #[must_use]
    pub fn ideal<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>, aim: Aim) -> Self {
        let mut candidates: Vec<Candidate<'a>> = candidates.into_iter().collect();
        candidates.sort_by_key(|candidate| candidate.client);
        candidates.dedup_by_key(|candidate| candidate.client);
        let weights = weights(&candidates);
        let (zones_by_torrent, zones) = number_zones(&candidates);
        let shares = load::fair_shares(&weights, &zones_by_torrent, aim.copies);
        let total_bytes = candidates.iter().map(|candidate| u128::from(candidate.used_bytes)).sum();
        let torrents = candidates.iter().zip(weights).zip(zones_by_torrent).zip(shares);
        let torrents = torrents.map(|(((candidate, weight), zone), share)| {
            let inverse_weight = score::inverse(weight);
            Torrent {
                client: candidate.client.clone(),
                seed: score::seed_of(candidate.client.as_str()),
                zone,
                share,
                used_bytes: candidate.used_bytes,
                inverse_weight,
                cost_factor: inverse_weight,
            }
        });
        Self {
            torrents: torrents.collect(),
            zones,
            total_bytes,
            fragment_size_bytes: aim.fragment_size_bytes,
            heeds_loads: false,
        }
    }

    /// How many candidates there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.torrents.len()
    }

    /// Whether there is no candidate at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.torrents.is_empty()
    }

    /// Takes over how many bytes these candidates hold now. Cheaper than a new placement; who is no candidate is passed over.
    pub fn set_used_bytes<'a>(&mut self, used_bytes: impl IntoIterator<Item = (&'a ClientId, u64)>) {
        for (client, used_bytes) in used_bytes {
            let Some(torrent) = self.index_of(client).and_then(|index| self.torrents.get_mut(index)) else {
                continue;
            };
            self.total_bytes += u128::from(used_bytes);
            self.total_bytes -= u128::from(torrent.used_bytes);
            torrent.used_bytes = used_bytes;
        }
        if self.heeds_loads {
            self.weigh_loads();
        }
    }

    /// The candidates for a fragment, best first, all that are free.
    #[must_use]
    pub fn rank(&self, fragment: &Hash, standing: impl Fn(&ClientId) -> Standing) -> Vec<&ClientId> {
        let mut ranked = Vec::new();
        self.rank_first(fragment, self.len(), standing, &mut ranked);
        ranked
    }

    /// The first `count` of [`Placement::rank`], into `ranked`, whose content is replaced.
    pub fn rank_first<'p>(
        &'p self,
        fragment: &Hash,
        count: usize,
        standing: impl Fn(&ClientId) -> Standing,
        ranked: &mut Vec<&'p ClientId>,
    ) {
        ranked.clear();
        let places = self.places(fragment, count, standing);
        ranked.extend(places.into_iter().map(|torrent| &self.torrents[torrent].client));
    }

    /// Whether `me` is among the first `count` of [`Placement::rank`].
    #[must_use]
    pub fn is_candidate(
        &self,
        fragment: &Hash,
        me: &ClientId,
        count: usize,
        standing: impl Fn(&ClientId) -> Standing,
    ) -> bool {
        self.index_of(me).is_some_and(|me| self.places(fragment, count, standing).contains(&me))
    }

    fn index_of(&self, client: &ClientId) -> Option<usize> {
        self.torrents.binary_search_by_key(&client, |torrent| &torrent.client).ok()
    }

    fn weigh_loads(&mut self) {
        for torrent in &mut self.torrents {
            let pressure =
                torrent.share.pressure(torrent.used_bytes, self.total_bytes, self.fragment_size_bytes);
            torrent.cost_factor = torrent.inverse_weight * u128::from(pressure);
        }
    }

    /// The torrents of the first `count` places.
    fn places(&self, fragment: &Hash, count: usize, standing: impl Fn(&ClientId) -> Standing) -> Vec<usize> {
        let key = Key::of(fragment);
        let mut uses_by_zone = vec![0_u32; self.zones];
        let mut offers = Vec::with_capacity(self.torrents.len());
        for (index, torrent) in self.torrents.iter().enumerate() {
            match standing(&torrent.client) {
                Standing::Free => {
                    let surprise = u128::from(score::surprise(key.draw(torrent.seed)));
                    offers.push(Offer { cost: surprise * torrent.cost_factor, torrent: index });
                }
                Standing::Holds => uses_by_zone[torrent.zone] += 1,
                Standing::Unable => {}
            }
        }
        if count < SORT_FROM {
            self.first_places(offers, uses_by_zone, count)
        } else {
            self.all_places(offers, uses_by_zone, count)
        }
    }

    /// Fills place after place with the best of what is left.
    fn first_places(&self, mut offers: Vec<Offer>, mut uses_by_zone: Vec<u32>, count: usize) -> Vec<usize> {
        let mut places = Vec::with_capacity(count);
        while places.len() < count {
            let rank = |offer: &Offer| (uses_by_zone[self.torrents[offer.torrent].zone], *offer);
            let best = offers.iter().enumerate().min_by_key(|(_, offer)| rank(offer));
            let Some((at, best)) = best.map(|(at, offer)| (at, offer.torrent)) else { break };
            offers.swap_remove(at);
            uses_by_zone[self.torrents[best].zone] += 1;
            places.push(best);
        }
        places
    }

    /// The same for many places: a zone's offers come in the order of their costs, each after as many uses of the zone as there are
    /// holders and cheaper offers in it. So sorting by uses, then cost, is the order in which the places are filled.
    fn all_places(&self, mut offers: Vec<Offer>, mut uses_by_zone: Vec<u32>, count: usize) -> Vec<usize> {
        offers.sort_unstable();
        let ranked = offers.iter().map(|offer| {
            let uses = &mut uses_by_zone[self.torrents[offer.torrent].zone];
            *uses += 1;
            (*uses, offer.torrent)
        });
        let mut ranked: Vec<(u32, usize)> = ranked.collect();
        ranked.sort_by_key(|(uses, _)| *uses);
        ranked.into_iter().map(|(_, torrent)| torrent).take(count).collect()
    }
}

/// The weights of the candidates.
fn weights(candidates: &[Candidate<'_>]) -> Vec<u64> {
    let told = |candidate: &Candidate<'_>| candidate.capacity_bytes.filter(|capacity| *capacity > 0);
    let mut known: Vec<u64> = candidates.iter().filter_map(told).collect();
    known.sort_unstable();
    // Where nobody tells, any number makes them equal.
    let median = known.get(known.len() / 2).copied().unwrap_or(1);
    candidates.iter().map(|candidate| told(candidate).unwrap_or(median).min(load::MAX_WEIGHT)).collect()
}

/// Numbers the zones from 0: the zone of each candidate, and how many there are.
fn number_zones(candidates: &[Candidate<'_>]) -> (Vec<usize>, usize) {
    let mut numbers_by_name = BTreeMap::new();
    let mut count = 0;
    let mut next = || {
        count += 1;
        count - 1
    };
    let zones = candidates.iter().map(|candidate| match candidate.zone {
        Some(name) => *numbers_by_name.entry(name).or_insert_with(&mut next),
        None => next(),
    });
    (zones.collect(), count)
}
