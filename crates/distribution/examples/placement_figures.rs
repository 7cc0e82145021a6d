//! Prints how evenly the placement fills torrents, how much moves when one joins, and how long it takes. All but the times is the same
//! at every run.
//!
//! `cargo run --release -p distribution --example placement_figures`

#[path = "../tests/placement/cluster.rs"]
mod cluster;

use std::time::Instant;

use cluster::{Cluster, fragments, moved, places};
use distribution::placement::Standing;

/// Names of torrents to make every figure with; the worst is printed.
const KINDS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

fn main() {
    balance();
    weights();
    newcomers();
    movement();
    agreement();
    timing();
}

fn worst(figure: impl Fn(&str) -> f64) -> f64 {
    KINDS.iter().map(|kind| figure(kind)).fold(f64::MIN, f64::max)
}

fn balance() {
    println!("fullest / mean of equal torrents, worst of {} sets of names", KINDS.len());
    println!(
        "{:>9} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "torrents", "copies", "fragments", "view now", "32 old", "64 old", "chance"
    );
    for (count, copies, amount) in [
        (3, 2, 400),
        (10, 2, 400),
        (3, 2, 10_000),
        (3, 3, 10_000),
        (10, 2, 10_000),
        (10, 3, 10_000),
        (100, 2, 10_000),
        (100, 3, 10_000),
    ] {
        let fill = |lag| {
            worst(|kind| {
                let mut cluster = Cluster::equal(kind, count, copies);
                cluster.fill(fragments(0..amount), lag);
                cluster.fullest_to_mean()
            })
        };
        let chance = worst(|kind| {
            let mut cluster = Cluster::equal(kind, count, copies);
            cluster.fill_by(cluster.ideal(), fragments(0..amount), usize::MAX);
            cluster.fullest_to_mean()
        });
        let [now, window, two_windows] = [1, 32, 64].map(fill);
        println!(
            "{count:>9} {copies:>7} {amount:>10} {now:>9.3} {window:>9.3} {two_windows:>9.3} {chance:>9.3}"
        );
    }
}

fn weights() {
    let off = worst(|kind| {
        let mut cluster = Cluster::equal(kind, 10, 2);
        for (node, gib) in cluster.nodes.iter_mut().zip(1..) {
            node.capacity_bytes = Some(gib << 30);
        }
        cluster.fill(fragments(0..10_000), 64);
        let (least, most) = cluster.held_to_weight();
        f64::max(1.0 - least, most - 1.0)
    });
    println!("\ncapacities 1 to 10, 10 000 fragments in 2 copies: off by at most {:.1} %", off * 100.0);
}

fn newcomers() {
    println!("\nan empty torrent joins full ones: part of the next fragments that it gets a copy of");
    for before in [3, 10, 100] {
        let mut cluster = Cluster::equal("torrent", before, 2);
        cluster.fill(fragments(0..10_000), 64);
        let newcomer = Cluster::equal("newcomer", 1, 2).nodes.remove(0);
        cluster.nodes.insert(0, newcomer.clone());
        let placement = cluster.placement();
        let next = places(&placement, fragments(10_000..20_000), 2);
        let got = next.iter().filter(|places| places.contains(&&newcomer.client)).count();
        println!("{before:>9} torrents: {:.3}, fair {:.3}", got as f64 / 1e4, 2.0 / (before + 1) as f64);
    }
}

fn movement() {
    println!("\none torrent joins: copies that the ideal placement moves, times the number of torrents then");
    for (before, copies) in [(3, 2), (10, 2), (10, 3), (100, 2)] {
        let all = Cluster::equal("torrent", before + 1, copies);
        let mut old = all.clone();
        old.nodes.remove(before / 2);
        let amount = 100_000;
        let (old, all) = (old.ideal(), all.ideal());
        let moved =
            moved(&places(&old, fragments(0..amount), copies), &places(&all, fragments(0..amount), copies));
        let part = moved as f64 / (amount * copies as u64) as f64 * (before + 1) as f64;
        println!("{before:>9} torrents, {copies} copies: {part:.3}");
    }
}

fn agreement() {
    println!("\nhow often one of the first 2 of one view is not among the first 4 of an older view");
    for (count, older) in [(10, 8), (10, 32), (100, 8), (100, 32)] {
        let mut cluster = Cluster::equal("torrent", count, 2);
        cluster.fill(fragments(0..10_000), 1);
        let theirs = cluster.placement();
        cluster.fill(fragments(10_000..10_000 + older), 1);
        let ours = cluster.placement();
        let pairs = places(&ours, fragments(20_000..40_000), 2);
        let spares = places(&theirs, fragments(20_000..40_000), 4);
        let missed =
            pairs.iter().zip(&spares).filter(|(pair, spares)| pair.iter().any(|c| !spares.contains(c)));
        println!("{count:>9} torrents, {older} fragments older: {:.2} %", missed.count() as f64 / 200.0);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it measures; the rules of the pure crate are for what it measures"
)]
fn timing() {
    println!("\n100 torrents, 2 copies; one thread");
    let cluster = Cluster::equal("torrent", 100, 2);
    let hashes: Vec<_> = fragments(0..100_000).collect();
    let placement = cluster.placement();
    let start = Instant::now();
    let mut ranked = Vec::new();
    for hash in &hashes {
        placement.rank_first(hash, 4, |_| Standing::Free, &mut ranked);
    }
    println!("  first 4 places of 100 000 fragments: {:?}", start.elapsed());
    for lag in [1, 64] {
        let mut cluster = cluster.clone();
        let start = Instant::now();
        cluster.fill(hashes.iter().copied(), lag);
        println!("  100 000 fragments placed, view brought up to date every {lag}: {:?}", start.elapsed());
    }
    let start = Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(cluster.placement());
    }
    println!("  preparing one placement: {:?}", start.elapsed() / 10_000);
}
