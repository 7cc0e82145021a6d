//! Who should hold a fragment: the placement, fed from a view.

use protocol::{ClientId, Hash};

use crate::view::{Client, View};

/// The first `count` torrents that should hold the fragment besides its holders, best first. Tracker and torrents ask the same
/// question and, with equal views, find the same answer.
pub fn ranked(
    view: &View,
    fragment: &Hash,
    count: usize,
    is_eligible: impl Fn(&ClientId, &Client) -> bool,
) -> Vec<ClientId> {
    view.clients()
        .iter()
        .filter(|(client, known)| !view.holds(client, fragment) && is_eligible(client, known))
        .map(|(client, _)| client.clone())
        .take(count)
        .collect()
}
