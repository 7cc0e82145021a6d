//! Measures put and get of the whole service, beside a floor and an ideal, in one run.
//!
//! ```text
//!  floor   three threads copy the file, SHA-256 of each fragment, fsync; no network
//!  ideal   SHA-256, base64 in JSON, QoS 1 through Mosquitto, three subscribers that check and append to a log;
//!          three servers that stream to one client that checks; nothing else around it
//!  ours    tracker, torrents and mds as a user runs them
//!  rqbit   BitTorrent with the same number of peers, where rqbit and mktorrent are installed
//! ```
//!
//! Everything that is measured is a process of its own, so CPU and memory are those that the kernel counts for it. Wall
//! time depends on what else the machine does; CPU seconds per GB and ratios within one run depend on it far less.

mod bittorrent;
mod cluster;
mod data;
mod floor;
mod ideal;
mod machine;
mod mosquitto;
mod process;
mod report;
mod run;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures put and get of the whole service, beside a floor and an ideal, in one run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: run::Options,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program does in a process of its own, so that it can be measured.
#[derive(Debug, Subcommand)]
enum Part {
    /// Copies the file three times.
    #[command(hide = true)]
    Floor(floor::Floor),
    /// Publishes the file's fragments.
    #[command(hide = true)]
    IdealPublisher(ideal::Publisher),
    /// Takes fragments into a log.
    #[command(hide = true)]
    IdealSubscriber(ideal::Subscriber),
    /// Streams fragments from a log.
    #[command(hide = true)]
    IdealServer(ideal::Server),
    /// Fetches all fragments from all servers.
    #[command(hide = true)]
    IdealClient(ideal::Client),
}

fn main() -> ExitCode {
    let Arguments { options, part } = Arguments::parse();
    let result = match part {
        None => run::run(&options),
        Some(Part::Floor(floor)) => floor.run(),
        Some(Part::IdealPublisher(publisher)) => publisher.run(),
        Some(Part::IdealSubscriber(subscriber)) => subscriber.run(),
        Some(Part::IdealServer(server)) => server.run(),
        Some(Part::IdealClient(client)) => client.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A directory that is emptied at the beginning and removed at the end.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> std::io::Result<Self> {
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is overwritten by the next run.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
