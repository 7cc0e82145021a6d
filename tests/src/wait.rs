//! Waiting for something that can be seen. A deadline that is far too long in the good case ends the test; nothing is
//! ever decided by how long something took.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How long anything may take before it counts as never happening. A daemon whose broker was away for long waits for up to a minute
/// before it looks for it again.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something.
///
/// # Panics
/// If there is nothing within [`DEADLINE`]; `what` says what did not happen.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "within {DEADLINE:?} it did not happen that {what}");
        sleep(INTERVAL).await;
    }
}

/// Looks again and again until it is so.
///
/// # Panics
/// As [`eventually`].
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    eventually(what, async || is_so().await.then_some(())).await;
}
