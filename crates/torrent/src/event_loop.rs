//! Waits for exactly one thing at a time and decides nothing: the state machine does.
//!
//! What follows is carried out for a whole batch of inputs: changes are written, flushed once where a promise depends on them, and only then
//! is published. A torrent's promise for bytes is kept by the fragment store alone; its view needs to be durable only when it says so,
//! with a heartbeat or at a join, so changes are gathered until then, or for a while where nobody asks for heartbeats.

use std::sync::Arc;
use std::time::Duration;

use bus::{Message, OpenError};
use daemon::hearing::hear;
use daemon::http::Readiness;
use daemon::link::{Link, LinkEvent};
use daemon::metrics::Metrics;
use daemon::scrub::Scrub;
use daemon::serving::Serving;
use daemon::turns::Turn;
use daemon::{Clock, ExitCode, Failure, OwnFragments, Shutdown};
use distribution::torrent::Notice;
use distribution::view::Change;
use distribution::{Torrent, TorrentCommand, TorrentInput};
use endpoint::{Feed, Question};
use protocol::event::TorrentEvent;
use protocol::{EventId, Hash, Revision, encode_torrent};
use storage::{FragmentWriter, Store};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::catalog::TorrentCatalog;
use crate::config::Config;
use crate::connection::{self, Appearance};
use crate::remembered;

/// Inputs taken before what follows from them is carried out.
const BATCH: usize = 256;
/// Changes gathered before they are written, whether or not a promise depends on them.
const GATHERED_CHANGES: usize = 4096;
/// The longest that changes are gathered. Under a tracker with leases the heartbeats come first; without them, or without a bus, nothing
/// else would ever write the view down that reading needs after a restart.
const GATHERING: Duration = Duration::from_secs(5);

type StoredFragment = (Hash, Result<u64, String>);

/// What a torrent is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub appearance: Appearance,
    pub machine: Torrent,
    pub store: Store,
    pub writer: FragmentWriter,
    pub own: OwnFragments,
    pub damaged: mpsc::UnboundedReceiver<Vec<Hash>>,
    pub scrub: Scrub,
    pub questions: mpsc::Receiver<Question>,
    pub feed: Feed,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
}

enum Next {
    Link(LinkEvent<(), OpenError>),
    Stored(StoredFragment),
    Damaged(Vec<Hash>),
    Asked(Question),
    Due,
}

#[derive(Debug)]
pub struct EventLoop {
    parts: Parts,
    link: Link<(), OpenError>,
    was_up: bool,
    clock: Clock,
    stored: mpsc::UnboundedReceiver<StoredFragment>,
    report_stored: mpsc::UnboundedSender<StoredFragment>,
    gathered: Vec<Change>,
    /// The view's revision after them.
    gathered_revision: Option<Revision>,
    /// When they are made durable at the latest.
    write_at: Option<Instant>,
}

impl EventLoop {
    pub fn new(parts: Parts) -> Self {
        let (report_stored, stored) = mpsc::unbounded_channel();
        let (common, appearance) = (parts.config.common.clone(), parts.appearance.clone());
        let link =
            Link::start(move || connection::open(common.clone(), appearance.clone(), random_event_id()));
        Self {
            parts,
            link,
            was_up: false,
            clock: Clock::default(),
            stored,
            report_stored,
            gathered: Vec::new(),
            gathered_revision: None,
            write_at: None,
        }
    }

    /// Runs until the torrent is asked to end or cannot go on. The server ends once the goodbye is said.
    pub async fn run(mut self, serving: Serving) -> Result<(), Failure> {
        while let Some(next) = self.next().await {
            let turn = Turn::begin();
            let is_busy = matches!(next, Next::Link(_) | Next::Stored(_));
            self.take(next)?;
            let is_busy = self.take_waiting()? || is_busy;
            self.execute()?;
            // Puts fail on other threads: an idle daemon would not flush, and seem ready.
            self.parts.store.check().map_err(|error| Failure::new(ExitCode::Store, error))?;
            self.tell();
            if is_busy {
                turn.rest().await;
            }
        }
        self.handle(TorrentInput::ShutDown);
        self.execute()?;
        let flushed = self.flush();
        self.link.close().await;
        self.parts.feed.end();
        let Parts { machine, questions, .. } = &mut self.parts;
        serving.finish(questions, |question| question(&TorrentCatalog { machine, connected: false })).await;
        flushed?;
        drop((self.parts.writer, self.parts.scrub));
        self.parts.store.close().map_err(|error| Failure::new(ExitCode::Store, error))?;
        info!("torrent ended");
        Ok(())
    }

