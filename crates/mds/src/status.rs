//! `mds status`: one verdict, and the counts behind it.

use endpoint::Verdict;
use endpoint::client::Cluster;
use endpoint::proto::{self, ServerRole};
use serde::{Serialize, Serializer};

use crate::describe::unsigned;
use crate::exit::Failure;
use crate::output::{Output, printable, size};
use crate::terminal::{Colour, coloured};

/// What a daemon says of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct StatusView {
    #[serde(serialize_with = "word")]
    verdict: Verdict,
    /// What the verdict stands on, for people; empty if all is well.
    reasons: Vec<String>,
    server_id: String,
    role: &'static str,
    version: String,
    broker_connected: bool,
    tracker_online: bool,
    /// 0 means one on every torrent.
    copies: u64,
    fragment_size_bytes: u64,
    view_revision: i64,
    view_digest: String,
    torrents_registered: u64,
    torrents_suspect: u64,
    torrents_known: u64,
    files: u64,
    files_bytes: u64,
    fragments: u64,
    fragments_under_replicated: u64,
    fragments_unavailable: u64,
}

/// Prints the verdict of the daemon that answers; the number is the exit code.
pub async fn run(cluster: &Cluster, output: Output) -> Result<u8, Failure> {
    let status = StatusView::of(&cluster.network().await?);
    if output.json {
        output.value(&status)?;
    } else {
        status.lines().iter().try_for_each(|line| output.line(line))?;
    }
    Ok(exit_code(status.verdict))
}

impl StatusView {
    fn of(network: &proto::GetNetworkResponse) -> Self {
        let health = network.health.unwrap_or_default();
        let (verdict, reasons) = Verdict::on(network);
        Self {
            verdict,
            reasons,
            server_id: network.server_id.clone(),
            role: match network.role() {
                ServerRole::Tracker => "tracker",
                ServerRole::Torrent => "torrent",
                ServerRole::Unspecified => "unknown",
            },
            version: network.version.clone(),
            broker_connected: network.broker_connected,
            tracker_online: network.tracker_online,
            copies: unsigned(network.copies),
            fragment_size_bytes: unsigned(network.fragment_size_bytes),
            view_revision: network.view_revision,
            view_digest: network.view_digest.clone(),
            torrents_registered: unsigned(health.servers_registered),
            torrents_suspect: unsigned(health.servers_suspect),
            torrents_known: unsigned(health.servers_known),
            files: unsigned(health.files),
            files_bytes: unsigned(health.files_bytes),
            fragments: unsigned(health.fragments),
            fragments_under_replicated: unsigned(health.fragments_under_replicated),
            fragments_unavailable: unsigned(health.fragments_unavailable),
        }
    }

    fn lines(&self) -> Vec<String> {
        let verdict = match (self.verdict, self.reasons.as_slice()) {
            (Verdict::Ok, _) => {
                format!("{}: every fragment has all its copies", coloured("ok", Some(Colour::Good)))
            }
            (Verdict::Degraded, reasons) => {
                format!("{}: {}", coloured("degraded", Some(Colour::Doubtful)), reasons.join("; "))
            }
            (Verdict::Unavailable, reasons) => {
                format!("{}: {}", coloured("data unavailable", Some(Colour::Bad)), reasons.join("; "))
            }
        };
        let copies = if self.copies == 0 { "all".to_owned() } else { self.copies.to_string() };
        let (registered, suspect, known) =
            (self.torrents_registered, self.torrents_suspect, self.torrents_known);
        vec![
            verdict,
            format!("  torrents   {registered} registered, {suspect} suspect, {known} known"),
            format!("  files      {}, {}", self.files, size(self.files_bytes)),
            format!(
                "  fragments  {}, {} with too few copies, {} unavailable; {copies} copies are wanted",
                self.fragments, self.fragments_under_replicated, self.fragments_unavailable
            ),
            format!(
                "  seen by    {} {}, {}, {}",
                self.role,
                printable(&self.server_id),
                if self.broker_connected { "connected to the broker" } else { "no broker" },
                if self.tracker_online { "tracker online" } else { "no tracker" },
            ),
        ]
    }
}

/// The exit code that tells it.
const fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Degraded => 1,
        Verdict::Unavailable => 2,
    }
}

fn word<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_comes_first_and_is_the_exit_code() {
        let mut health = proto::NetworkHealth { servers_registered: 3, ..Default::default() };
        let status = |health| {
            StatusView::of(&proto::GetNetworkResponse {
                server_id: "tracker".into(),
                broker_connected: true,
                tracker_online: true,
                health: Some(health),
                ..Default::default()
            })
        };
        let first = |status: &StatusView| status.lines().remove(0);
        let well = status(health);
        assert_eq!((first(&well).starts_with("ok: "), exit_code(well.verdict)), (true, 0));
        health.fragments_under_replicated = 1;
        let degraded = status(health);
        assert_eq!(first(&degraded), "degraded: 1 fragment with too few copies");
        assert_eq!(exit_code(degraded.verdict), 1);
        health.fragments_unavailable = 2;
        let unavailable = status(health);
        assert!(first(&unavailable).starts_with("data unavailable: 2 fragments"), "{}", first(&unavailable));
        assert_eq!(exit_code(unavailable.verdict), 2);
    }
}
