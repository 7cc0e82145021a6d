//! The rules of the order.

use distribution::placement::{Aim, Candidate, Placement, Standing};
use proptest::prelude::*;
use protocol::{ClientId, Hash};

use crate::cluster::{Cluster, FRAGMENT_SIZE_BYTES, Node, fragments};

fn names(ranked: &[&ClientId]) -> Vec<String> {
    ranked.iter().map(|client| client.to_string()).collect()
}

#[test]
fn the_order_is_fixed_for_ever() {
    // Computed by another program, in another language, from the description alone.
    let clients: Vec<ClientId> =
        (1..=10).map(|number| format!("torrent-{number}").parse().unwrap()).collect();
    let order = |content: &[u8], weigh: bool| -> Vec<usize> {
        let candidates = (1..).zip(&clients).map(|(number, client)| Candidate {
            client,
            capacity_bytes: weigh.then_some(number),
            used_bytes: 0,
            zone: None,
        });
        let placement = Placement::ideal(candidates, Aim { copies: 2, fragment_size_bytes: 1024 });
        let ranked = placement.rank(&Hash::of(content), |_| Standing::Free);
        ranked.iter().map(|client| client.as_str()["torrent-".len()..].parse().unwrap()).collect()
    };
    assert_eq!(order(b"", false), [1, 8, 2, 3, 9, 10, 6, 7, 4, 5]);
    assert_eq!(order(b"abc", false), [9, 8, 10, 5, 1, 3, 2, 4, 6, 7]);
    assert_eq!(order(b"fragment", false), [6, 7, 10, 5, 8, 4, 9, 3, 2, 1]);
    assert_eq!(order(b"", true), [8, 9, 10, 1, 3, 2, 6, 7, 5, 4]);
    assert_eq!(order(b"abc", true), [9, 8, 10, 5, 3, 6, 7, 2, 4, 1]);
    assert_eq!(order(b"fragment", true), [6, 10, 7, 8, 5, 9, 4, 3, 2, 1]);
}

#[test]
fn without_candidates_there_is_no_order() {
    let placement = Placement::new([], Aim { copies: 2, fragment_size_bytes: 1024 });
    assert!(placement.is_empty());
    assert!(placement.rank(&Hash::of(b""), |_| Standing::Free).is_empty());
    let stranger = "stranger".parse().unwrap();
    assert!(!placement.is_candidate(&Hash::of(b""), &stranger, 9, |_| Standing::Free));
}

#[test]
fn a_torrent_that_holds_far_too_much_is_avoided_and_one_that_holds_little_preferred() {
    let mut cluster = Cluster::equal("torrent", 10, 2);
    for node in &mut cluster.nodes {
        node.used_bytes = 1_000 * FRAGMENT_SIZE_BYTES;
    }
    cluster.nodes[2].used_bytes = 500 * FRAGMENT_SIZE_BYTES;
    cluster.nodes[6].used_bytes = 1_500 * FRAGMENT_SIZE_BYTES;
    let placement = cluster.placement();
    let mut got = [0; 10];
    for fragment in fragments(0..1_000) {
        for (got, node) in got.iter_mut().zip(&cluster.nodes) {
            *got += u32::from(placement.is_candidate(&fragment, &node.client, 2, |_| Standing::Free));
        }
    }
    assert!(got[2] > 300 && got[6] < 80, "{got:?}");
}

#[test]
fn who_tells_no_capacity_counts_as_one_in_the_middle() {
    let order = |capacities: [Option<u64>; 4]| {
        let mut cluster = Cluster::equal("torrent", 4, 2);
        for (node, capacity) in cluster.nodes.iter_mut().zip(capacities) {
            node.capacity_bytes = capacity;
        }
        let placement = cluster.placement();
        fragments(0..200)
            .map(|fragment| names(&placement.rank(&fragment, |_| Standing::Free)))
            .collect::<Vec<_>>()
    };
    assert_eq!(order([None; 4]), order([Some(1 << 40); 4]));
    assert_eq!(order([None; 4]), order([Some(0); 4]));
    let told = order([Some(1 << 30), Some(2 << 30), Some(9 << 30), Some(2 << 30)]);
    assert_eq!(order([Some(1 << 30), Some(2 << 30), Some(9 << 30), None]), told);
    assert_ne!(order([None; 4]), told);
}

#[test]
fn the_zone_of_a_holder_comes_last() {
    let mut cluster = Cluster::equal("torrent", 6, 3);
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        node.zone = Some(["a", "b", "c"][at % 3].to_owned());
    }
    let placement = cluster.placement();
    for fragment in fragments(0..100) {
        let holder = &cluster.nodes[0].client;
        let standing = |client: &ClientId| if client == holder { Standing::Holds } else { Standing::Free };
        let ranked = placement.rank(&fragment, standing);
        assert_eq!(ranked.len(), 5);
        let place = ranked.iter().position(|client| **client == cluster.nodes[3].client);
        assert!(place >= Some(2), "{ranked:?}");
        assert!(!ranked.contains(&holder));
    }
}

