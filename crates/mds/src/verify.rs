//! `mds verify`: every daemon reads what is on its disk and checks it. The bytes stay where they are.
//!
//! All daemons work at the same time. What one of them does not answer counts as not verified, and it is named: nobody else can look at
//! its disk.

use std::collections::BTreeSet;
use std::time::Duration;

use endpoint::client::{CallError, Cluster};
use endpoint::names::file_name;
use endpoint::proto::{self, ErrorReason, ServerState, parse_digest};
use indicatif::ProgressBar;
use protocol::EndpointUri;
use serde::Serialize;
use tokio::time::timeout;
use tonic::Status;

use crate::cli::Verify;
use crate::describe::{shown_id, unsigned};
use crate::exit::Failure;
use crate::output::{Output, count, printable, size};
use crate::progress;
use crate::reference::resolve;

/// How long a daemon may be silent: reading a few MiB from a busy disk, or waiting for somebody else's verification to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it went; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Everything was read, and nothing is damaged.
    Ok = 0,
    /// Something is damaged.
    Damaged = 1,
    /// Nothing that was read is damaged, and not everything was read.
    Unreachable = 4,
}

/// What became of it all. The field names are a contract with scripts.
#[derive(Debug, Serialize)]
struct VerifyView {
    verdict: Verdict,
    servers: Vec<ServerView>,
}

/// What one daemon found on its disk.
#[derive(Debug, Default, Serialize)]
struct ServerView {
    id: String,
    /// Fragments that it has read.
    fragments: u64,
    /// Their size in bytes.
    size_bytes: u64,
    /// Those that were damaged, 64 hex digits each.
    damaged: Vec<String>,
    /// Those that its disk did not give, for a reason that may pass.
    unread: Vec<String>,
    /// Why not everything was read, if it was not.
    error: Option<String>,
}

/// A daemon to be asked.
struct Target {
    id: String,
    endpoints: Vec<EndpointUri>,
}

/// Has every daemon verify these files, or everything; gives the exit code.
pub async fn run(cluster: &Cluster, verify: &Verify, output: Output) -> Result<u8, Failure> {
    let mut parents = Vec::new();
    for reference in &verify.references {
        let file = resolve(cluster, reference).await?;
        cluster.file(&file).await?;
        parents.push(file_name(&file));
    }
    if parents.is_empty() {
        // Everything.
        parents.push(String::new());
    }
    let bar = progress::bytes("verifying", None, output.json);
    let (targets, mut servers) = targets(cluster).await?;
    let asked = targets.into_iter().map(|target| verify_one(cluster, target, &parents, &bar));
    servers.extend(futures::future::join_all(asked).await);
    bar.finish_and_clear();
    servers.sort_by(|one, other| one.id.cmp(&other.id));
    let view = VerifyView { verdict: judge(&servers), servers };
    if output.json {
        output.value(&view)?;
    } else {
        view.lines().iter().try_for_each(|line| output.line(line))?;
    }
    Ok(view.verdict as u8)
}

/// All daemons there are, each once: the torrents that take part, and whoever answers elsewhere, as the tracker. Who does not is told of.
async fn targets(cluster: &Cluster) -> Result<(Vec<Target>, Vec<ServerView>), Failure> {
    let mut targets = Vec::new();
    for server in cluster.servers().await? {
        if matches!(server.state(), ServerState::Registered | ServerState::Suspect) {
            let id = shown_id(&server);
            let endpoints = server.endpoints.iter().filter_map(|text| text.parse().ok()).collect();
            targets.push(Target { id, endpoints });
        }
    }
    let told = cluster.network().await?.tracker_endpoints;
    let known: BTreeSet<EndpointUri> = targets.iter().flat_map(|target| &target.endpoints).cloned().collect();
    let others = cluster.endpoints().into_iter().chain(told.iter().filter_map(|text| text.parse().ok()));
    let others: BTreeSet<EndpointUri> = others.filter(|endpoint| !known.contains(endpoint)).collect();
    let mut silent = Vec::new();
    for endpoint in others {
        match id_of(cluster, &endpoint).await {
            Ok(id) if targets.iter().any(|target| target.id == id) => {}
            Ok(id) => targets.push(Target { id, endpoints: vec![endpoint] }),
            Err(error) => silent.push(ServerView {
                id: endpoint.to_string(),
                error: Some(error),
                ..ServerView::default()
            }),
        }
    }
    Ok((targets, silent))
}

async fn id_of(cluster: &Cluster, endpoint: &EndpointUri) -> Result<String, String> {
    let mut reader = cluster.reader(endpoint).map_err(|error| error.to_string())?;
    let network = in_time(reader.get_network(proto::GetNetworkRequest {})).await;
    network.map(|network| network.into_inner().server_id).map_err(|status| message(endpoint, &status))
}

async fn verify_one(cluster: &Cluster, target: Target, parents: &[String], bar: &ProgressBar) -> ServerView {
    let mut view = ServerView { id: target.id, ..ServerView::default() };
    for parent in parents {
        view.error = Some("it has no endpoint that can be dialled".to_owned());
        for endpoint in &target.endpoints {
            let before = (view.fragments, view.size_bytes);
            match verify_at(cluster, endpoint, parent, &mut view, bar).await {
                Ok(()) => view.error = None,
                // It has nothing of a file that it does not know.
                Err(error) if error.reason == Some(ErrorReason::FileNotFound) => view.error = None,
                Err(error) => {
                    view.error = Some(error.to_string());
                    // Another endpoint of the same daemon may answer, if this one did not.
                    if (view.fragments, view.size_bytes) == before {
                        continue;
                    }
                }
            }
            break;
        }
        if view.error.is_some() {
            break;
        }
    }
    for digests in [&mut view.damaged, &mut view.unread] {
        digests.sort();
        digests.dedup();
    }
    view
}

