//! The fragments in the daemon's own store: read for the Endpoint, verified by the scrub, and set aside when they are damaged, whoever
//! finds it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use endpoint::{ReadError, Verified};
use protocol::Hash;
use storage::fragments::ReadError as StoreReadError;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::metrics::Metrics;

/// The fragments in the daemon's own store. Clones share it.
#[derive(Debug, Clone)]
pub struct OwnFragments {
    stored: storage::Fragments,
    metrics: Arc<Metrics>,
    damaged: mpsc::UnboundedSender<Vec<Hash>>,
}

impl OwnFragments {
    /// The fragments in `stored`, and those that were found damaged: the event loop tells the network of them. What it is told it checks
    /// with [`OwnFragments::gone`].
    #[must_use]
    pub fn new(
        stored: storage::Fragments,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::UnboundedReceiver<Vec<Hash>>) {
        let (damaged, reports) = mpsc::unbounded_channel();
        (Self { stored, metrics, damaged }, reports)
    }

    /// Sets aside those of `fragments` that are damaged, and reports them to the event loop.
    pub fn set_aside(&self, fragments: &[Hash]) {
        let damaged: Vec<Hash> = match self.stored.quarantine(fragments) {
            Ok(aside) => {
                for record in &aside {
                    error!(
                        fragment = %record.hash,
                        segment = record.segment,
                        offset_bytes = record.offset_bytes,
                        length_bytes = record.length_bytes,
                        "the stored bytes are damaged and no longer served: check the disk"
                    );
                }
                aside.into_iter().map(|record| record.hash).collect()
            }
            Err(error) => {
                // They are not served all the same, until a restart forgets that; then they are found again.
                error!(fragments = fragments.len(), "damaged fragments could not be set aside: {error}");
                self.gone(fragments.to_vec())
            }
        };
        self.metrics.fragments_damaged.inc_by(damaged.len() as u64);
        if !damaged.is_empty() {
            // The event loop has ended: the next join tells.
            let _ = self.damaged.send(damaged);
        }
    }

    /// Those of reported `fragments` that were not put anew since.
    #[must_use]
    pub fn gone(&self, mut fragments: Vec<Hash>) -> Vec<Hash> {
        fragments.retain(|hash| !self.stored.contains(hash));
        fragments
    }

    /// Deletes fragments, and says how many were here.
    ///
    /// # Errors
    /// If the disk does not: those that are still here, to be tried again.
    pub fn delete(&self, mut fragments: Vec<Hash>) -> Result<usize, Vec<Hash>> {
        self.stored.delete_batch(&fragments).map_err(|error| {
            error!(fragments = fragments.len(), "not deleted, to be tried again: {error}");
            fragments.retain(|hash| self.stored.contains(hash));
            fragments
        })
    }

    fn refused(&self, fragment: &Hash, error: StoreReadError) -> ReadError {
        match error {
            StoreReadError::Missing(_) => ReadError::Missing,
            StoreReadError::Damaged(_) => {
                self.set_aside(std::slice::from_ref(fragment));
                ReadError::Damaged
            }
            other @ (StoreReadError::Io { .. } | StoreReadError::Index { .. }) => io_error(other),
        }
    }
}

fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Io(Arc::new(io::Error::other(error)))
}

impl endpoint::Fragments for OwnFragments {
    fn read(&self, fragment: &Hash) -> Result<Bytes, ReadError> {
        self.stored.read(fragment).map_err(|error| self.refused(fragment, error))
    }

    fn size_of(&self, fragment: &Hash) -> Option<u64> {
        self.stored.size_of(fragment).map(u64::from)
    }

    fn verify(&self, fragment: &Hash) -> Result<u64, ReadError> {
        self.stored.verify(fragment).map_err(|error| self.refused(fragment, error))
    }

    fn verify_next(&self, after: Option<&Hash>, budget_bytes: u64) -> Result<Verified, ReadError> {
        let storage::fragments::Verified { fragments, bytes, damaged, unread, next } =
            self.stored.verify_next(after, budget_bytes).map_err(io_error)?;
        self.set_aside(&damaged);
        let unread = unread.into_iter().filter_map(|error| {
            warn!("not verified: {error}");
            match error {
                StoreReadError::Io { hash, .. } | StoreReadError::Index { hash, .. } => Some(hash),
                StoreReadError::Missing(_) | StoreReadError::Damaged(_) => None,
            }
        });
        Ok(Verified { fragments, bytes, damaged, unread: unread.collect(), next })
    }
}

#[cfg(test)]
mod tests {
    use endpoint::Fragments as _;
    use storage::{Store, StoreOptions};

    use super::*;

    #[test]
    fn whoever_finds_damage_sets_it_aside_counts_it_and_reports_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let contents: Vec<Bytes> = (0..3).map(|number| vec![number; 5000].into()).collect();
        let named: Vec<_> = contents.iter().map(|content| (Hash::of(content), content.clone())).collect();
        store.fragments().put_batch(named.clone()).into_iter().for_each(|result| result.unwrap());
        let segment = directory.path().join("segments/0000000000.segment");
        let mut bytes = std::fs::read(&segment).unwrap();
        for at in [64 + 10, 64 + 5000 + 64 + 10] {
            bytes[at] ^= 1;
        }
        std::fs::write(&segment, bytes).unwrap();

        let metrics = Arc::new(Metrics::default());
        let (own, mut reports) = OwnFragments::new(store.fragments().clone(), metrics.clone());
        let (first, second) = (named[0].0, named[1].0);
        assert!(matches!(own.read(&first), Err(ReadError::Damaged)));
        assert!(matches!(own.read(&first), Err(ReadError::Missing)), "it is no longer here");
        let verified = own.verify_next(None, u64::MAX).unwrap();
        assert_eq!((verified.fragments, verified.damaged), (2, vec![second]));
        assert_eq!((reports.try_recv().unwrap(), reports.try_recv().unwrap()), (vec![first], vec![second]));
        assert!(reports.try_recv().is_err());
        assert!(metrics.text().contains("mds_fragments_damaged_total 2"), "{}", metrics.text());

        store.fragments().put_batch(named[..1].to_vec()).remove(0).unwrap();
        assert_eq!(own.gone(vec![first, second]), [second]);
        assert_eq!(own.read(&first).unwrap(), contents[0]);
    }
}
