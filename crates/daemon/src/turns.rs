//! The thread of an event loop, and how often the loop goes round.
//!
//! The event loop and its session with the broker share one thread, so an event that is heard and answered wakes nobody else. And a
//! busy loop rests: like a network card that moderates its interrupts, it lets events gather for a moment and takes them all at
//! once. They then share one read, one flush and one write, where each on its own would cost a wake-up, a flush and a write.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::{ExitCode, Failure};

/// A turn that heard something takes at least this long.
pub const MIN_TURN: Duration = Duration::from_millis(2);

/// Runs an event loop on a thread of its own, which nothing else uses, until it ends.
///
/// The loop may block on the disk: only its own session with the broker waits with it.
///
/// # Errors
/// What the loop ends with, or that there is no thread for it.
pub async fn on_own_thread<F>(event_loop: impl FnOnce() -> F + Send + 'static) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let refused = |error: std::io::Error| {
        Failure::text(ExitCode::Failed, format!("no thread for the event loop: {error}"))
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let (end, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("event-loop".into());
    thread
        .spawn(move || {
            let result = runtime.block_on(event_loop());
            // Whoever waits is there until the loop has ended.
            let _ = end.send(result);
        })
        .map_err(refused)?;
    ended.await.unwrap_or_else(|_| Err(Failure::text(ExitCode::Failed, "the event loop panicked")))
}

/// When the turn of an event loop began.
#[derive(Debug)]
pub struct Turn {
    began: Instant,
}

impl Turn {
    /// A turn begins: there is something to do.
    #[must_use]
    pub fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// A busy turn ends: what was said is written, and the thread rests until the turn has taken [`MIN_TURN`].
    ///
    /// It really sleeps. A timer of the runtime would be disturbed by each packet that arrives, which is what the rest is there to avoid.
    pub async fn rest(self) {
        yield_now().await;
        if let Some(rest) = MIN_TURN.checked_sub(self.began.elapsed()) {
            thread::sleep(rest);
        }
    }
}
