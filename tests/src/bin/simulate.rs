//! Lives of the service drawn from seeds, on all cores.
//!
//! `simulate --seeds 200000 [--first N]` lives many and says what happened; `simulate --seed N [--trace]` lives one. The exit code is 1 if
//! a rule was broken.

use std::process::ExitCode;
use std::time::Instant;

use mds_tests::sim::life::{Broken, Kind, live, simulate};

/// Most broken lives that are told.
const ENOUGH: usize = 20;

struct Orders {
    first: u64,
    seeds: u64,
    alone: Option<u64>,
    trace: bool,
}

fn orders() -> Result<Orders, String> {
    let mut orders = Orders { first: 0, seeds: 5_000, alone: None, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} takes a number"))?;
            text.replace('_', "").parse::<u64>().map_err(|error| format!("{word} {text}: {error}"))
        };
        match word.as_str() {
            "--first" => orders.first = number()?,
            "--seeds" => orders.seeds = number()?,
            "--seed" => orders.alone = Some(number()?),
            "--trace" => orders.trace = true,
            _ => return Err(format!("unknown: {word}; use --seeds N, --first N, --seed N, --trace")),
        }
    }
    Ok(orders)
}

fn main() -> ExitCode {
    let orders = match orders() {
        Ok(orders) => orders,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = orders.alone {
        return match live(seed, orders.trace) {
            Ok(lived) => {
                println!("{}\ntrace {:016x}", lived.figures, lived.trace);
                ExitCode::SUCCESS
            }
            Err(broken) => {
                println!("{broken}");
                ExitCode::FAILURE
            }
        };
    }
    let began = Instant::now();
    let seen = |seeds: u64, broken: Option<&Broken>| {
        if let Some(broken) = broken {
            eprintln!(
                "seed {} after {:.0} s: {}",
                broken.seed,
                began.elapsed().as_secs_f64(),
                broken.violation
            );
        }
        if seeds.is_multiple_of(10_000) {
            eprintln!("{seeds} seeds after {:.0} s", began.elapsed().as_secs_f64());
        }
    };
    let (figures, broken) = simulate(orders.first, orders.seeds, ENOUGH, seen);
    let took = began.elapsed().as_secs_f64();
    println!("{figures}\n{took:.1} s, {:.0} seeds/s", figures.seeds as f64 / took);
    let count = |kind| broken.iter().filter(|broken| broken.violation.kind == kind).count();
    println!("{}", Kind::ALL.map(|kind| format!("{kind} {}", count(kind))).join(", "));
    broken.iter().for_each(|broken| println!("{broken}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
