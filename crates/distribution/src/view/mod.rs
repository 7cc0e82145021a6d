//! The Distribution View: which files and fragments exist, which torrents are registered, who holds what.
//!
//! Invariants, checked by [`View::check_invariants`]:
//!
//! - **V1** every fragment of a file has metadata
//! - **V2** every fragment that a torrent holds has metadata
//! - **V3** a file's size is the sum of its fragments
//! - **V4** all fragments of a file have the view's fragment size except the last, which is smaller or equal and not empty
//! - **V5** no endpoint belongs to two torrents
//! - **V6** only registered torrents hold fragments
//!
//! The view changes only by [`View::apply`]. Every collection is ordered, so that two views made by the same changes are walked alike.

mod change;
mod digest;
mod invariants;
mod join;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::{ClientId, ClientMetadata, EndpointUri, FileMetadata, FileName, Hash, Revision, Zone};
use smallvec::SmallVec;

pub use change::{Change, ChangeError};
pub use digest::SetDigest;
pub use invariants::Violation;
pub use join::{Adoption, JoinAnswer, JoinRefused, answer_join, changes_of_answer};
pub use orders::{Orders, Tombstones};

/// What the view knows of a file besides its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Length of the whole content in bytes.
    pub size_bytes: u64,
    /// The fragments in file order; one may occur more than once.
    pub fragments: Arc<[Hash]>,
    /// The name the uploader gave.
    pub name: Option<FileName>,
}

impl FileInfo {
    /// The distinct fragments of the file.
    #[must_use]
    pub fn distinct_fragments(&self) -> BTreeSet<Hash> {
        self.fragments.iter().copied().collect()
    }
}

impl From<FileMetadata> for FileInfo {
    fn from(metadata: FileMetadata) -> Self {
        Self {
            size_bytes: metadata.size_bytes,
            fragments: metadata.fragment_sequence.into(),
            name: metadata.name,
        }
    }
}

impl From<&FileInfo> for FileMetadata {
    fn from(file: &FileInfo) -> Self {
        Self {
            size_bytes: file.size_bytes,
            fragment_sequence: file.fragments.to_vec(),
            name: file.name.clone(),
        }
    }
}

/// What a torrent tells of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registration {
    /// Where it can be asked for fragments.
    pub endpoints: BTreeSet<EndpointUri>,
    /// How many bytes of fragments it may store, if told.
    pub capacity_bytes: Option<u64>,
    /// The failure domain it stands in, if told.
    pub zone: Option<Zone>,
}

/// A registered torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it told of itself.
    pub registration: Registration,
    /// Bytes of the fragments it holds.
    pub used_bytes: u64,
    /// Number of the fragments it holds.
    pub fragments: u64,
    /// Digest over the fragments it holds.
    pub inventory: SetDigest,
    key: ClientKey,
}

/// Stands for a registered torrent in the lists of holders: 4 bytes in place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKey(u32);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FragmentEntry {
    size_bytes: u32,
    /// How many files it is part of. One that is part of none was adopted from a torrent's inventory.
    files: u32,
    holders: SmallVec<[ClientKey; 4]>,
}

/// The Distribution View.
#[derive(Debug, Clone, Default)]
pub struct View {
    fragment_size_bytes: Option<u64>,
    revision: Revision,
    files: BTreeMap<Hash, FileInfo>,
    fragments: BTreeMap<Hash, FragmentEntry>,
    clients: BTreeMap<ClientId, Client>,
    clients_by_key: BTreeMap<ClientKey, ClientId>,
    clients_by_endpoint: BTreeMap<EndpointUri, ClientId>,
    digest: SetDigest,
    orders: Orders,
}

impl View {
    /// A view that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fragment size of every file in bytes; none before the first file or the first join.
    #[must_use]
    pub const fn fragment_size_bytes(&self) -> Option<u64> {
        self.fragment_size_bytes
    }

