//! Waits for exactly one thing at a time and decides nothing: the state machine does.
//!
//! What follows is carried out for a whole batch of inputs: changes are written, flushed once, and only then anything is published or
//! answered. Fragments are read and encoded on another thread (`delivering`), because that is where the time goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::Message;
use daemon::hearing::hear;
use daemon::http::Readiness;
use daemon::link::{Link, LinkEvent};
use daemon::metrics::Metrics;
use daemon::scrub::Scrub;
use daemon::serving::Serving;
use daemon::turns::Turn;
use daemon::{Clock, ExitCode, Failure, OwnFragments, Shutdown};
use distribution::view::{Change, FileInfo};
use distribution::{Audience, RequestId, Tracker, TrackerCommand, TrackerInput};
use endpoint::client::WantedFragment;
use endpoint::{Feed, Question};
use protocol::event::{TrackerEnvelope, TrackerEvent};
use protocol::{ClientId, EndpointUri, EventKind, Hash, encode_tracker};
use storage::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::catalog::TrackerCatalog;
use crate::config::Config;
use crate::connection::{ConnectError, Connector, Presence};
use crate::delivering::{Deliverer, Delivery};
use crate::fetching::{Fetched, Fetcher};
use crate::requests::{Refused, Reply, Request};
use crate::single_copies::SingleCopies;

/// Inputs taken before what follows from them is carried out.
const BATCH: usize = 256;

/// What a tracker is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub endpoint: EndpointUri,
    pub machine: Tracker,
    pub store: Arc<Store>,
    pub own: OwnFragments,
    pub damaged: mpsc::UnboundedReceiver<Vec<Hash>>,
    pub scrub: Scrub,
    pub connector: Arc<Connector>,
    pub questions: mpsc::Receiver<Question>,
    pub feed: Feed,
    /// Whether uploads and orders can be taken.
    pub online: watch::Sender<bool>,
    pub requests: mpsc::Receiver<Request>,
    pub fetcher: Fetcher,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
}

enum Next {
    Link(LinkEvent<Presence, ConnectError>),
    Unreadable(Hash),
    Damaged(Vec<Hash>),
    Asked(Question),
    Fetched(Fetched),
    Requested(Request),
    /// Whether it stands by has changed.
    StoodBy,
    Due,
}

#[derive(Debug)]
pub struct EventLoop {
    /// Before the store, which ends with its last user.
    deliverer: Deliverer,
    parts: Parts,
    link: Link<Presence, ConnectError>,
    standing_by: watch::Receiver<Option<&'static str>>,
    was_up: bool,
    was_fenced: bool,
    clock: Clock,
    id: ClientId,
    unreadable: mpsc::UnboundedReceiver<Hash>,
    fetched: mpsc::UnboundedReceiver<Fetched>,
    report_fetched: mpsc::UnboundedSender<Fetched>,
    single_copies: SingleCopies,
    last_request: u64,
    /// Fragments that the store did not delete, and of which the machine does not know yet.
    not_deleted: Vec<Hash>,
    replies: BTreeMap<RequestId, Reply>,
}

