//! How evenly torrents are filled.

use distribution::placement::Standing;

use crate::cluster::{Cluster, fragments, places};

/// How many fragments may be decided on before the view shows them.
const LAGS: [usize; 2] = [1, 64];

#[test]
fn the_fullest_of_equal_torrents_holds_at_most_1_05_times_the_mean() {
    for (count, copies) in [(3, 2), (3, 3), (10, 2), (10, 3), (100, 2), (100, 3)] {
        for lag in LAGS {
            let mut cluster = Cluster::equal("torrent", count, copies);
            cluster.fill(fragments(0..10_000), lag);
            assert_eq!(cluster.held().iter().sum::<u64>(), 10_000 * copies as u64);
            let ratio = cluster.fullest_to_mean();
            assert!(ratio <= 1.05, "{count} torrents, {copies} copies, view {lag} behind: {ratio}");
        }
    }
}

#[test]
fn chance_alone_would_not_fill_them_so_evenly() {
    let mut cluster = Cluster::equal("torrent", 100, 2);
    cluster.fill_by(cluster.ideal(), fragments(0..10_000), 1);
    assert!(cluster.fullest_to_mean() > 1.1);
}

#[test]
fn the_first_fragments_are_already_spread() {
    // 400 fragments, as of a file of 100 MB. Chance alone gives 1.07 at 3 torrents and 1.3 at 10.
    for (count, bound) in [(3, 1.05), (10, 1.15)] {
        let mut cluster = Cluster::equal("torrent", count, 2);
        cluster.fill(fragments(0..400), 32);
        let ratio = cluster.fullest_to_mean();
        assert!(ratio <= bound, "{count} torrents: {ratio}");
    }
    let mut cluster = Cluster::equal("torrent", 100, 2);
    cluster.fill(fragments(0..100), 32);
    assert!(cluster.held().iter().all(|held| *held <= 7), "{:?}", cluster.held());
}

#[test]
fn a_torrent_that_joins_catches_up_but_does_not_attract_everything() {
    // (torrents before, how many times its fair share the newcomer may get at first)
    for (count, times) in [(10, 5.0), (100, 5.0)] {
        let all = Cluster::equal("torrent", count + 1, 2);
        let mut old = all.clone();
        let newcomer = old.nodes.remove(count / 2);
        old.fill(fragments(0..10_000), 64);
        let mut cluster = old.clone();
        cluster.nodes.insert(count / 2, newcomer.clone());

        let placement = cluster.placement();
        let first = places(&placement, fragments(10_000..12_000), 2);
        let got = first.iter().filter(|places| places.contains(&&newcomer.client)).count() as f64 / 2000.0;
        let fair = 2.0 / (count + 1) as f64;
        assert!(
            got > 1.5 * fair && got < times * fair,
            "{count} torrents: {got} of the fragments, {fair} is fair"
        );

        cluster.fill(fragments(10_000..40_000), 64);
        let ratio = cluster.fullest_to_mean();
        assert!(ratio <= 1.05, "{count} torrents: {ratio}");
    }
}

#[test]
fn capacities_are_honoured_within_5_percent() {
    let gib = 1 << 30;
    let ramp = |at: usize| Some((at as u64 + 1) * 100 * gib);
    let two_kinds = |at: usize| Some(if at.is_multiple_of(3) { 4_000 * gib } else { 500 * gib });
    for (name, capacity) in [("ramp", &ramp as &dyn Fn(usize) -> Option<u64>), ("two kinds", &two_kinds)] {
        for (count, copies, amount) in [(10, 2, 10_000), (10, 3, 10_000), (40, 2, 20_000)] {
            for lag in LAGS {
                let mut cluster = Cluster::equal("torrent", count, copies);
                for (at, node) in cluster.nodes.iter_mut().enumerate() {
                    node.capacity_bytes = capacity(at);
                }
                cluster.fill(fragments(0..amount), lag);
                let (least, most) = cluster.held_to_weight();
                assert!(
                    least >= 0.95 && most <= 1.05,
                    "{name}, {count} torrents, {copies} copies, view {lag} behind: {least} to {most}"
                );
            }
        }
    }
}

#[test]
fn a_torrent_too_large_for_its_share_takes_a_copy_of_nearly_everything() {
    let mut cluster = Cluster::equal("torrent", 4, 2);
    for (node, capacity) in cluster.nodes.iter_mut().zip([100, 1, 2, 1]) {
        node.capacity_bytes = Some(capacity << 40);
    }
    cluster.fill(fragments(0..10_000), 64);
    let held = cluster.held();
    assert!(held[0] >= 9_900, "{held:?}");
    for (held, fair) in held[1..].iter().zip([2_500.0, 5_000.0, 2_500.0]) {
        assert!((*held as f64 / fair - 1.0).abs() < 0.05, "{held} of {fair}");
    }
}

#[test]
fn zones_are_filled_by_capacity_as_far_as_spreading_allows() {
    // One zone of 2 torrents, one of 3, one of 5: each torrent should hold 1/5 of the fragments.
    let mut cluster = Cluster::equal("torrent", 10, 2);
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        node.zone = Some(["a", "a", "b", "b", "b", "c", "c", "c", "c", "c"][at].to_owned());
    }
    cluster.fill(fragments(0..10_000), 64);
    let held = cluster.held();
    assert!(held.iter().all(|held| (1_900..=2_100).contains(held)), "{held:?}");

    // One zone of 1 torrent, one of 9: every fragment has a copy in both.
    for node in &mut cluster.nodes {
        node.used_bytes = 0;
        node.zone = Some("b".to_owned());
    }
    cluster.nodes[4].zone = Some("a".to_owned());
    cluster.fill(fragments(0..9_000), 64);
    let mut held = cluster.held();
    assert_eq!(held.remove(4), 9_000);
    assert!(held.iter().all(|held| (950..=1_050).contains(held)), "{held:?}");
}

#[test]
fn views_that_differ_by_some_fragments_find_nearly_the_same() {
    // Who the tracker prefers must ask for the fragment, or the tracker waits: each torrent asks if it is among the first two and
    // two spares, by a view that may be some fragments behind the tracker's.
    let mut cluster = Cluster::equal("torrent", 30, 2);
    cluster.fill(fragments(0..2_000), 1);
    let theirs = cluster.placement();
    cluster.fill(fragments(2_000..2_008), 1);
    let ours = cluster.placement();
    let mut missed = 0;
    for fragment in fragments(5_000..10_000) {
        let mut preferred = Vec::new();
        ours.rank_first(&fragment, 2, |_| Standing::Free, &mut preferred);
        let asks = |client| theirs.is_candidate(&fragment, client, 4, |_| Standing::Free);
        missed += usize::from(!preferred.into_iter().all(asks));
    }
    assert!(missed <= 50, "{missed} of 5000");
}
