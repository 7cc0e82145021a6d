//! Kills, halts and restarts real daemons and a real Mosquitto while files go in, come out and are removed; see
//! [`mds_tests::soak`].
//!
//! `cargo run -p mds-tests --bin soak -- [--kills N] [--seed N] [--torrents N] [--checkpoint-every N]`

use std::process::ExitCode;

use mds_tests::mosquitto::PACKAGE;
use mds_tests::soak::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("soak: {problem}: use [--kills N] [--seed N] [--torrents N] [--checkpoint-every N]");
            return ExitCode::from(2);
        }
    };
    if PACKAGE.find().is_none() {
        eprintln!("soak: Mosquitto is not installed: apt-get install mosquitto");
        return ExitCode::from(2);
    }
    let report = soak::run(options).await;
    println!("{report}");
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} lacks its value"))?;
        let number: usize = value.parse().map_err(|_| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--kills" => options.kills = number,
            "--seed" => options.seed = number as u64,
            "--torrents" if number > 2 => options.torrents = number,
            "--torrents" => return Err("at least 3 torrents".to_owned()),
            "--checkpoint-every" => options.checkpoint_every = number.max(1),
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(options)
}
