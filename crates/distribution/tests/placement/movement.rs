//! What changes when torrents join, leave or grow. This is the promise of the ideal placement: the other one is asked only for copies
//! that are missing.

use distribution::placement::Standing;
use protocol::ClientId;

use crate::cluster::{Cluster, fragments, moved, places};

#[test]
fn a_torrent_that_joins_takes_only_its_share() {
    for (before, copies, amount) in
        [(3, 2, 10_000), (3, 3, 10_000), (10, 2, 10_000), (10, 3, 10_000), (100, 2, 40_000)]
    {
        let all = Cluster::equal("torrent", before + 1, copies);
        let mut old = all.clone();
        let newcomer = old.nodes.remove(before / 2).client;
        let (old, new) = (old.ideal(), all.ideal());
        let old = places(&old, fragments(0..amount), copies);
        let new = places(&new, fragments(0..amount), copies);
        let moved = moved(&old, &new);
        let bound = 1.1 / (before + 1) as f64 * (amount as usize * copies) as f64;
        assert!(moved as f64 <= bound, "{moved} copies moved to the newcomer to {before}, {bound} allowed");
        assert!(moved as f64 > bound / 1.3, "{moved} copies are less than its share");
        assert_only_one_differs(&old, &new, &newcomer);
    }
}

/// The order of all others is the same with and without `one`.
fn assert_only_one_differs(a: &[Vec<&ClientId>], b: &[Vec<&ClientId>], one: &ClientId) {
    for (a, b) in a.iter().zip(b) {
        let without = |places: &[&ClientId]| -> Vec<ClientId> {
            places.iter().filter(|client| **client != one).map(|client| (*client).clone()).collect()
        };
        let (a, b) = (without(a), without(b));
        let common = a.len().min(b.len());
        assert!(a.len().abs_diff(b.len()) <= 1);
        assert_eq!(a[..common], b[..common]);
    }
}

#[test]
fn a_torrent_that_leaves_moves_only_what_it_held() {
    let all = Cluster::equal("torrent", 10, 2);
    let mut rest = all.clone();
    let leaver = rest.nodes.remove(3).client;
    let (all, rest) = (all.ideal(), rest.ideal());
    for fragment in fragments(0..1_000) {
        let before = all.rank(&fragment, |_| Standing::Free);
        let after = rest.rank(&fragment, |_| Standing::Free);
        let expected: Vec<_> = before.into_iter().filter(|client| **client != leaver).collect();
        assert_eq!(after, expected);
    }
}

#[test]
fn a_torrent_that_is_unable_is_passed_over() {
    let placement = Cluster::equal("torrent", 10, 2).placement();
    for fragment in fragments(0..100) {
        let all = placement.rank(&fragment, |_| Standing::Free);
        let unable = all[1];
        let standing = |client: &ClientId| if client == unable { Standing::Unable } else { Standing::Free };
        let rest = placement.rank(&fragment, standing);
        assert_eq!(rest, [&all[..1], &all[2..]].concat());
    }
}

#[test]
fn a_torrent_that_grows_only_gains() {
    let mut cluster = Cluster::equal("torrent", 10, 2);
    for node in &mut cluster.nodes {
        node.capacity_bytes = Some(1 << 40);
    }
    let before = cluster.ideal();
    cluster.nodes[7].capacity_bytes = Some(3 << 40);
    let after = cluster.ideal();
    let grown = &cluster.nodes[7].client;
    let mut gained = 0;
    for fragment in fragments(0..2_000) {
        let before = before.rank(&fragment, |_| Standing::Free);
        let after = after.rank(&fragment, |_| Standing::Free);
        let place = |ranked: &[&ClientId]| ranked.iter().position(|client| *client == grown);
        assert!(place(&after) <= place(&before));
        gained += usize::from(place(&before) != Some(0) && place(&after) == Some(0));
        let without = |ranked: Vec<&ClientId>| -> Vec<ClientId> {
            ranked.into_iter().filter(|client| *client != grown).cloned().collect()
        };
        assert_eq!(without(before), without(after));
    }
    // First for 1/10 before, for 3/12 after.
    assert!((250..=350).contains(&gained), "{gained}");
}
