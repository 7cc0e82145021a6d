//! `--wait`: until enough torrents hold every fragment durably.

use std::time::Duration;

use endpoint::client::Cluster;
use endpoint::proto::{File, Server, ServerState, parse_digest};
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
        let Wait::Copies(copies) = wait else { return Ok(Self { wait, timeout }) };
        let wanted = u64::from(copies);
        if aim > 0 && wanted > aim {
            let message = format!(
                "--wait: {wanted} copies will never be there, because the tracker makes {aim}: wait for at most that many or for \
                 'all', or start the tracker with more --copies"
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
            Wait::All => {
                let aim = unsigned(cluster.network().await?.copies);
                Ok(all_copies(aim, receivers(cluster).await?))
            }
        }
    }

    async fn timed_out(&self, cluster: &Cluster, copies: u64, wanted: u64) -> Failure {
        let torrents =
            receivers(cluster).await.map_or_else(|_| "unknown".to_owned(), |number| number.to_string());
        let message = format!(
            "the file is in the network, but after {} only {copies} of {wanted} copies are durable (torrents that take some: {torrents}): \
             'mds info' shows how it goes on; start more torrents, or use a longer --timeout",
            humantime::format_duration(self.timeout)
        );
        Failure::new(Code::TimedOut, "COPIES_MISSING", message)
    }
}

/// As many copies as there will be where the tracker makes `aim`, or one on every torrent if that is 0, and `torrents` take some. If none
/// does there is no copy either, so at least one is waited for.
fn all_copies(aim: u64, torrents: u64) -> u64 {
    let copies = if aim == 0 { torrents } else { aim.min(torrents) };
    copies.max(1)
}

/// How many torrents are given copies: one that is to be drained is not.
async fn receivers(cluster: &Cluster) -> Result<u64, Failure> {
    let servers = cluster.servers().await?;
    let takes = |server: &&Server| server.state() == ServerState::Registered && !server.draining;
    Ok(servers.iter().filter(takes).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_are_as_many_as_there_will_be() {
        for (aim, torrents, copies) in [(2, 3, 2), (2, 1, 1), (2, 0, 1), (0, 3, 3), (0, 0, 1)] {
            assert_eq!(all_copies(aim, torrents), copies, "{aim} {torrents}");
        }
    }
}
