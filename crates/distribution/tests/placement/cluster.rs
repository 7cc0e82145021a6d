//! Torrents that are filled as a tracker fills them: fragment after fragment, the view some fragments behind.

use std::collections::BTreeSet;

use distribution::placement::{Aim, Candidate, Placement, Standing};
use protocol::{ClientId, Hash};

/// The length of every fragment in bytes.
pub const FRAGMENT_SIZE_BYTES: u64 = 256 << 10;

/// A torrent and what it holds.
#[derive(Debug, Clone)]
pub struct Node {
    pub client: ClientId,
    pub capacity_bytes: Option<u64>,
    pub zone: Option<String>,
    pub used_bytes: u64,
}

/// Some torrents, by name, and how many copies they keep.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub copies: usize,
}

/// The fragments `range` of the endless sequence that all figures are made with.
pub fn fragments(range: std::ops::Range<u64>) -> impl Iterator<Item = Hash> {
    range.map(|number| Hash::of(&number.to_be_bytes()))
}

impl Cluster {
    /// `count` torrents that differ by their names only; others for each `kind`.
    pub fn equal(kind: &str, count: usize, copies: usize) -> Self {
        let node = |number| Node {
            client: format!("{kind}-{number}").parse().expect("a name in lower case"),
            capacity_bytes: None,
            zone: None,
            used_bytes: 0,
        };
        let mut nodes: Vec<Node> = (0..count).map(node).collect();
        nodes.sort_by(|a, b| a.client.cmp(&b.client));
        Self { nodes, copies }
    }

    /// The torrents as candidates.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.nodes.iter().map(|node| Candidate {
            client: &node.client,
            capacity_bytes: node.capacity_bytes,
            used_bytes: node.used_bytes,
            zone: node.zone.as_deref(),
        })
    }

    pub fn aim(&self) -> Aim {
        Aim { copies: self.copies, fragment_size_bytes: FRAGMENT_SIZE_BYTES }
    }

    pub fn placement(&self) -> Placement {
        Placement::new(self.candidates(), self.aim())
    }

    pub fn ideal(&self) -> Placement {
        Placement::ideal(self.candidates(), self.aim())
    }

    /// Places the fragments; the view shows what is held only after every `lag` of them.
    pub fn fill(&mut self, fragments: impl IntoIterator<Item = Hash>, lag: usize) {
        self.fill_by(self.placement(), fragments, lag);
    }

    /// The same with a placement that may be another than the usual one.
    pub fn fill_by(
        &mut self,
        mut placement: Placement,
        fragments: impl IntoIterator<Item = Hash>,
        lag: usize,
    ) {
        let mut unseen = BTreeSet::new();
        for (number, fragment) in (1..).zip(fragments) {
            let mut places = Vec::new();
            placement.rank_first(&fragment, self.copies, |_| Standing::Free, &mut places);
            for client in places {
                let at = self.index_of(client);
                self.nodes[at].used_bytes += FRAGMENT_SIZE_BYTES;
                unseen.insert(at);
            }
            if number % lag == 0 {
                let seen = std::mem::take(&mut unseen);
                let seen = seen.iter().map(|at| &self.nodes[*at]);
                placement.set_used_bytes(seen.map(|node| (&node.client, node.used_bytes)));
            }
        }
    }

    fn index_of(&self, client: &ClientId) -> usize {
        self.nodes.binary_search_by_key(&client, |node| &node.client).expect("a candidate")
    }

    /// How many fragments each holds.
    pub fn held(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.used_bytes / FRAGMENT_SIZE_BYTES).collect()
    }

    /// What the fullest holds, divided by the mean.
    pub fn fullest_to_mean(&self) -> f64 {
        let held = self.held();
        let fullest = held.iter().max().copied().unwrap_or(0);
        fullest as f64 * held.len() as f64 / held.iter().sum::<u64>() as f64
    }

    /// What each holds divided by what its capacity demands; the least and the greatest.
    pub fn held_to_weight(&self) -> (f64, f64) {
        let all_bytes: u64 = self.nodes.iter().map(|node| node.used_bytes).sum();
        let weight = |node: &Node| node.capacity_bytes.expect("every torrent has a capacity") as f64;
        let all_weight: f64 = self.nodes.iter().map(weight).sum();
        let ratio = |node: &Node| node.used_bytes as f64 / all_bytes as f64 * all_weight / weight(node);
        self.nodes
            .iter()
            .map(ratio)
            .fold((f64::MAX, 0.0), |(least, most), ratio| (f64::min(least, ratio), f64::max(most, ratio)))
    }
}

/// The first `count` places of each fragment.
pub fn places(
    placement: &Placement,
    fragments: impl IntoIterator<Item = Hash>,
    count: usize,
) -> Vec<Vec<&ClientId>> {
    let place = |fragment| {
        let mut places = Vec::new();
        placement.rank_first(&fragment, count, |_| Standing::Free, &mut places);
        places
    };
    fragments.into_iter().map(place).collect()
}

/// How many places of `before` are not among those of `after` for the same fragment.
pub fn moved(before: &[Vec<&ClientId>], after: &[Vec<&ClientId>]) -> usize {
    let pairs = before.iter().zip(after);
    pairs.map(|(before, after)| before.iter().filter(|client| !after.contains(client)).count()).sum()
}