async fn verify_at(
    cluster: &Cluster,
    endpoint: &EndpointUri,
    parent: &str,
    view: &mut ServerView,
    bar: &ProgressBar,
) -> Result<(), CallError> {
    let failed = |status: Status| CallError::new(endpoint, &status);
    let reader = cluster.reader(endpoint);
    let mut reader = reader.map_err(|error| failed(Status::unavailable(error.to_string())))?;
    let request = proto::VerifyFragmentsRequest { parent: parent.to_owned() };
    let mut stream = in_time(reader.verify_fragments(request)).await.map_err(failed)?.into_inner();
    let (fragments, size_bytes) = (view.fragments, view.size_bytes);
    while let Some(message) = in_time(stream.message()).await.map_err(failed)? {
        let before = view.size_bytes;
        view.fragments = fragments + unsigned(message.fragment_count);
        view.size_bytes = size_bytes + unsigned(message.size_bytes);
        bar.inc(view.size_bytes.saturating_sub(before));
        let digits = |digests: Vec<String>| {
            digests.into_iter().filter_map(|digest| Some(parse_digest(&digest).ok()?.to_string()))
        };
        view.damaged.extend(digits(message.damaged_digests));
        view.unread.extend(digits(message.unread_digests));
    }
    Ok(())
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("it was silent for {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, asked).await.map_err(late)?
}

fn message(endpoint: &EndpointUri, status: &Status) -> String {
    CallError::new(endpoint, status).to_string()
}

fn judge(servers: &[ServerView]) -> Verdict {
    if servers.iter().any(|server| !server.damaged.is_empty()) {
        Verdict::Damaged
    } else if servers.iter().any(|server| server.error.is_some() || !server.unread.is_empty()) {
        Verdict::Unreachable
    } else {
        Verdict::Ok
    }
}

impl VerifyView {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for server in &self.servers {
            let id = printable(&server.id);
            lines.extend(server.damaged.iter().map(|digest| format!("damaged   {digest}  {id}")));
            lines.extend(server.unread.iter().map(|digest| format!("unread    {digest}  {id}")));
        }
        let silent = self.servers.iter().filter_map(|server| Some((server, server.error.as_ref()?)));
        lines.extend(
            silent
                .map(|(server, error)| format!("unreached {}: {}", printable(&server.id), printable(error))),
        );
        lines.push(self.verdict_line());
        lines
    }

    fn verdict_line(&self) -> String {
        let sum = |of: fn(&ServerView) -> u64| self.servers.iter().map(of).sum::<u64>();
        let read = format!(
            "{} ({}) verified on {}",
            count(sum(|server| server.fragments), "fragment"),
            size(sum(|server| server.size_bytes)),
            count(self.servers.iter().filter(|server| server.error.is_none()).count() as u64, "daemon")
        );
        let not_reached = self.servers.iter().filter(|server| server.error.is_some()).count() as u64;
        match self.verdict {
            Verdict::Ok => format!("ok: {read}, nothing is damaged"),
            Verdict::Damaged => {
                let damaged = match sum(|server| server.damaged.len() as u64) {
                    1 => "1 copy is damaged".to_owned(),
                    number => format!("{number} copies are damaged"),
                };
                let and = match not_reached {
                    0 => String::new(),
                    number => format!("; {} not reached", count(number, "daemon")),
                };
                format!(
                    "damaged: {damaged}, {read}{and}; what is damaged is no longer served, and the tracker repairs it from good copies"
                )
            }
            Verdict::Unreachable => {
                format!(
                    "not all was verified: {read}, nothing is damaged there; try again when the others answer"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str) -> ServerView {
        ServerView { id: id.to_owned(), fragments: 2, size_bytes: 2048, ..ServerView::default() }
    }

    fn view(servers: Vec<ServerView>) -> VerifyView {
        VerifyView { verdict: judge(&servers), servers }
    }

    #[test]
    fn nothing_damaged_anywhere_is_ok() {
        let view = view(vec![server("t1"), server("t2")]);
        assert_eq!(view.verdict as u8, 0);
        assert_eq!(view.lines(), ["ok: 4 fragments (4.0 KiB) verified on 2 daemons, nothing is damaged"]);
    }

    #[test]
    fn each_damaged_copy_has_a_line_and_outweighs_who_was_not_reached() {
        let damaged = ServerView { damaged: vec!["aa".into()], ..server("t1") };
        let gone = ServerView { error: Some("gone".into()), ..ServerView::default() };
        let view = view(vec![damaged, ServerView { id: "t2".into(), ..gone }]);
        assert_eq!(view.verdict as u8, 1);
        let lines = view.lines();
        assert_eq!(lines[..2], ["damaged   aa  t1", "unreached t2: gone"]);
        assert!(
            lines[2].starts_with("damaged: 1 copy is damaged") && lines[2].contains("1 daemon not reached")
        );
    }

    #[test]
    fn what_was_not_read_is_not_called_good() {
        for server in [
            ServerView { error: Some("gone".into()), ..server("t1") },
            ServerView { unread: vec!["aa".into()], ..server("t1") },
        ] {
            let view = view(vec![server]);
            assert_eq!(view.verdict as u8, 4);
            assert_eq!(view.lines().len(), 2);
        }
    }
}
