//! What operators ordered, which the tracker alone remembers: deletions, and torrents to be emptied.
//!
//! It is kept and persisted with the view, but it is not part of what all participants agree on: neither of the digest nor of equality.

use std::collections::BTreeSet;

use protocol::{ClientId, Hash};

use super::View;
use crate::rules::Rule;

/// Names of what was deleted. A name that came back since, with a new upload, counts as there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    files: BTreeSet<Hash>,
    fragments: BTreeSet<Hash>,
}

impl Tombstones {
    /// Files that were deleted at some time.
    #[must_use]
    pub const fn files(&self) -> &BTreeSet<Hash> {
        &self.files
    }

    /// Fragments that went with them.
    #[must_use]
    pub const fn fragments(&self) -> &BTreeSet<Hash> {
        &self.fragments
    }

    /// Whether nothing was ever deleted, or all of that is forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.fragments.is_empty()
    }

    pub(super) fn add(&mut self, files: &BTreeSet<Hash>, fragments: &BTreeSet<Hash>) {
        self.files.extend(files);
        self.fragments.extend(fragments);
    }
}

/// What operators ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// What was deleted.
    pub tombstones: Tombstones,
    /// Torrents whose copies count no more.
    pub draining: BTreeSet<ClientId>,
}

impl Orders {
    pub(super) fn set_draining(&mut self, client: &ClientId, is_draining: bool) {
        if is_draining {
            self.draining.insert(client.clone());
        } else {
            self.draining.remove(client);
        }
    }
}

impl View {
    /// What operators ordered, as far as this participant has to remember it.
    #[must_use]
    pub const fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Whether the file was deleted and has not been uploaded again since.
    #[must_use]
    pub fn is_deleted_file(&self, file: &Hash) -> bool {
        Rule::Tombstones.is_kept()
            && self.orders.tombstones.files.contains(file)
            && !self.files.contains_key(file)
    }

    /// Whether the fragment went with a deleted file, and no file uses it since.
    #[must_use]
    pub fn is_deleted_fragment(&self, fragment: &Hash) -> bool {
        Rule::Tombstones.is_kept()
            && self.orders.tombstones.fragments.contains(fragment)
            && !self.fragments.contains_key(fragment)
    }

    /// Whether the torrent is being emptied.
    #[must_use]
    pub fn is_draining(&self, client: &ClientId) -> bool {
        self.orders.draining.contains(client)
    }

    /// Holders whose copies count: not those that are being emptied.
    pub fn lasting_holders(&self, fragment: &Hash) -> impl Iterator<Item = &ClientId> {
        self.holders(fragment).filter(|holder| !self.is_draining(holder))
    }
}
