//! `mds status`: one verdict, and the counts behind it.

use endpoint::client::Cluster;
use endpoint::proto::{self, ServerRole};
use serde::Serialize;

use crate::describe::unsigned;
use crate::exit::Failure;
use crate::output::{Output, count, printable, size};
use crate::terminal::{Colour, coloured};

/// How the network does; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything is there, in as many copies as it should.
    Ok = 0,
    /// Everything can be read, but not all is as it should be.
    Degraded = 1,
    /// Some data cannot be read now.
    Unavailable = 2,
}

/// What a daemon says of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct StatusView {
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
    Ok(status.verdict as u8)
}

impl StatusView {
    fn of(network: &proto::GetNetworkResponse) -> Self {
        let health = network.health.unwrap_or_default();
        let (verdict, reasons) = judge(network, &health);
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

fn judge(network: &proto::GetNetworkResponse, health: &proto::NetworkHealth) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    let mut verdict = Verdict::Ok;
    let mut find = |found: bool, worst: Verdict, reason: String| {
        if found {
            verdict = verdict.max(worst);
            reasons.push(reason);
        }
    };
    let number = |number: i64, thing: &str| count(unsigned(number), thing);
    let unavailable = number(health.fragments_unavailable, "fragment");
    find(
        health.fragments_unavailable > 0,
        Verdict::Unavailable,
        format!("{unavailable} without a holder that can be asked now: start the torrents that are down"),
    );
    let under = number(health.fragments_under_replicated, "fragment");
    find(health.fragments_under_replicated > 0, Verdict::Degraded, format!("{under} with too few copies"));
    find(health.servers_registered == 0, Verdict::Degraded, "no torrent is registered".into());
    let suspect = number(health.servers_suspect.into(), "torrent");
    find(health.servers_suspect > 0, Verdict::Degraded, format!("the connection of {suspect} was lost"));
    let asked = printable(&network.server_id);
    find(!network.broker_connected, Verdict::Degraded, format!("{asked} is not connected to the broker"));
    find(!network.tracker_online, Verdict::Degraded, format!("{asked} knows of no tracker that is online"));
    (verdict, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(change: impl FnOnce(&mut proto::GetNetworkResponse, &mut proto::NetworkHealth)) -> StatusView {
        let mut health = proto::NetworkHealth {
            servers_registered: 3,
            servers_known: 3,
            files: 1,
            fragments: 4,
            ..Default::default()
        };
        let mut network = proto::GetNetworkResponse {
            server_id: "tracker".into(),
            broker_connected: true,
            tracker_online: true,
            copies: 2,
            ..Default::default()
        };
        change(&mut network, &mut health);
        network.health = Some(health);
        StatusView::of(&network)
    }

    #[test]
    fn nothing_missing_is_ok() {
        let status = network(|_, _| {});
        assert_eq!((status.verdict, status.reasons.len()), (Verdict::Ok, 0));
        assert!(status.lines()[0].starts_with("ok"));
    }

    #[test]
    fn too_few_copies_are_degraded_and_no_copy_is_unavailable() {
        let degraded = network(|_, health| health.fragments_under_replicated = 1);
        assert_eq!(degraded.verdict, Verdict::Degraded);
        assert_eq!(degraded.reasons, ["1 fragment with too few copies"]);
        let unavailable = network(|_, health| {
            health.fragments_under_replicated = 1;
            health.fragments_unavailable = 2;
        });
        assert_eq!((unavailable.verdict, unavailable.reasons.len()), (Verdict::Unavailable, 2));
    }

    #[test]
    fn a_network_that_takes_nothing_is_degraded() {
        for change in [
            (|network, _| network.broker_connected = false)
                as fn(&mut proto::GetNetworkResponse, &mut proto::NetworkHealth),
            |network, _| network.tracker_online = false,
            |_, health| health.servers_registered = 0,
            |_, health| health.servers_suspect = 1,
        ] {
            assert_eq!(network(change).verdict, Verdict::Degraded);
        }
    }
}
