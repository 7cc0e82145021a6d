//! What a torrent remembers of trackers from one run to the next.

use distribution::torrent::RememberedTracker;
use protocol::{Epoch, InstanceId};
use storage::Meta;
use storage::meta::{COPIES, MetaError, REGISTERED_BY, REGISTERED_EPOCH, SEEN_EPOCH, SEEN_TRACKER};

/// Stands for the epoch of a tracker that has none.
const NO_EPOCH: u64 = u64::MAX;

/// What the last run has kept.
pub fn load(meta: &Meta) -> Result<RememberedTracker, MetaError> {
    Ok(RememberedTracker {
        epoch: Epoch(meta.get(SEEN_EPOCH)?.unwrap_or(0)),
        instance: meta.get(SEEN_TRACKER)?.map(InstanceId),
        copies: meta.get(COPIES)?,
        registered_by: meta.get(REGISTERED_BY)?.map(InstanceId),
        registered_epoch: meta.get(REGISTERED_EPOCH)?.filter(|epoch| *epoch != NO_EPOCH).map(Epoch),
    })
}

/// Keeps it; durable with the next flush.
pub fn keep(meta: &Meta, tracker: &RememberedTracker) -> Result<(), MetaError> {
    meta.set(SEEN_EPOCH, &tracker.epoch.0)?;
    tracker.instance.map_or(Ok(()), |instance| meta.set(SEEN_TRACKER, &instance.0))?;
    tracker.copies.map_or(Ok(()), |copies| meta.set(COPIES, &copies))?;
    meta.set(REGISTERED_EPOCH, &tracker.registered_epoch.map_or(NO_EPOCH, |epoch| epoch.0))?;
    tracker.registered_by.map_or(Ok(()), |instance| meta.set(REGISTERED_BY, &instance.0))
}
