//! The connection to the bus as an event loop sees it: opened, delivering, lost, and opened again after a while.
//!
//! Each opening is a session of its own and runs in a task of its own, so that the event loop goes on answering while there is no bus.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bus::{Backoff, Delivery, Inbox, Outbox, SessionLost};
use distribution::rules::Rule;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// A session that lasted this long was a good one: the next loss begins with the shortest wait again.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// A session, and what came of opening it.
#[derive(Debug)]
pub struct Session<T> {
    /// What is said goes here.
    pub outbox: Outbox,
    /// What is heard comes from here.
    pub inbox: Inbox,
    /// What came of opening it.
    pub extra: T,
}

/// What the link has to tell.
#[derive(Debug)]
pub enum LinkEvent<T, E> {
    /// There is a session.
    Opened(T),
    /// There is none; the next attempt is under way.
    Failed(E),
    /// Something was heard.
    Delivered(Delivery),
    /// The session is gone; the next attempt is under way.
    Lost(SessionLost),
}

type Opening<T, E> = Pin<Box<dyn Future<Output = Result<Session<T>, E>> + Send>>;

enum State<T, E> {
    Down(JoinHandle<Result<Session<T>, E>>),
    Up { outbox: Outbox, inbox: Inbox, since: Instant },
}

/// The link of one daemon to its bus.
pub struct Link<T, E> {
    state: State<T, E>,
    open: Box<dyn Fn() -> Opening<T, E> + Send>,
    backoff: Backoff,
}

impl<T, E> fmt::Debug for Link<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static, E: Send + 'static> Link<T, E> {
    /// Opens the first session at once, and every later one by the same means.
    pub fn start<F>(open: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Session<T>, E>> + Send + 'static,
    {
        let open: Box<dyn Fn() -> Opening<T, E> + Send> = Box::new(move || Box::pin(open()));
        let state = State::Down(tokio::spawn(open()));
        Self { state, open, backoff: Backoff::new() }
    }

    /// The next event. May be cancelled without losing anything.
    pub async fn next(&mut self) -> LinkEvent<T, E> {
        loop {
            match &mut self.state {
                State::Down(opening) => match opening.await {
                    Ok(opened) => return self.opened(opened),
                    // The task is not aborted, so it panicked.
                    Err(error) => {
                        warn!("the connection could not be opened: {error}");
                        self.reopen();
                    }
                },
                State::Up { inbox, .. } => {
                    return match inbox.recv().await {
                        Ok(delivery) => LinkEvent::Delivered(delivery),
                        Err(lost) => self.lost(lost),
                    };
                }
            }
        }
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<LinkEvent<T, E>> {
        let State::Up { inbox, .. } = &mut self.state else { return None };
        match inbox.try_recv() {
            Ok(delivery) => delivery.map(LinkEvent::Delivered),
            Err(lost) => Some(self.lost(lost)),
        }
    }

    fn opened(&mut self, opened: Result<Session<T>, E>) -> LinkEvent<T, E> {
        match opened {
            Ok(Session { outbox, inbox, extra }) => {
                self.state = State::Up { outbox, inbox, since: Instant::now() };
                LinkEvent::Opened(extra)
            }
            Err(error) => {
                self.reopen();
                LinkEvent::Failed(error)
            }
        }
    }

    fn lost(&mut self, lost: SessionLost) -> LinkEvent<T, E> {
        if let State::Up { since, .. } = &self.state
            && since.elapsed() >= GOOD_SESSION
        {
            self.backoff.reset();
        }
        self.reopen();
        LinkEvent::Lost(lost)
    }

    fn reopen(&mut self) {
        let delay = self.backoff.next_delay(fastrand::u32(..));
        let delay = if Rule::AttemptsAreSpaced.is_kept() { delay } else { Duration::ZERO };
        let opening = (self.open)();
        self.state = State::Down(tokio::spawn(async move {
            sleep(delay).await;
            opening.await
        }));
    }

    /// Ends the session so that no will is published.
    pub async fn close(self) {
        match self.state {
            State::Up { outbox, inbox, .. } => {
                // Nobody reads it any more, and a full inbox would hold up the acknowledgements.
                drop(inbox);
                if let Err(error) = outbox.close().await {
                    warn!("the goodbye may not have arrived: {error}");
                }
            }
            State::Down(opening) => opening.abort(),
        }
    }
}

impl<T, E> Link<T, E> {
    /// Whether there is a session.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Where to say something, while there is a session.
    pub const fn outbox(&self) -> Option<&Outbox> {
        match &self.state {
            State::Up { outbox, .. } => Some(outbox),
            State::Down(_) => None,
        }
    }
}