prop_compose! {
    fn a_node()(
        name in "[a-z0-9_-]{1,64}",
        capacity_bytes in prop_oneof![Just(None), Just(Some(0)), any::<u64>().prop_map(Some), (1_u64..10).prop_map(Some)],
        zone in proptest::option::of("[a-d]"),
        used_bytes in prop_oneof![Just(0), any::<u64>(), 0_u64..1 << 40],
    ) -> Node {
        Node { client: name.parse().expect("a topic segment"), capacity_bytes, zone, used_bytes }
    }
}

prop_compose! {
    fn a_cluster()(nodes in prop::collection::vec(a_node(), 0..24), copies in 0_usize..30) -> Cluster {
        let mut nodes = nodes;
        nodes.sort_by(|a, b| a.client.cmp(&b.client));
        nodes.dedup_by(|a, b| a.client == b.client);
        Cluster { nodes, copies }
    }
}

fn a_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![4 => Just(Standing::Free), 1 => Just(Standing::Holds), 1 => Just(Standing::Unable)]
}

fn a_hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

/// How the torrents stand to a fragment, by the order of their names.
fn standing_of<'a>(
    cluster: &'a Cluster,
    standings: &'a [Standing],
) -> impl Fn(&ClientId) -> Standing + Copy + 'a {
    move |client| {
        let at = cluster.nodes.iter().position(|node| node.client == *client).expect("a candidate");
        standings[at]
    }
}

proptest! {
    #[test]
    fn every_free_torrent_has_one_place_and_no_other_has_any(
        cluster in a_cluster(), fragment in a_hash(), standings in prop::collection::vec(a_standing(), 24),
    ) {
        let placement = cluster.placement();
        let mut ranked = names(&placement.rank(&fragment, standing_of(&cluster, &standings)));
        ranked.sort();
        let free = cluster.nodes.iter().zip(&standings).filter(|(_, standing)| **standing == Standing::Free);
        prop_assert_eq!(ranked, free.map(|(node, _)| node.client.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn each_next_place_goes_to_the_least_used_zone_and_there_to_the_cheapest(
        cluster in a_cluster(), fragment in a_hash(), standings in prop::collection::vec(a_standing(), 24),
    ) {
        // Without zones, and without the holders' weight on them, the order is that of the costs. The fair shares know zones, so
        // only the ideal placement can be compared.
        let mut flat = cluster.clone();
        flat.nodes.iter_mut().for_each(|node| node.zone = None);
        let by_cost = flat.ideal();
        let mut left = by_cost.rank(&fragment, standing_of(&cluster, &standings));
        let zone_of = |client: &ClientId| {
            let node = cluster.nodes.iter().find(|node| node.client == *client).expect("a candidate");
            node.zone.clone().unwrap_or_else(|| format!("alone: {client}"))
        };
        let mut used: Vec<String> = cluster.nodes.iter().zip(&standings)
            .filter(|(_, standing)| **standing == Standing::Holds)
            .map(|(node, _)| zone_of(&node.client))
            .collect();
        let mut expected = Vec::new();
        while !left.is_empty() {
            let uses = |client: &ClientId| used.iter().filter(|zone| **zone == zone_of(client)).count();
            let best = (0..left.len()).min_by_key(|at| (uses(left[*at]), *at)).unwrap();
            let best = left.remove(best);
            used.push(zone_of(best));
            expected.push(best.to_string());
        }
        let placement = cluster.ideal();
        prop_assert_eq!(names(&placement.rank(&fragment, standing_of(&cluster, &standings))), expected);
    }

    #[test]
    fn the_first_places_are_the_first_of_all_places(
        cluster in a_cluster(), fragment in a_hash(), standings in prop::collection::vec(a_standing(), 24),
    ) {
        let placement = cluster.placement();
        let standing = standing_of(&cluster, &standings);
        let all = placement.rank(&fragment, standing);
        let mut first = Vec::new();
        for count in 0..26 {
            placement.rank_first(&fragment, count, standing, &mut first);
            prop_assert_eq!(&first, &all[..count.min(all.len())]);
            for node in &cluster.nodes {
                let is_candidate = placement.is_candidate(&fragment, &node.client, count, standing);
                prop_assert_eq!(is_candidate, first.contains(&&node.client));
            }
        }
    }

    #[test]
    fn the_order_in_which_candidates_are_told_does_not_matter(cluster in a_cluster(), fragment in a_hash()) {
        let told: Vec<Candidate<'_>> = cluster.candidates().collect();
        let backwards = Placement::new(told.into_iter().rev(), cluster.aim());
        let placement = cluster.placement();
        prop_assert_eq!(placement.rank(&fragment, |_| Standing::Free), backwards.rank(&fragment, |_| Standing::Free));
    }

    #[test]
    fn a_placement_brought_up_to_date_is_a_new_one(
        cluster in a_cluster(), fragment in a_hash(), used in prop::collection::vec(0_u64..1 << 40, 24),
    ) {
        let mut cluster = cluster;
        let mut placement = cluster.placement();
        for (node, used_bytes) in cluster.nodes.iter_mut().zip(used) {
            node.used_bytes = used_bytes;
        }
        let stranger: ClientId = "-stranger-".parse().unwrap();
        let told = cluster.nodes.iter().map(|node| (&node.client, node.used_bytes));
        placement.set_used_bytes(told.chain([(&stranger, 7)]));
        let new = cluster.placement();
        prop_assert_eq!(placement.rank(&fragment, |_| Standing::Free), new.rank(&fragment, |_| Standing::Free));
    }
}