    /// None when the torrent is asked to end.
    async fn next(&mut self) -> Option<Next> {
        let due = self.parts.machine.poll_timeout().map(|at| Instant::from_std(self.clock.instant(at)));
        let due = due.into_iter().chain(self.write_at).min();
        let due = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.parts.shutdown.requested() => None,
            Some(stored) = self.stored.recv() => Some(Next::Stored(stored)),
            Some(fragments) = self.parts.damaged.recv() => Some(Next::Damaged(fragments)),
            Some(question) = self.parts.questions.recv() => Some(Next::Asked(question)),
            event = self.link.next() => Some(Next::Link(event)),
            () = due => Some(Next::Due),
        }
    }

    /// Whatever is there already shares the flush. Whether there was anything.
    fn take_waiting(&mut self) -> Result<bool, Failure> {
        for taken in 0..BATCH {
            let stored = self.stored.try_recv().ok().map(Next::Stored);
            let next = stored.or_else(|| self.link.try_next().map(Next::Link));
            let next = next.or_else(|| self.parts.questions.try_recv().ok().map(Next::Asked));
            let Some(next) = next else { return Ok(taken > 0) };
            self.take(next)?;
        }
        Ok(true)
    }

    fn take(&mut self, next: Next) -> Result<(), Failure> {
        match next {
            Next::Link(LinkEvent::Opened(())) => {
                info!(broker = %self.parts.config.common.broker, "connected and subscribed");
                self.was_up = true;
                self.handle(TorrentInput::Connected);
            }
            Next::Link(LinkEvent::Failed(error)) => {
                if !self.was_up && !self.parts.config.common.retry_connect {
                    return Err(Failure::new(ExitCode::Broker, error));
                }
                error!("{error}; trying again");
            }
            Next::Link(LinkEvent::Delivered(delivery)) => {
                let common = &self.parts.config.common;
                if let Some(heard) = hear(&common.topics, &common.limits, &self.parts.metrics, &delivery) {
                    self.handle(TorrentInput::Heard(heard));
                }
            }
            Next::Link(LinkEvent::Lost(lost)) => {
                warn!("{lost}; connecting again");
                self.handle(TorrentInput::ConnectionLost);
            }
            Next::Stored((fragment, result)) => self.handle(TorrentInput::Stored { fragment, result }),
            Next::Damaged(fragments) => {
                let fragments = self.parts.own.gone(fragments);
                self.handle(TorrentInput::Damaged { fragments });
            }
            Next::Asked(question) => {
                let connected = self.link.is_up();
                question(&TorrentCatalog { machine: &self.parts.machine, connected });
            }
            Next::Due => self.handle(TorrentInput::Tick),
        }
        Ok(())
    }

    fn handle(&mut self, input: TorrentInput) {
        let now = self.clock.now();
        self.parts.machine.handle(input, now);
    }

    /// Persist and store, flush once, then publish.
    fn execute(&mut self) -> Result<(), Failure> {
        let mut to_say = Vec::new();
        let mut must_flush = false;
        while let Some(command) = self.parts.machine.next_command() {
            match command {
                TorrentCommand::Persist { changes, revision } => {
                    self.parts.feed.note(&changes);
                    self.gathered.extend(changes);
                    self.gathered_revision = Some(revision);
                    self.write_at.get_or_insert_with(|| Instant::now() + GATHERING);
                }
                TorrentCommand::RememberTracker { tracker } => {
                    let kept = remembered::keep(self.parts.store.meta(), &tracker);
                    kept.map_err(|error| Failure::new(ExitCode::Store, error))?;
                    must_flush = true;
                }
                TorrentCommand::Say { direct, envelope, event } => {
                    must_flush |= rests_on_the_view(&event);
                    to_say.push((direct, envelope, event));
                }
                TorrentCommand::Store { fragment, data } => {
                    let report = self.report_stored.clone();
                    let size_bytes = data.len() as u64;
                    let on_done = move |result: Result<(), storage::fragments::PutError>| {
                        let result = result.map(|()| size_bytes).map_err(|error| error.to_string());
                        // The event loop has ended: the next join tells of the fragment.
                        let _ = report.send((fragment, result));
                    };
                    self.parts.writer.put(fragment, data, Box::new(on_done));
                }
                TorrentCommand::Delete { fragments } => {
                    // The view that no longer needs them is durable before they go.
                    self.flush()?;
                    self.delete(fragments);
                }
            }
        }
        must_flush |= self.write_at.is_some_and(|at| at <= Instant::now());
        if must_flush {
            self.flush()?;
        } else if self.gathered.len() >= GATHERED_CHANGES {
            self.write_gathered()?;
        }
        for (direct, envelope, event) in to_say {
            let (topics, client) = (&self.parts.config.common.topics, &self.parts.appearance.client);
            let kind = event.kind();
            self.parts.metrics.said(kind.name(), self.link.is_up());
            let Some(outbox) = self.link.outbox() else { continue };
            let topic = if direct { topics.direct(kind, client) } else { topics.shared(kind) };
            debug!(topic, ?event, "said");
            outbox.publish(Message::new(topic, encode_torrent(&envelope, &event)));
        }
        Ok(())
    }

    fn delete(&mut self, fragments: Vec<Hash>) {
        match self.parts.own.delete(fragments) {
            Ok(count) => info!(fragments = count, "deleted"),
            Err(fragments) => self.handle(TorrentInput::NotDeleted { fragments }),
        }
    }

    fn write_gathered(&mut self) -> Result<(), Failure> {
        if let Some(revision) = self.gathered_revision.take() {
            let changes = std::mem::take(&mut self.gathered);
            let applied = self.parts.store.view().apply(&changes, revision);
            applied.map_err(|error| Failure::new(ExitCode::Store, error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.write_gathered()?;
        self.write_at = None;
        self.parts.store.flush().map_err(|error| Failure::new(ExitCode::Store, error))
    }

    /// For people and monitors: notices, metrics, readiness.
    fn tell(&mut self) {
        while let Some(notice) = self.parts.machine.next_notice() {
            match notice {
                Notice::Registered => info!(revision = %self.parts.machine.view().revision(), "registered"),
                Notice::Unregistered(why) => warn!("no longer registered: {why}"),
                Notice::Denied(reason) => error!("the tracker denied the join: {reason}"),
                Notice::NoAnswer => {
                    warn!(
                        "no answer to the join: no tracker is there, or the broker's ACL or size limit swallows events"
                    );
                }
                Notice::Damaged(fragments) => {
                    warn!(fragments = fragments.len(), "damaged fragments are given up");
                }
                // Q9: brokers drop without a word, and gaps tell.
                Notice::OutOfStep(what) => {
                    self.parts.metrics.view_gaps.inc();
                    warn!("the view does not follow the tracker's: {what}; joining again");
                }
            }
        }
        let machine = &self.parts.machine;
        let why_not = match self.link.is_up() {
            false => Some("the broker is not connected"),
            true if !machine.is_registered() => Some("not registered with a tracker"),
            true => None,
        };
        self.parts.readiness.set(why_not);
        let (metrics, view) = (&self.parts.metrics, machine.view());
        metrics.broker_connected.set(i64::from(self.link.is_up()));
        metrics.files.set(view.files().len() as i64);
        metrics.torrents_registered.set(view.clients().len() as i64);
        Metrics::set(&metrics.view_revision, view.revision().0);
        Metrics::set(&metrics.stored_fragments, self.parts.store.fragments().len());
        Metrics::set(&metrics.stored_bytes, self.parts.store.fragments().used_bytes());
    }
}

/// Whether an event tells others that the view is durable as it is.
fn rests_on_the_view(event: &TorrentEvent) -> bool {
    matches!(event, TorrentEvent::ClientHeartbeat(_) | TorrentEvent::ClientJoinSucceeded(_))
}

fn random_event_id() -> EventId {
    EventId(uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid())
}
