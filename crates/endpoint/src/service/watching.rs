//! Following the network: first its state, page by page, then what the feed tells.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use protocol::{ClientId, Hash};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::EndpointApi;
use super::pages::{FileFilter, files_page, servers_page};
use crate::errors::Refusal;
use crate::feed::{Cursor, Feed, Signal, TICK};
use crate::names::MAX_PAGE_SIZE;
use crate::proto::{self, WatchKind};

/// Most messages of one watcher in memory.
const BATCH: usize = 256;

/// Where a watcher is.
enum Stage {
    /// What is known is to be forgotten.
    Beginning,
    /// Behind this server.
    Servers { begun: Cursor, after: Option<ClientId> },
    /// Behind this file.
    Files { begun: Cursor, after: Option<Hash> },
    /// Behind this change.
    Changes(Cursor),
}

struct Watcher {
    api: EndpointApi,
    signal: watch::Receiver<Signal>,
    stage: Stage,
    messages: VecDeque<proto::WatchResponse>,
    /// Held until the stream is dropped.
    _place: OwnedSemaphorePermit,
}

impl EndpointApi {
    pub(super) fn watch_stream(
        &self,
        request: &proto::WatchRequest,
    ) -> Result<BoxStream<'static, Result<proto::WatchResponse, Status>>, Refusal> {
        let stage = match request.cursor.as_str() {
            "" => Stage::Beginning,
            text => Stage::Changes(text.parse().map_err(|()| Refusal::InvalidCursor)?),
        };
        let place = Arc::clone(&self.watching).try_acquire_owned();
        let place = place.map_err(|_| Refusal::Busy { retry_after: Duration::from_secs(5) })?;
        let signal = self.catalog.feed().signal();
        let watcher = Watcher { api: self.clone(), signal, stage, messages: VecDeque::new(), _place: place };
        let messages = stream::try_unfold(watcher, |mut watcher| async move {
            let message = watcher.next().await?;
            Ok::<_, Status>(Some((message, watcher)))
        });
        Ok(messages.boxed())
    }
}

impl Watcher {
    fn feed(&self) -> &Feed {
        self.api.catalog.feed()
    }

    async fn next(&mut self) -> Result<proto::WatchResponse, Refusal> {
        loop {
            if self.signal.borrow().is_ended {
                return Err(Refusal::ShuttingDown);
            }
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            match &self.stage {
                Stage::Beginning => self.begin().await?,
                Stage::Servers { begun, after } => {
                    let (begun, after) = (*begun, after.clone());
                    self.servers(begun, after).await?;
                }
                Stage::Files { begun, after } => {
                    let (begun, after) = (*begun, *after);
                    self.files(begun, after).await?;
                }
                Stage::Changes(cursor) => {
                    let cursor = *cursor;
                    self.changes(cursor).await?;
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<(), Refusal> {
        let feed = self.feed().clone();
        self.api.ask(move |catalog| feed.refresh(catalog)).await?;
        // The pages that follow are asked for later, so what they do not show is behind this place.
        self.stage = Stage::Servers { begun: self.feed().end_of_log(), after: None };
        self.messages.push_back(end_of_snapshot(WatchKind::SnapshotBegun, String::new()));
        Ok(())
    }

    async fn servers(&mut self, begun: Cursor, after: Option<ClientId>) -> Result<(), Refusal> {
        let page = move |catalog: &dyn crate::Catalog| servers_page(catalog, after.as_ref(), MAX_PAGE_SIZE);
        let (servers, next) = self.api.ask(page).await?;
        let messages = servers.into_iter().map(|server| proto::WatchResponse {
            kind: WatchKind::ServerPresent.into(),
            name: server.name.clone(),
            server: Some(server),
            ..Default::default()
        });
        self.messages.extend(messages);
        self.stage = match next {
            Some(_) => Stage::Servers { begun, after: next },
            None => Stage::Files { begun, after: None },
        };
        Ok(())
    }

    async fn files(&mut self, begun: Cursor, after: Option<Hash>) -> Result<(), Refusal> {
        let page =
            move |catalog: &dyn crate::Catalog| files_page(catalog, &FileFilter::everything(), after, BATCH);
        let (files, next) = self.api.ask(page).await?;
        let messages = files.into_iter().map(|file| proto::WatchResponse {
            kind: WatchKind::FilePresent.into(),
            name: file.name.clone(),
            file: Some(file),
            ..Default::default()
        });
        self.messages.extend(messages);
        self.stage = match next {
            Some(_) => Stage::Files { begun, after: next },
            None => {
                self.messages.push_back(end_of_snapshot(WatchKind::SnapshotEnded, begun.to_string()));
                Stage::Changes(begun)
            }
        };
        Ok(())
    }

    async fn changes(&mut self, cursor: Cursor) -> Result<(), Refusal> {
        let Some(told) = self.feed().behind(cursor, BATCH) else {
            self.stage = Stage::Beginning;
            return Ok(());
        };
        if let Some((last, _)) = told.last() {
            self.stage = Stage::Changes(*last);
            self.messages.extend(told.into_iter().map(|(_, message)| message));
            return Ok(());
        }
        let feed = self.feed().clone();
        match self.api.ask(move |catalog| feed.refresh(catalog)).await? {
            Some(too_early) => sleep(too_early).await,
            None if self.feed().end_of_log() == cursor => {
                // Whether something is noted, the daemon ends, or time is up: it is looked again.
                let _ = timeout(TICK, self.signal.changed()).await;
            }
            None => {}
        }
        Ok(())
    }
}

fn end_of_snapshot(kind: WatchKind, cursor: String) -> proto::WatchResponse {
    proto::WatchResponse { kind: kind.into(), cursor, ..Default::default() }
}
