//! `--wait`: until enough torrents hold every fragment durably.

use std::time::Duration;

use endpoint::client::Cluster;
use endpoint::proto::{File, ServerState, parse_digest};
use tokio::time::{Instant, sleep};

use crate::cli::Wait;
use crate::describe::unsigned;
use crate::exit::{Code, Failure};
use crate::progress;

/// The pauses between questions: a part of the time that has gone by, so that a wait ends little later than it could.
const PART_OF_ELAPSED: u32 = 12;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many copies to wait for.
#[derive(Debug, Clone, Copy)]
pub struct Copies {
    wait: Wait,
    timeout: Duration,
}

impl Copies {
    /// Checks beforehand that the network aims at that many copies: else the wait would be in vain.
    ///
    /// # Errors
    /// If it does not, or nobody answers.
    pub async fn wanted(cluster: &Cluster, wait: Wait, timeout: Duration) -> Result<Self, Failure> {
        let aim = unsigned(cluster.network().await?.copies);
        let registered = registered(cluster).await?;
        let wanted = match wait {
            Wait::Copies(copies) => u64::from(copies),
            Wait::All => registered,
        };
        if aim > 0 && wanted > aim {
            let message = format!(
                "--wait: {wanted} copies will never be there, because the tracker makes {aim}: wait for at most that many, or start \
                 the tracker with more --copies"
            );
            return Err(Failure::new(Code::Usage, "TOO_MANY_COPIES", message));
        }
        Ok(Self { wait, timeout })
    }

    /// Waits until `file` has them; gives what is known of it then.
    ///
    /// # Errors
    /// If it takes too long, or nobody answers.
    pub async fn wait_for(&self, cluster: &Cluster, file: &File, json: bool) -> Result<File, Failure> {
        let invalid =
            |_| Failure::new(Code::Failed, "INVALID_ANSWER", "the tracker answered with an invalid digest");
        let hash = parse_digest(&file.digest).map_err(invalid)?;
        let begin = Instant::now();
        let bar = progress::bytes("waiting for copies", None, json);
        loop {
            let file = cluster.file(&hash).await?;
            let (copies, wanted) = (unsigned(file.min_holders), self.number(cluster).await?);
            if file.fragment_count == 0 || copies >= wanted {
                bar.finish_and_clear();
                return Ok(file);
            }
            bar.set_message(format!("{copies} of {wanted} copies"));
            bar.tick();
            let pause = (begin.elapsed() / PART_OF_ELAPSED).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            if begin.elapsed() + pause > self.timeout {
                bar.finish_and_clear();
                return Err(self.timed_out(cluster, copies, wanted).await);
            }
            sleep(pause).await;
        }
    }

    async fn number(&self, cluster: &Cluster) -> Result<u64, Failure> {
        match self.wait {
            Wait::Copies(copies) => Ok(copies.into()),
            // Of no torrent at all there is no copy either.
            Wait::All => Ok(registered(cluster).await?.max(1)),
        }
    }

    async fn timed_out(&self, cluster: &Cluster, copies: u64, wanted: u64) -> Failure {
        let torrents =
            registered(cluster).await.map_or_else(|_| "unknown".to_owned(), |number| number.to_string());
        let message = format!(
            "the file is in the network, but after {} only {copies} of {wanted} copies are durable ({torrents} torrents are registered): \
             'mds info' shows how it goes on; start more torrents, or use a longer --timeout",
            humantime::format_duration(self.timeout)
        );
        Failure::new(Code::TimedOut, "COPIES_MISSING", message)
    }
}

async fn registered(cluster: &Cluster) -> Result<u64, Failure> {
    let servers = cluster.servers().await?;
    Ok(servers.iter().filter(|server| server.state() == ServerState::Registered).count() as u64)
}
