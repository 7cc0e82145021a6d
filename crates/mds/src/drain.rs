//! `mds drain`: a torrent is emptied before it leaves for good.

use std::time::Duration;

use endpoint::client::{CallError, Cluster};
use endpoint::names::server_name;
use endpoint::proto::DrainServerRequest;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::Drain;
use crate::describe::unsigned;
use crate::exit::{Code, Failure};
use crate::output::{Output, count};

/// How often the tracker is asked how far it is.
const INTERVAL: Duration = Duration::from_millis(500);

/// How far a torrent is emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct DrainView {
    id: String,
    draining: bool,
    /// Fragments that would lack a copy if the torrent went now.
    remaining_fragments: u64,
}

/// Orders it, and waits until the torrent may go.
pub async fn run(cluster: &Cluster, drain: &Drain, output: Output) -> Result<(), Failure> {
    let (endpoint, mut tracker) = cluster.tracker().await?;
    let give_up = Instant::now() + drain.timeout;
    loop {
        let request = DrainServerRequest { name: server_name(&drain.id), undo: drain.undo };
        let answer = tracker.drain_server(request).await;
        let answer =
            answer.map_err(|status| Failure::refused_by_tracker(&CallError::new(&endpoint, &status)))?;
        let remaining_fragments = unsigned(answer.into_inner().remaining_fragment_count);
        let view = DrainView { id: drain.id.to_string(), draining: !drain.undo, remaining_fragments };
        if remaining_fragments == 0 || drain.undo || drain.no_wait {
            return view.show(output);
        }
        if Instant::now() >= give_up {
            let remaining = count(remaining_fragments, "fragment");
            let message = format!(
                "{} is not empty yet, {remaining} left: it goes on; start more torrents if nobody can take them, and ask again",
                drain.id
            );
            return Err(Failure::new(Code::TimedOut, "TIMED_OUT", message));
        }
        sleep(INTERVAL).await;
    }
}

impl DrainView {
    fn show(&self, output: Output) -> Result<(), Failure> {
        if output.json {
            return output.value(self);
        }
        let id = &self.id;
        output.line(&match (self.draining, self.remaining_fragments) {
            (false, _) => format!("{id} is in service again"),
            (true, 0) => format!("{id} holds nothing that others need: it may go"),
            (true, remaining) => {
                format!("{id} is being emptied: {} to be copied", count(remaining, "fragment"))
            }
        })
    }
}
