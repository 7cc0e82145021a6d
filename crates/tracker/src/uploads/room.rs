//! Whether what is announced finds room at the torrents.
//!
//! What the network has already takes no more room, and what that is shows only when the fragments have names. So an upload is refused when it
//! is created only if it does not fit even if the network has all that it can have of it; else with the first bytes for which there is no room.

use endpoint::{Catalog, Refusal};
use protocol::Hash;

use super::UploadApi;
use super::registry::{SharedUpload, lock};

/// Where a file does not fit.
const TRACKER: &str = "the tracker";
const TORRENTS: &str = "all torrents together";

/// What has arrived of an upload whose size was announced, as far as room for it is concerned.
#[derive(Debug, Default)]
pub struct Arrived {
    /// What has become durable since the view was asked last, with its size in bytes.
    unseen: Vec<(Hash, u64)>,
    unseen_bytes: u64,
    /// Bytes of what came before that the network had not.
    new_bytes: u64,
    /// What was free for them then, in bytes.
    room_bytes: u64,
}

impl Arrived {
    /// A fragment has become durable.
    pub fn add(&mut self, fragment: Hash, size_bytes: u64) {
        self.unseen.push((fragment, size_bytes));
        self.unseen_bytes += size_bytes;
    }

    /// What the view has to be asked about, for it may be more than there was room for.
    fn take_doubtful(&mut self) -> Option<Vec<(Hash, u64)>> {
        if self.new_bytes + self.unseen_bytes <= self.room_bytes {
            return None;
        }
        self.unseen_bytes = 0;
        Some(std::mem::take(&mut self.unseen))
    }

    /// Of what was taken the network had not so many bytes, and so many are free; gives how many it had not in all.
    fn note(&mut self, new_bytes: u64, room_bytes: u64) -> u64 {
        self.new_bytes += new_bytes;
        self.room_bytes = room_bytes;
        self.new_bytes
    }
}

impl UploadApi {
    /// Whether so many bytes can find room: here, and once with the torrents, as far as they say how much they take.
    pub(super) async fn check_room(&self, needed_bytes: u64) -> Result<(), Refusal> {
        let (free_bytes, used_bytes) = (self.fragments.free_bytes(), self.fragments.used_bytes());
        if needed_bytes > free_bytes.saturating_add(used_bytes) {
            return Err(Refusal::FileDoesNotFit { needed_bytes, free_bytes, place: TRACKER });
        }
        let question = move |catalog: &dyn Catalog| {
            let free_bytes = free_at_torrents(catalog).filter(|free_bytes| needed_bytes > *free_bytes)?;
            let known_bytes: u64 = catalog.view().files().values().map(|file| file.size_bytes).sum();
            (needed_bytes > free_bytes.saturating_add(known_bytes)).then_some(free_bytes)
        };
        match self.catalog.ask(question).await? {
            Some(free_bytes) => Err(Refusal::FileDoesNotFit { needed_bytes, free_bytes, place: TORRENTS }),
            None => Ok(()),
        }
    }

    /// Whether what has arrived so far of an upload whose size was announced, and the network has not, finds room at the torrents. The view
    /// is asked only when more came than had room the last time.
    pub(super) async fn check_arrived(&self, upload: &SharedUpload) -> Result<(), Refusal> {
        let Some(arrived) = lock(upload).arrived.take_doubtful() else { return Ok(()) };
        let question = move |catalog: &dyn Catalog| {
            let view = catalog.view();
            let new = arrived.iter().filter(|(fragment, _)| view.fragment_bytes(fragment).is_none());
            (new.map(|(_, size_bytes)| size_bytes).sum(), free_at_torrents(catalog))
        };
        let (new_bytes, free_bytes): (u64, _) = self.catalog.ask(question).await?;
        let free_bytes = free_bytes.unwrap_or(u64::MAX);
        let needed_bytes = lock(upload).arrived.note(new_bytes, free_bytes);
        if needed_bytes > free_bytes {
            return Err(Refusal::FileDoesNotFit { needed_bytes, free_bytes, place: TORRENTS });
        }
        Ok(())
    }
}

/// Free at all torrents together, in bytes; none if one does not say, or there is none.
fn free_at_torrents(catalog: &dyn Catalog) -> Option<u64> {
    let clients = Some(catalog.view().clients().values()).filter(|clients| clients.len() > 0)?;
    let free =
        clients.map(|client| Some(client.registration.capacity_bytes?.saturating_sub(client.used_bytes)));
    free.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_asked_only_when_more_came_than_there_was_room_for() {
        let mut arrived = Arrived::default();
        assert_eq!(arrived.take_doubtful(), None);
        let [a, b, c] = [&b"a"[..], b"b", b"c"].map(Hash::of);
        arrived.add(a, 10);
        assert_eq!(arrived.take_doubtful(), Some(vec![(a, 10)]));
        // The network had it.
        assert_eq!(arrived.note(0, 15), 0);
        arrived.add(b, 15);
        assert_eq!(arrived.take_doubtful(), None);
        arrived.add(c, 1);
        assert_eq!(arrived.take_doubtful(), Some(vec![(b, 15), (c, 1)]));
        assert_eq!(arrived.note(16, 15), 16);
        // Who goes on in spite of that is asked about again: there may be room by then.
        assert_eq!(arrived.take_doubtful(), Some(vec![]));
        assert_eq!(arrived.note(0, 20), 16);
        assert_eq!(arrived.take_doubtful(), None);
    }
}
