//! One run: every measurement, interleaved, and the report.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::process::Process;
use crate::report;
use crate::sample::{Job, Key, Role, Sample, Subject};
use crate::{Scratch, bittorrent, cluster, data, floor, ideal, machine};

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Size of the file.
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// Sizes of the fragments, in bytes.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [64 << 10, 256 << 10, 1 << 20])]
    fragment_size: Vec<u64>,
    /// How many torrents hold each fragment.
    #[arg(long, default_value_t = 3)]
    copies: usize,
    /// How many torrents there are; as many as copies by default.
    #[arg(long)]
    torrents: Option<usize>,
    /// Where the file and everything that is stored goes: a disk, or /dev/shm/bench to leave the disk out of the figures.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Measure only these.
    #[arg(long, value_delimiter = ',', default_values_t = [Only::Floor, Only::Ideal, Only::Ours, Only::Bittorrent])]
    only: Vec<Only>,
    /// Use the programs in this directory instead of building them.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Write every measurement to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say which threads of the daemons used the CPU.
    #[arg(long)]
    threads: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Floor,
    Ideal,
    Ours,
    Bittorrent,
}

impl std::fmt::Display for Only {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Ideal => "ideal",
            Self::Ours => "ours",
            Self::Bittorrent => "bittorrent",
        })
    }
}

/// Measures everything, and prints the report as Markdown.
pub fn run(options: &Options) -> Result<()> {
    let machine = machine::describe();
    let binaries = match &options.binaries {
        Some(binaries) => binaries.clone(),
        None if options.only.contains(&Only::Ours) => build()?,
        None => PathBuf::new(),
    };
    let source = data::file(&options.dir, options.mib)?;
    let mut subjects = options.only.clone();
    if subjects.contains(&Only::Bittorrent) && !bittorrent::is_installed() {
        eprintln!(
            "BitTorrent is left out: `apt-get install mktorrent` and `cargo install rqbit` bring what it needs"
        );
        subjects.retain(|only| *only != Only::Bittorrent);
    }
    let mut samples = Vec::new();
    for repetition in 1..=options.reps {
        eprintln!("repetition {repetition} of {}", options.reps);
        for &fragment_size_bytes in &options.fragment_size {
            for &only in &subjects {
                machine::settle(&options.dir)?;
                let measured = measure(options, only, &binaries, &source, fragment_size_bytes)
                    .with_context(|| format!("{only}, fragments of {fragment_size_bytes} bytes"))?;
                for sample in measured {
                    eprintln!("  {}", report::line(&sample));
                    samples.push(sample);
                }
            }
        }
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&samples)?)?;
    }
    let torrents = options.torrents.unwrap_or(options.copies);
    println!(
        "{} MiB, {} copies on {torrents} torrents, {} repetitions, files in {}; {machine}\n",
        options.mib,
        options.copies,
        options.reps,
        options.dir.display()
    );
    print!("{}", report::markdown(&samples, options.copies));
    Ok(())
}

fn measure(
    options: &Options,
    only: Only,
    binaries: &Path,
    source: &Path,
    fragment_size_bytes: u64,
) -> Result<Vec<Sample>> {
    let (directory, copies) = (options.dir.as_path(), options.copies);
    let measured = match only {
        Only::Floor => vec![measure_floor(directory, source, fragment_size_bytes, copies)?],
        Only::Bittorrent => bittorrent::measure(directory, source, fragment_size_bytes, copies)?.to_vec(),
        Only::Ideal => ideal::measure(directory, source, fragment_size_bytes, copies)?.to_vec(),
        Only::Ours => {
            let torrents = options.torrents.unwrap_or(copies);
            let show_threads = options.threads;
            let setup = cluster::Setup {
                binaries,
                directory,
                source,
                fragment_size_bytes,
                copies,
                torrents,
                show_threads,
            };
            cluster::measure(&setup)?.to_vec()
        }
    };
    Ok(measured)
}

fn measure_floor(directory: &Path, source: &Path, fragment_size_bytes: u64, copies: usize) -> Result<Sample> {
    let scratch = Scratch::new(directory.join("floor"))?;
    let file_bytes = fs::metadata(source)?.len();
    let arguments = floor::arguments(source, &scratch.0, fragment_size_bytes, copies)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let (_, usage) = Process::part(Role::Client, &arguments)?.finish()?;
    let wall_s = began.elapsed().as_secs_f64();
    let key = Key { job: Job::Put, subject: Subject::Floor, fragment_size_bytes };
    let mut sample = Sample::new(key, file_bytes, wall_s, &[usage]);
    sample.disk_bytes = Some(machine::disk_bytes(&scratch.0));
    Ok(sample)
}

/// Builds what is measured; it lies beside this program.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let packages = ["-p", "tracker", "-p", "torrent", "-p", "mds"];
    let status = Command::new(cargo).args(["build", "--release"]).args(packages).status()?;
    ensure!(status.success(), "the daemons could not be built");
    let this = std::env::current_exe()?;
    Ok(this.parent().context("this program lies nowhere")?.to_owned())
}
