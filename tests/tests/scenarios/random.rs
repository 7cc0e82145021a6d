//! Lives drawn from a seed: any number of torrents and files, deletions, emptied torrents, crashes, cuts, damaged fragments, lost, doubled
//! and late messages. When the faults end, everything comes to rest and nothing that was accepted is lost.
//!
//! `SIM_SEEDS` in the environment draws more lives, `SIM_SEED` one alone, and `SIM_TRACE` has a failure print all that was said.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use distribution::Copies;
use mds_tests::sim::{Cluster, Order, Rng, Weather, Writes, client, tracker_config};
use protocol::Hash;

const SEEDS: u64 = 200;

fn life(seed: u64) {
    let mut draw = Rng::new(seed ^ 0x5eed);
    let mut cluster = Cluster::new(seed);
    cluster.broker.order = [Order::Fifo, Order::PerTopic, Order::Any][draw.below(3)];
    cluster.broker.latency = draw.wait(Duration::from_millis(100));
    cluster.broker.faults.weather =
        Weather { dropped: draw.below(40), duplicated: draw.below(100), delayed: draw.below(100) };
    let copies: Copies = ["1", "2", "2", "3", "all"][draw.below(5)].parse().unwrap();
    cluster.start_tracker(distribution::TrackerConfig { copies, ..tracker_config() });
    let torrents: Vec<String> = (0..1 + draw.below(5)).map(|number| format!("t{number}")).collect();
    for torrent in &torrents {
        cluster.start_torrent(torrent);
        let slow = [2, 50, 3_000, 12_000][draw.below(4)];
        cluster.torrent_node_mut(torrent).writes = Writes::Within(Duration::from_millis(slow));
        cluster.run_for(draw.wait(Duration::from_millis(500)));
    }
    for _ in 0..5 + draw.below(15) {
        something_happens(&mut cluster, &mut draw, &torrents);
        let longest = [20, 200, 3_000, 15_000][draw.below(4)];
        cluster.run_for(draw.wait(Duration::from_millis(longest)));
    }
    all_is_well_again(&mut cluster, &torrents);
    cluster.settle();
}

fn something_happens(cluster: &mut Cluster, draw: &mut Rng, torrents: &[String]) {
    let torrent = &torrents[draw.below(torrents.len())];
    let is_running = cluster.torrent_node(torrent).running().is_some();
    let tracker_runs = cluster.tracker_node().running().is_some();
    match draw.below(15) {
        12 if tracker_runs => {
            let files: Vec<_> = cluster.tracker().view().files().keys().copied().collect();
            if !files.is_empty() {
                cluster.ask_to_remove(files[draw.below(files.len())]);
            }
        }
        13 if tracker_runs => cluster.drain(torrent, draw.chance(1, 2)),
        0..5 if tracker_runs => {
            let length = draw.below(20 * 1024);
            let bytes = if draw.chance(1, 4) { vec![0; length] } else { draw.content(length) };
            cluster.upload(mds_tests::sim::Content::new(bytes, 1024));
        }
        5 | 6 if is_running => cluster.crash(torrent),
        7 if is_running => cluster.shut_down(torrent),
        5..8 => cluster.restart(torrent),
        8 if is_running => {
            cluster.cut(torrent);
            cluster.run_for(draw.wait(Duration::from_secs(12)));
            cluster.connect(&client(torrent));
        }
        9 if tracker_runs => {
            cluster.cut("tracker");
            cluster.run_for(draw.wait(Duration::from_secs(3)));
            cluster.connect(&cluster.tracker_id());
        }
        10 if tracker_runs => cluster.crash("tracker"),
        11 if tracker_runs => cluster.shut_down("tracker"),
        14 if is_running => {
            // Not the last copy on a torrent: the tracker may be letting go of its own.
            let on_torrents = |fragment: &Hash| {
                let disks = cluster.torrent_nodes().map(|(_, node)| &node.disk.fragments);
                disks.filter(|fragments| fragments.contains_key(fragment)).count()
            };
            let stored = cluster.torrent_node(torrent).disk.fragments.keys().copied();
            let bad: Vec<Hash> =
                stored.filter(|fragment| on_torrents(fragment) > 1 && draw.chance(1, 2)).collect();
            cluster.damage(torrent, &bad);
        }
        _ if !tracker_runs => cluster.restart("tracker"),
        _ => {}
    }
}

fn all_is_well_again(cluster: &mut Cluster, torrents: &[String]) {
    cluster.broker.faults.weather = Weather::default();
    // What was late arrives now.
    cluster.run_for(Duration::from_secs(3));
    if cluster.tracker_node().running().is_none() {
        cluster.restart("tracker");
    }
    for torrent in torrents {
        if cluster.torrent_node(torrent).running().is_none() {
            cluster.restart(torrent);
        }
        cluster.drain(torrent, false);
    }
}

#[test]
fn a_random_life_comes_to_rest_with_nothing_lost() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| life(seed))) {
            eprintln!("seed {seed}: run it alone with SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
