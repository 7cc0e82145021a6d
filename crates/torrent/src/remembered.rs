//! What a torrent remembers of trackers from one run to the next.

use distribution::torrent::RememberedTracker;
use protocol::{Epoch, InstanceId};
use storage::Meta;
use storage::meta::{COPIES, MetaError, REGISTERED_BY, REGISTERED_EPOCH, SEEN_EPOCH, SEEN_TRACKER};

/// What the last run has kept.
pub fn load(meta: &Meta) -> Result<RememberedTracker, MetaError> {
    let registered_by = meta.get(REGISTERED_BY)?.map(InstanceId);
    let registered_epoch = meta.get(REGISTERED_EPOCH)?.map(Epoch);
    Ok(RememberedTracker {
        epoch: Epoch(meta.get(SEEN_EPOCH)?.unwrap_or(0)),
        instance: meta.get(SEEN_TRACKER)?.map(InstanceId),
        copies: meta.get(COPIES)?,
        registered_by,
        // What is kept then is the epoch of a tracker before that one, which has none.
        registered_epoch: registered_epoch.filter(|_| registered_by != Some(InstanceId::NONE)),
    })
}

/// Keeps it; durable with the next flush.
pub fn keep(meta: &Meta, tracker: &RememberedTracker) -> Result<(), MetaError> {
    meta.set(SEEN_EPOCH, &tracker.epoch.0)?;
    tracker.instance.map_or(Ok(()), |instance| meta.set(SEEN_TRACKER, &instance.0))?;
    tracker.copies.map_or(Ok(()), |copies| meta.set(COPIES, &copies))?;
    tracker.registered_epoch.map_or(Ok(()), |epoch| meta.set(REGISTERED_EPOCH, &epoch.0))?;
    tracker.registered_by.map_or(Ok(()), |instance| meta.set(REGISTERED_BY, &instance.0))
}
