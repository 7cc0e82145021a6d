//! `mds events`: what changes in the network, as one daemon tells it; the next one, if that one ends.

use std::time::SystemTime;

use endpoint::client::Cluster;
use endpoint::proto::{WatchKind, WatchResponse};
use futures::TryStreamExt;
use protocol::EndpointUri;
use serde::Serialize;

use crate::cli::Events;
use crate::describe::{FileView, PeerView};
use crate::exit::Failure;
use crate::output::{Output, count, printable, shown_digest, size};
use crate::terminal::{Colour, coloured};

/// One line for programs. The field names are a contract with scripts.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct EventView {
    /// When the daemon that tells it noticed it, RFC 3339 in UTC; none for what was there before.
    time: Option<String>,
    /// What happened: `file_published`, `server_suspect`, …
    kind: &'static str,
    /// The file's digest or the torrent's identifier; none for the ends of a state.
    id: Option<String>,
    /// The file as it is now, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileView>,
    /// The torrent as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<PeerView>,
}

/// Tells every change until the reader has enough, a signal comes, or no daemon answers.
///
/// # Errors
/// If no daemon answers any more.
pub async fn run(cluster: &Cluster, events: &Events, output: Output) -> Result<(), Failure> {
    let mut stream = cluster.watch();
    let mut teller: Option<EndpointUri> = None;
    let (mut in_state, mut states) = (false, 0_u64);
    while let Some((endpoint, message)) = stream.try_next().await? {
        let kind = message.kind();
        if kind == WatchKind::SnapshotBegun {
            states += 1;
            if states > 1 && !events.state {
                output.warn(&anew(teller.as_ref(), &endpoint));
            }
        }
        teller = Some(endpoint);
        in_state = (in_state || kind == WatchKind::SnapshotBegun) && kind != WatchKind::SnapshotEnded;
        let is_of_state = in_state || kind == WatchKind::SnapshotEnded;
        if is_of_state && !events.state {
            continue;
        }
        let view = EventView::of(&message);
        if output.json {
            output.value_line(&view)?;
        } else if let Some(line) = view.line() {
            output.line(&line)?;
        }
    }
    Ok(())
}

/// What was not told in between shows in no event.
fn anew(before: Option<&EndpointUri>, now: &EndpointUri) -> String {
    let why = match before {
        Some(before) if before != now => format!("{before} does not answer any more, {now} goes on"),
        Some(_) | None => format!("{now} changed faster than this was read, or was started anew"),
    };
    format!("{why}: changes may be missing here; 'mds status' and 'mds ls' tell how it is now")
}

impl EventView {
    fn of(message: &WatchResponse) -> Self {
        let noticed = message.notice_time.and_then(|time| SystemTime::try_from(time).ok());
        let id = message.name.split_once('/').map(|(_, id)| id.trim_start_matches("sha256:").to_owned());
        Self {
            time: noticed.map(|time| humantime::format_rfc3339_millis(time).to_string()),
            kind: match message.kind() {
                WatchKind::Unspecified => "unknown",
                WatchKind::SnapshotBegun => "snapshot_begun",
                WatchKind::SnapshotEnded => "snapshot_ended",
                WatchKind::FilePresent => "file_present",
                WatchKind::ServerPresent => "server_present",
                WatchKind::FilePublished => "file_published",
                WatchKind::FileChanged => "file_changed",
                WatchKind::FileRemoved => "file_removed",
                WatchKind::ServerRegistered => "server_registered",
                WatchKind::ServerSuspect => "server_suspect",
                WatchKind::ServerUnregistered => "server_unregistered",
                WatchKind::ServerChanged => "server_changed",
            },
            id,
            file: message.file.as_ref().map(FileView::of),
            server: message.server.as_ref().map(PeerView::of),
        }
    }

    /// For people; the ends of a state say nothing to them.
    fn line(&self) -> Option<String> {
        let id = self.id.as_deref()?;
        // As long as a time.
        let time = self.time.as_deref().unwrap_or("now                     ");
        let what = self.kind.replace('_', " ");
        let (id, details) = match (&self.file, &self.server) {
            (Some(file), _) => {
                let state = coloured(file.state, Colour::of_state(file.state));
                let copies = format!("{}/{} copies", file.copies, file.target_copies);
                let name = file.shown_name();
                (shown_digest(id), format!("{state}, {copies}, {}  {name}", size(file.size_bytes)))
            }
            (None, Some(server)) => {
                let state = coloured(server.state, Colour::of_state(server.state));
                let held = count(server.fragments, "fragment");
                (id.to_owned(), format!("{state}, {held}, {}", size(server.used_bytes)))
            }
            (None, None) => (shown_digest(id), String::new()),
        };
        Some(format!("{time}  {what:19}  {}  {details}", printable(&id)).trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use endpoint::proto::{File, FileState, Server, ServerState};
    use serde_json::json;

    use super::*;

    fn at_second(second: u64) -> Option<prost_types::Timestamp> {
        Some((SystemTime::UNIX_EPOCH + Duration::from_secs(second)).into())
    }

    #[test]
    fn a_file_is_told_in_a_line() {
        let digest = "ab".repeat(32);
        let file = File {
            digest: format!("sha256:{digest}"),
            size_bytes: 2048,
            display_name: "map".into(),
            min_holders: 1,
            target_holders: 2,
            state: FileState::Degraded.into(),
            ..File::default()
        };
        let message = WatchResponse {
            kind: WatchKind::FilePublished.into(),
            name: format!("files/sha256:{digest}"),
            file: Some(file),
            notice_time: at_second(1),
            ..WatchResponse::default()
        };
        let view = EventView::of(&message);
        let expected = format!(
            "1970-01-01T00:00:01.000Z  file published       {digest}  degraded, 1/2 copies, 2.0 KiB  map"
        );
        assert_eq!(view.line(), Some(expected));
        let gone = WatchResponse { kind: WatchKind::FileRemoved.into(), file: None, ..message };
        let json = json!({"time": "1970-01-01T00:00:01.000Z", "kind": "file_removed", "id": digest});
        assert_eq!(serde_json::to_value(EventView::of(&gone)).unwrap(), json);
    }

    #[test]
    fn a_torrent_is_told_in_a_line_and_the_ends_of_a_state_in_none() {
        let server = Server {
            name: "servers/t1".into(),
            state: ServerState::Suspect.into(),
            fragment_count: 1,
            used_bytes: 5,
            ..Server::default()
        };
        let message = WatchResponse {
            kind: WatchKind::ServerPresent.into(),
            name: "servers/t1".into(),
            server: Some(server),
            ..WatchResponse::default()
        };
        let line = EventView::of(&message).line().unwrap();
        assert_eq!(line, "now                       server present       t1  suspect, 1 fragment, 5 B");
        let end = WatchResponse { kind: WatchKind::SnapshotEnded.into(), ..WatchResponse::default() };
        assert_eq!(EventView::of(&end).line(), None);
    }
}
