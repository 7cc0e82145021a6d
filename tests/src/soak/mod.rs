//! The soak: real daemons and a real Mosquitto that are killed, halted and restarted while files go in, come out and are removed.
//!
//! Faults and traffic are drawn from a seed; when things happen is left to the machine, so a seed repeats what is done and not what comes
//! of it. Every so many kills there is a checkpoint: the faults stop, everything must come to rest, and what was acknowledged must be true.
//!
//! Disks stay, whatever is killed. But for one thing: right after a checkpoint, when everything has its copies, one torrent may lose its
//! disk, or the tracker its machine.

mod checkpoint;
mod cluster;
mod content;
mod ledger;
mod plan;
mod report;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::cluster::Cluster;
use self::ledger::Ledger;
use self::plan::{Plan, Upheaval};
pub use self::report::Report;
use self::traffic::Traffic;

/// How much, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many processes are killed (SIGKILL) in all. What is halted or asked to end comes on top.
    pub kills: usize,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many torrents there are.
    pub torrents: usize,
    /// Kills between two checkpoints.
    pub checkpoint_every: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { kills: 300, seed: 1, torrents: 5, checkpoint_every: 15 }
    }
}

/// How many torrents hold each fragment.
const COPIES: usize = 2;

/// Runs it. What goes on is told on standard error.
///
/// The report says whether anything was lost; a soak that cannot come to rest ends at that checkpoint.
///
/// # Panics
/// If programs or broker cannot be started.
pub async fn run(options: Options) -> Report {
    let started = Instant::now();
    eprintln!("soak: {options:?}");
    let mut plan = Plan::new(options.seed);
    let mut cluster = Cluster::start(options.torrents).await;
    let ledger = Arc::new(Ledger::default());
    let traffic = Traffic::start(options.seed, cluster.addresses(), ledger.clone());
    let mut report = Report::new(options);
    while report.faults.kills() < options.kills && report.goes_on(&ledger) {
        let until = (report.faults.kills() + options.checkpoint_every).min(options.kills);
        while report.faults.kills() < until && report.goes_on(&ledger) {
            let step = plan.next(options.torrents);
            cluster.carry_out(&step, &mut report.faults, &ledger).await;
            sleep(step.then_wait).await;
        }
        let quiet = traffic.halt().await;
        cluster.heal(&ledger).await;
        rest(&mut cluster, &ledger, &mut report).await;
        if report.faults.kills() < options.kills && report.goes_on(&ledger) {
            let upheaval = plan.upheaval(options.torrents);
            cluster.upheave(upheaval, &mut report.faults, &ledger).await;
            if upheaval != Upheaval::None {
                rest(&mut cluster, &ledger, &mut report).await;
            }
        }
        drop(quiet);
    }
    traffic.end();
    report.conclude(&ledger, started.elapsed());
    if !report.is_good() {
        cluster.keep_logs(options.seed);
    }
    report
}

/// How long everything may take to come to rest: several times the longest wait that the daemons know (60 s between two attempts).
const PATIENCE: Duration = Duration::from_secs(300);

async fn rest(cluster: &mut Cluster, ledger: &Ledger, report: &mut Report) {
    let started = Instant::now();
    let outcome = checkpoint::comes_to_rest(cluster, ledger, PATIENCE).await;
    let took = started.elapsed();
    match outcome {
        Ok(files) => {
            eprintln!(
                "soak: after {} at rest in {:.1} s, {files} files verified",
                report.faults,
                took.as_secs_f32()
            );
            report.at_rest(took);
        }
        Err(why) => {
            eprintln!("soak: after {} NOT at rest: {why}", report.faults);
            report.never_at_rest(why);
        }
    }
}