    /// The number of the last change; 0 where no tracker numbers them.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Says that everything up to `revision` has been applied.
    pub const fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// The digest of the view: equal for equal views, whatever the order of the changes that made them.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest.hash()
    }

    /// All files by hash.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<Hash, FileInfo> {
        &self.files
    }

    /// One file.
    #[must_use]
    pub fn file(&self, hash: &Hash) -> Option<&FileInfo> {
        self.files.get(hash)
    }

    /// All registered torrents by identifier.
    #[must_use]
    pub const fn clients(&self) -> &BTreeMap<ClientId, Client> {
        &self.clients
    }

    /// One registered torrent.
    #[must_use]
    pub fn client(&self, client: &ClientId) -> Option<&Client> {
        self.clients.get(client)
    }

    /// The registered torrent that announced `endpoint`.
    #[must_use]
    pub fn client_of_endpoint(&self, endpoint: &EndpointUri) -> Option<&ClientId> {
        self.clients_by_endpoint.get(endpoint)
    }

    /// How many fragments have metadata.
    #[must_use]
    pub fn fragment_count(&self) -> usize {
        self.fragments.len()
    }

    /// All fragments by hash, with their sizes in bytes.
    pub fn fragments(&self) -> impl Iterator<Item = (Hash, u64)> + '_ {
        self.fragments.iter().map(|(hash, entry)| (*hash, u64::from(entry.size_bytes)))
    }

    /// The size of a fragment in bytes, if the view knows it.
    #[must_use]
    pub fn fragment_bytes(&self, fragment: &Hash) -> Option<u64> {
        self.fragments.get(fragment).map(|entry| u64::from(entry.size_bytes))
    }

    /// Whether the fragment is part of a file.
    #[must_use]
    pub fn is_in_a_file(&self, fragment: &Hash) -> bool {
        self.fragments.get(fragment).is_some_and(|entry| entry.files > 0)
    }

    /// Who holds a fragment, in the order in which they came to hold it.
    pub fn holders(&self, fragment: &Hash) -> impl Iterator<Item = &ClientId> {
        let keys = self.fragments.get(fragment).map(|entry| entry.holders.as_slice()).unwrap_or_default();
        keys.iter().filter_map(|key| self.clients_by_key.get(key))
    }

    /// How many hold a fragment.
    #[must_use]
    pub fn holder_count(&self, fragment: &Hash) -> usize {
        self.fragments.get(fragment).map_or(0, |entry| entry.holders.len())
    }

    /// Whether `client` holds a fragment.
    #[must_use]
    pub fn holds(&self, client: &ClientId, fragment: &Hash) -> bool {
        let key = self.clients.get(client).map(|client| client.key);
        let holders = self.fragments.get(fragment).map(|entry| &entry.holders);
        key.zip(holders).is_some_and(|(key, holders)| holders.contains(&key))
    }

    /// The fragments that `client` holds.
    #[must_use]
    pub fn inventory(&self, client: &ClientId) -> BTreeSet<Hash> {
        let Some(key) = self.clients.get(client).map(|client| client.key) else { return BTreeSet::new() };
        let held = self.fragments.iter().filter(|(_, entry)| entry.holders.contains(&key));
        held.map(|(hash, _)| *hash).collect()
    }

    /// Fewest holders of any fragment of a file; none for an empty or unknown file.
    #[must_use]
    pub fn fewest_holders(&self, file: &Hash) -> Option<usize> {
        self.files.get(file)?.fragments.iter().map(|fragment| self.holder_count(fragment)).min()
    }

    /// What events say of a registered torrent.
    #[must_use]
    pub fn client_metadata(&self, client: &ClientId) -> Option<ClientMetadata> {
        let registration = &self.clients.get(client)?.registration;
        Some(ClientMetadata {
            endpoints: registration.endpoints.clone(),
            stored_fragments: self.inventory(client),
            capacity_bytes: registration.capacity_bytes,
            zone: registration.zone.clone(),
        })
    }
}

impl PartialEq for View {
    /// Equal content. Which key stands for which torrent, in which order holders came, and what operators ordered, is not content.
    fn eq(&self, other: &Self) -> bool {
        let clients = |view: &Self| -> BTreeMap<ClientId, Registration> {
            view.clients.iter().map(|(id, client)| (id.clone(), client.registration.clone())).collect()
        };
        self.fragment_size_bytes == other.fragment_size_bytes
            && self.revision == other.revision
            && self.files == other.files
            && clients(self) == clients(other)
            && self.fragments.len() == other.fragments.len()
            && self.fragments().eq(other.fragments())
            && self.fragments.keys().all(|fragment| {
                let mine: BTreeSet<_> = self.holders(fragment).collect();
                mine == other.holders(fragment).collect()
            })
    }
}
