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

/// A turn that heard or stored something takes at least this long.
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test]
    async fn what_an_event_loop_ends_with_is_passed_on() {
        on_own_thread(async || Ok(())).await.unwrap();
        let failure = on_own_thread(async || Err(Failure::text(ExitCode::Store, "full"))).await.unwrap_err();
        assert_eq!((failure.code, failure.error.to_string()), (ExitCode::Store, "full".to_owned()));
    }

    #[tokio::test]
    async fn an_event_loop_that_panics_is_a_failure() {
        let failure = on_own_thread(async || panic!("on purpose")).await.unwrap_err();
        assert_eq!(failure.code, ExitCode::Failed);
    }

    #[test]
    fn the_session_writes_before_the_thread_rests() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let written = Rc::new(Cell::new(false));
            let session = written.clone();
            tokio::task::spawn_local(async move { session.set(true) });
            let turn = Turn::begin();
            let began = turn.began;
            turn.rest().await;
            assert!(written.get());
            assert!(began.elapsed() >= MIN_TURN);
        });
    }
}
