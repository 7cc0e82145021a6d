//! Thousands of lives of the simulated service: crashes at every point of persistence, power cuts, partitions, pauses, wiped and rotting
//! disks, lost, doubled and late messages. Nothing promised is lost, and everything comes right when the faults end.
//!
//! `SIM_SEEDS` in the environment says how many lives; `cargo run --release -p mds-tests --bin simulate -- --seeds 200000` lives more.

use mds_tests::sim::life::{Broken, live, simulate};

const SEEDS: u64 = 5_000;
/// What so many lives take of simulated time, at least.
const CLUSTER_HOURS: f64 = 250.0;

#[test]
fn in_thousands_of_lives_nothing_promised_is_lost_and_everything_comes_right() {
    let seeds = std::env::var("SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"));
    let (figures, broken) = simulate(0, seeds, 5, |_, _| {});
    println!("{figures}");
    let told: Vec<String> = broken.iter().map(Broken::to_string).collect();
    assert!(broken.is_empty(), "{}", told.join("\n"));
    let hours = figures.simulated.as_secs_f64() / 3600.0;
    assert!(hours >= CLUSTER_HOURS * seeds as f64 / SEEDS as f64, "{hours:.1} cluster-hours are too few");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 2, 3, 1_000_003] {
        let (once, again) = (live(seed, false), live(seed, true));
        let (once, again) =
            (once.map_err(|broken| broken.violation), again.map_err(|broken| broken.violation));
        assert_eq!(once, again, "seed {seed}");
    }
}