impl EventLoop {
    /// To be called on the thread that runs it.
    ///
    /// # Errors
    /// If the system gives no thread to deliver fragments.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let (report_unreadable, unreadable) = mpsc::unbounded_channel();
        let (report_fetched, fetched) = mpsc::unbounded_channel();
        let deliverer = Deliverer::start(
            parts.store.fragments().clone(),
            parts.own.clone(),
            report_unreadable,
            parts.metrics.clone(),
        );
        let deliverer = deliverer.map_err(|error| {
            Failure::text(ExitCode::Failed, format!("no thread to deliver fragments: {error}"))
        })?;
        let single_copies = single_copies(&parts)?;
        let connector = parts.connector.clone();
        let id = parts.config.common.topics.tracker_client_id();
        Ok(Self {
            standing_by: parts.connector.standing_by.subscribe(),
            link: Link::start(move || connector.clone().open()),
            parts,
            was_up: false,
            was_fenced: false,
            clock: Clock::default(),
            id,
            deliverer,
            unreadable,
            fetched,
            report_fetched,
            single_copies,
            last_request: 0,
            not_deleted: Vec::new(),
            replies: BTreeMap::new(),
        })
    }

    /// Runs until the tracker is asked to end or cannot go on. The server ends once the goodbye is said.
    pub async fn run(mut self, serving: Serving) -> Result<(), Failure> {
        self.tell();
        while let Some(next) = self.next().await {
            let turn = Turn::begin();
            let is_busy = matches!(next, Next::Link(_));
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
        self.handle(TrackerInput::ShutDown);
        self.execute()?;
        self.link.close().await;
        self.parts.feed.end();
        // Uploads are told to come back.
        self.parts.requests.close();
        let (clock, id) = (self.clock, &self.id);
        let Parts { machine, questions, endpoint, .. } = &mut self.parts;
        let catalog = TrackerCatalog { machine, clock, id, endpoint, connected: false };
        serving.finish(questions, |question| question(&catalog)).await;
        drop(self.parts.scrub);
        self.parts.store.flush().map_err(|error| Failure::new(ExitCode::Store, error))?;
        info!("tracker ended");
        Ok(())
    }

    /// None when the tracker is asked to end.
    async fn next(&mut self) -> Option<Next> {
        let due = self.parts.machine.poll_timeout().map(|at| Instant::from_std(self.clock.instant(at)));
        let due = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.parts.shutdown.requested() => None,
            Some(question) = self.parts.questions.recv() => Some(Next::Asked(question)),
            Some(request) = self.parts.requests.recv() => Some(Next::Requested(request)),
            Some(fetched) = self.fetched.recv() => Some(Next::Fetched(fetched)),
            Some(fragment) = self.unreadable.recv() => Some(Next::Unreadable(fragment)),
            Some(fragments) = self.parts.damaged.recv() => Some(Next::Damaged(fragments)),
            event = self.link.next() => Some(Next::Link(event)),
            Ok(()) = self.standing_by.changed() => Some(Next::StoodBy),
            () = due => Some(Next::Due),
        }
    }

    /// Whatever is there already shares the flush. Whether there was anything.
    fn take_waiting(&mut self) -> Result<bool, Failure> {
        for taken in 0..BATCH {
            let next = self.link.try_next().map(Next::Link);
            let next = next.or_else(|| self.fetched.try_recv().ok().map(Next::Fetched));
            let next = next.or_else(|| self.parts.questions.try_recv().ok().map(Next::Asked));
            let next = next.or_else(|| self.parts.requests.try_recv().ok().map(Next::Requested));
            let Some(next) = next else { return Ok(taken > 0) };
            self.take(next)?;
        }
        Ok(true)
    }

    fn take(&mut self, next: Next) -> Result<(), Failure> {
        match next {
            Next::Link(LinkEvent::Opened(Presence { epoch, instance, others_decided, heard })) => {
                info!(broker = %self.parts.config.common.broker, %epoch, %instance, "online");
                self.was_up = true;
                self.handle(TrackerInput::Connected { epoch, instance, others_decided });
                heard.iter().for_each(|delivery| self.hear(delivery));
            }
            Next::Link(LinkEvent::Failed(error)) => self.not_opened(error)?,
            Next::Link(LinkEvent::Delivered(delivery)) => self.hear(&delivery),
            Next::Link(LinkEvent::Lost(lost)) => {
                warn!("{lost}; connecting again");
                self.handle(TrackerInput::ConnectionLost);
            }
            Next::Fetched(Fetched { fragment, source, result }) => {
                self.handle(TrackerInput::Fetched { fragment, source, result });
            }
            // What reads well after all, or was put anew, is here: the attempt ends at its time.
            Next::Unreadable(fragment) => self.handle_unreadable(vec![fragment]),
            Next::Damaged(fragments) => self.handle_unreadable(fragments),
            Next::Asked(question) => question(&catalog(&self.parts, self.clock, &self.id, self.link.is_up())),
            Next::Requested(request) => self.request(request),
            // It is told at the end of the turn.
            Next::StoodBy => {}
            Next::Due => self.handle(TrackerInput::Tick),
        }
        Ok(())
    }

    fn not_opened(&mut self, error: ConnectError) -> Result<(), Failure> {
        match &error {
            ConnectError::AnotherTracker { .. } => Err(Failure::new(ExitCode::AnotherTracker, error)),
            ConnectError::Store(_) => Err(Failure::new(ExitCode::Store, error)),
            ConnectError::Open(_)
            | ConnectError::Lost(_)
            | ConnectError::TooLarge { .. }
            | ConnectError::Swallowed { .. }
                if !self.was_up && !self.parts.config.common.retry_connect =>
            {
                Err(Failure::new(ExitCode::Broker, error))
            }
            ConnectError::Open(_)
            | ConnectError::Lost(_)
            | ConnectError::TooLarge { .. }
            | ConnectError::Swallowed { .. } => {
                error!("{error}; trying again");
                Ok(())
            }
        }
    }

    fn hear(&mut self, delivery: &bus::Delivery) {
        let common = &self.parts.config.common;
        if let Some(heard) = hear(&common.topics, &common.limits, &self.parts.metrics, delivery) {
            self.handle(TrackerInput::Heard(heard));
        }
    }

    fn handle(&mut self, input: TrackerInput) {
        let now = self.clock.now();
        self.parts.machine.handle(input, now);
    }

    fn handle_unreadable(&mut self, fragments: Vec<Hash>) {
        self.parts.feed.note_stored(&fragments);
        for fragment in self.parts.own.gone(fragments) {
            self.handle(TrackerInput::FragmentUnreadable { fragment });
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Publish { hash, file, reply } => {
                let missing = self.missing(&file);
                let reply = Reply::Done(reply);
                if missing.is_empty() {
                    self.order(reply, |request| TrackerInput::FileUploaded { request, hash, file });
                } else {
                    reply.refuse(Refused::Missing(missing));
                }
            }
            Request::Discard { fragments } => {
                // What no file needs may still be kept until torrents had time to come back (S8): the machine says when it goes.
                let machine = &self.parts.machine;
                let is_unused = |hash: &Hash| !machine.view().is_in_a_file(hash) && !machine.stores(hash);
                let unused: Vec<Hash> = fragments.into_iter().filter(is_unused).collect();
                self.delete(unused);
            }
            Request::Remove { hash, reply } => {
                let reply = Reply::Done(reply);
                if self.parts.machine.view().file(&hash).is_some() {
                    self.order(reply, |request| TrackerInput::FileRemovalRequested { request, hash });
                } else {
                    reply.refuse(Refused::NotFound);
                }
            }
            Request::Drain { client, is_draining, reply } => {
                let reply = Reply::Drained(client.clone(), reply);
                let input = |request| TrackerInput::DrainRequested { request, client, is_draining };
                self.order(reply, input);
            }
        }
    }

    /// Hands the machine a request, and remembers who waits for what becomes of it.
    fn order(&mut self, reply: Reply, input: impl FnOnce(RequestId) -> TrackerInput) {
        // Passing, and nobody's fault: the client asks again.
        if !self.link.is_up() {
            return reply.refuse(Refused::NoBroker);
        }
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.replies.insert(request, reply);
        self.handle(input(request));
    }

    /// What of a file is neither here nor with a torrent. The event loop alone deletes what the tracker owns, so what is here when a file
    /// is published stays here.
    fn missing(&self, file: &FileInfo) -> Vec<Hash> {
        let (fragments, view) = (self.parts.store.fragments(), self.parts.machine.view());
        let is_safe = |hash: &Hash| fragments.contains(hash) || view.holder_count(hash) > 0;
        file.distinct_fragments().into_iter().filter(|hash| !is_safe(hash)).collect()
    }

    fn delete(&mut self, fragments: Vec<Hash>) {
        match self.parts.own.delete(fragments) {
            Ok(deleted) => debug!(deleted, "own copies deleted"),
            Err(fragments) => self.not_deleted.extend(fragments),
        }
    }

    /// For those who watch, and for monitors: the view, with these changes, is durable.
    fn note(&mut self, changes: &[Change]) {
        self.parts.feed.note(changes);
        let machine = &self.parts.machine;
        let (view, copies) = (machine.view(), machine.config().copies);
        for took in self.single_copies.note(changes, view, copies, Instant::now().into_std()) {
            self.parts.metrics.single_copy_seconds.observe(took.as_secs_f64());
        }
    }

    /// Carries out what the machine wants, and what it wants when it hears what became of that.
    fn execute(&mut self) -> Result<(), Failure> {
        self.carry_out()?;
        while !self.not_deleted.is_empty() {
            let fragments = std::mem::take(&mut self.not_deleted);
            self.handle(TrackerInput::NotDeleted { fragments });
            self.carry_out()?;
        }
        Ok(())
    }

    /// Persist, flush once, then publish and answer (S4).
    fn carry_out(&mut self) -> Result<(), Failure> {
        let store_failed = |error: &dyn std::fmt::Display| Failure::text(ExitCode::Store, error);
        let mut then = Vec::new();
        let mut changed = Vec::new();
        let mut must_flush = false;
        while let Some(command) = self.parts.machine.next_command() {
            if let TrackerCommand::Persist { changes, revision } = command {
                let applied = self.parts.store.view().apply(&changes, revision);
                applied.map_err(|error| store_failed(&error))?;
                changed.extend(changes);
                must_flush = true;
            } else if let TrackerCommand::RememberEpoch { epoch } = command {
                let meta = self.parts.store.meta();
                // Before the epoch: a crash in between must not make it forget that others decided.
                let stored = meta.set(storage::meta::OTHERS_DECIDED, &1);
                let stored = stored.and_then(|()| meta.set(storage::meta::EPOCH, &epoch.0));
                stored.map_err(|error| store_failed(&error))?;
                must_flush = true;
            } else if let TrackerCommand::RememberDeletionsSince { epoch } = command {
                let stored = self.parts.store.meta().set(storage::meta::DELETIONS_SINCE, &epoch.0);
                stored.map_err(|error| store_failed(&error))?;
                must_flush = true;
            } else if let TrackerCommand::LeftoversDecided = command {
                // A crash may undo it: then it is decided once more.
                let stored = self.parts.store.meta().set(storage::meta::VIEW_FORGOTTEN, &0);
                stored.map_err(|error| store_failed(&error))?;
            } else {
                then.push(command);
            }
        }
        if must_flush {
            self.parts.store.flush().map_err(|error| store_failed(&error))?;
        }
        if changed.contains(&Change::TombstonesForgotten) {
            let stored = self.parts.store.meta().set(storage::meta::OTHERS_DECIDED, &0);
            stored.map_err(|error| store_failed(&error))?;
        }
        if !changed.is_empty() {
            self.note(&changed);
        }
        let mut deliveries = Vec::new();
        for command in then {
            match command {
                TrackerCommand::Persist { .. }
                | TrackerCommand::RememberEpoch { .. }
                | TrackerCommand::RememberDeletionsSince { .. }
                | TrackerCommand::LeftoversDecided => {}
                TrackerCommand::Say { to, envelope, event } => self.say(&to, &envelope, &event),
                TrackerCommand::Deliver { to, envelope, fragment, receivers, is_repeated } => {
                    // Without a session nobody is there who asked for it.
                    deliveries.extend(self.link.outbox().map(|outbox| {
                        Delivery {
                            outbox: outbox.clone(),
                            topics: to
                                .iter()
                                .map(|to| self.topic(EventKind::FragmentDistributionDelivered, to))
                                .collect(),
                            envelope,
                            fragment,
                            receivers,
                            is_repeated,
                        }
                    }));
                }
                TrackerCommand::Discard { fragments } => self.delete(fragments),
                TrackerCommand::Fetch { fragment, size_bytes, source, endpoints } => {
                    let wanted = WantedFragment { hash: fragment, size_bytes };
                    self.parts.fetcher.fetch(wanted, source, endpoints, self.report_fetched.clone());
                }
                TrackerCommand::Accepted { request } => self.accepted(request),
                TrackerCommand::Refused { request, reason } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        reply.refuse(reason.into());
                    }
                }
                TrackerCommand::StepDown { by, epoch } => {
                    let by = by.map(|instance| instance.to_string()).unwrap_or_default();
                    let text = format!(
                        "another tracker (instance {by}, epoch {epoch}) is in charge now: this one ends"
                    );
                    return Err(Failure::text(ExitCode::AnotherTracker, text));
                }
            }
        }
        self.deliverer.deliver(deliveries).map_err(|ended| Failure::new(ExitCode::Failed, ended))
    }

    /// It is done, and durable. Whoever asked may have gone away; it is done all the same.
    fn accepted(&mut self, request: RequestId) {
        match self.replies.remove(&request) {
            Some(Reply::Done(reply)) => drop(reply.send(Ok(()))),
            Some(Reply::Drained(client, reply)) => {
                let remaining = self.parts.machine.drain_remaining(&client).unwrap_or(0);
                drop(reply.send(Ok(remaining as u64)));
            }
            None => {}
        }
    }

    fn topic(&self, kind: EventKind, to: &Audience) -> String {
        let topics = &self.parts.config.common.topics;
        match to {
            Audience::All => topics.shared(kind),
            Audience::One(client) => topics.direct(kind, client),
        }
    }

    fn say(&self, to: &Audience, envelope: &TrackerEnvelope, event: &TrackerEvent) {
        self.parts.metrics.said(event.kind().name(), self.link.is_up());
        let Some(outbox) = self.link.outbox() else { return };
        let topic = self.topic(event.kind(), to);
        let payload = encode_tracker(envelope, event);
        debug!(topic, ?event, "said");
        let is_presence = matches!(event, TrackerEvent::TrackerHello(_) | TrackerEvent::TrackerGoodbye(_));
        outbox.publish(Message { topic, payload, retain: is_presence && *to == Audience::All });
    }

    /// For people and monitors.
    fn tell(&mut self) {
        let (is_up, is_fenced) = (self.link.is_up(), self.parts.machine.is_fenced());
        if is_fenced && !self.was_fenced {
            warn!(
                "the broker does not bring back what the tracker says to all: another tracker may be in charge, so nothing is changed until \
                 it does; does the broker's access list let the tracker read {:?}?",
                self.topic(EventKind::TrackerHello, &Audience::All)
            );
        } else if self.was_fenced && !is_fenced && is_up {
            info!("the broker brings back again what the tracker says");
        }
        self.was_fenced = is_fenced;
        let decides = is_up && !is_fenced;
        self.parts.online.send_if_modified(|online| std::mem::replace(online, decides) != decides);
        let standing_by = *self.standing_by.borrow_and_update();
        self.parts.readiness.set(match (is_up, is_fenced) {
            (false, _) => Some(standing_by.unwrap_or("the broker is not connected")),
            (true, true) => Some("the broker does not bring back what the tracker says"),
            (true, false) => None,
        });
        let (metrics, view) = (&self.parts.metrics, self.parts.machine.view());
        metrics.broker_connected.set(i64::from(is_up));
        metrics.files.set(view.files().len() as i64);
        metrics.torrents_registered.set(view.clients().len() as i64);
        Metrics::set(&metrics.view_revision, view.revision().0);
        Metrics::set(&metrics.repairs_pending, self.parts.machine.repairs_pending() as u64);
        Metrics::set(&metrics.distributions_pending, self.parts.machine.undistributed() as u64);
        Metrics::set(&metrics.stored_fragments, self.parts.store.fragments().len());
        Metrics::set(&metrics.stored_bytes, self.parts.store.fragments().used_bytes());
        Metrics::set(&metrics.single_copy_fragments, self.single_copies.len() as u64);
        metrics.set_single_copy_since(self.single_copies.oldest());
    }
}

/// What was accepted before the start and has too few holders.
fn single_copies(parts: &Parts) -> Result<SingleCopies, Failure> {
    let mut single_copies = SingleCopies::default();
    let own: Result<Vec<_>, _> = parts.store.fragments().inventory().collect();
    let own = own.map_err(|error| Failure::new(ExitCode::Store, error))?.into_iter().map(|(hash, _)| hash);
    let copies = parts.machine.config().copies;
    single_copies.accept(own, parts.machine.view(), copies, std::time::Instant::now());
    Ok(single_copies)
}

fn catalog<'a>(parts: &'a Parts, clock: Clock, id: &'a ClientId, connected: bool) -> TrackerCatalog<'a> {
    TrackerCatalog { machine: &parts.machine, clock, id, endpoint: &parts.endpoint, connected }
}
