//! How many bytes of fragments may be in memory at once for all reads, or for all uploads, together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::errors::Refusal;

/// The budget is counted in this many bytes.
const UNIT_BYTES: u64 = 1024;

/// Bytes of fragments in memory. Who wants more than is free waits, first come first served, and is refused after a while.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    units: u32,
    patience: Duration,
}

/// Bytes of the budget in use; dropping it gives them back.
#[derive(Debug)]
pub struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// So many bytes, and how long is waited for them.
    #[must_use]
    pub fn new(bytes: u64, patience: Duration) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        Self { free: Arc::new(Semaphore::new(units as usize)), units, patience }
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if that takes too long.
    pub async fn take(&self, bytes: u64) -> Result<Share, Refusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(self.units).clamp(1, self.units);
        match timeout(self.patience, self.free.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Share(permit)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy { retry_after: Duration::from_secs(1) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_told_to_try_again() {
        let budget = Budget::new(4096, Duration::from_secs(10));
        let all = budget.take(1 << 30).await.unwrap();
        assert_eq!(budget.take(1).await.unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(all);
        assert!(budget.take(1).await.is_ok());
    }
}
