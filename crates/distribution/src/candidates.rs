//! Who should hold a fragment: the placement, fed from a view.

use protocol::{ClientId, Hash, Zone};

use crate::placement::{Aim, Candidate, Placement, Standing};
use crate::view::{Client, View};

/// The first `count` torrents that should hold the fragment besides its holders, best first. Tracker and torrents ask the same
/// question and, with equal views, find the same answer.
pub fn ranked(
    view: &View,
    copies: usize,
    fragment: &Hash,
    count: usize,
    is_eligible: impl Fn(&ClientId, &Client) -> bool,
) -> Vec<ClientId> {
    let candidates = view.clients().iter().map(|(client, known)| Candidate {
        client,
        capacity_bytes: known.registration.capacity_bytes,
        used_bytes: known.used_bytes,
        zone: known.registration.zone.as_ref().map(Zone::as_str),
    });
    let fragment_size_bytes = view.fragment_size_bytes().unwrap_or(1);
    let placement = Placement::new(candidates, Aim { copies, fragment_size_bytes });
    let standing = |client: &ClientId| match view.client(client) {
        Some(_) if view.holds(client, fragment) => Standing::Holds,
        Some(known) if is_eligible(client, known) => Standing::Free,
        Some(_) | None => Standing::Unable,
    };
    let mut first = Vec::with_capacity(count);
    placement.rank_first(fragment, count, standing, &mut first);
    first.into_iter().cloned().collect()
}
