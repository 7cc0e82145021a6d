//! The only ways in which a view changes. This is also what is persisted and what tests replay.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use protocol::limits::{MAX_FRAGMENT_SIZE_BYTES, MIN_FRAGMENT_SIZE_BYTES};
use protocol::{ClientId, EndpointUri, Hash};

use super::digest::Element;
use super::{Client, ClientKey, FileInfo, FragmentEntry, Registration, SetDigest, View};

/// One step of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The fragment size of every file, in bytes, is known.
    FragmentSizeSet {
        /// In bytes.
        fragment_size_bytes: u64,
    },
    /// There is a new file. Its fragments' metadata follows from its size.
    FilePublished {
        /// Hash of the whole content.
        hash: Hash,
        /// What is known of it.
        file: FileInfo,
    },
    /// A file is no more, and neither are the fragments that no other file uses.
    FileRemoved {
        /// Hash of the whole content.
        hash: Hash,
    },
    /// There is a fragment of which no file is known.
    FragmentAdded {
        /// The fragment.
        hash: Hash,
        /// Its length in bytes.
        size_bytes: u64,
    },
    /// A fragment that no file uses is no more.
    FragmentRemoved {
        /// The fragment.
        hash: Hash,
    },
    /// A torrent is registered and holds these fragments and no others. An earlier registration of it is replaced.
    ClientRegistered {
        /// The torrent.
        client: ClientId,
        /// What it told of itself.
        registration: Registration,
        /// What it holds. Fragments that the view does not know are left out.
        stored: BTreeSet<Hash>,
    },
    /// A torrent is no longer registered and holds nothing.
    ClientUnregistered {
        /// The torrent.
        client: ClientId,
    },
    /// A fragment has these holders besides those it had. Torrents that are not registered are left out.
    FragmentDistributed {
        /// The fragment.
        hash: Hash,
        /// Its length in bytes.
        size_bytes: u64,
        /// Its new holders.
        receivers: BTreeSet<ClientId>,
    },
    /// A torrent no longer holds a fragment.
    HolderRemoved {
        /// The fragment.
        hash: Hash,
        /// The torrent.
        client: ClientId,
    },
    /// These are gone by order. Only the tracker remembers it, so that a torrent that was away does not bring them back.
    TombstonesAdded {
        /// Files that were deleted.
        files: BTreeSet<Hash>,
        /// Fragments that no file used any more.
        fragments: BTreeSet<Hash>,
    },
    /// What was deleted is no longer remembered.
    TombstonesForgotten,
    /// A torrent is being emptied before it leaves for good, or no longer is. Only the tracker remembers it.
    DrainSet {
        /// The torrent, registered or not.
        client: ClientId,
        /// Whether its copies count no more.
        is_draining: bool,
    },
}

/// Why a change does not fit a view. The view is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another size is in use, or this one is not allowed.
    #[error("fragment size {told_bytes} does not fit: {used_bytes:?} is in use, 1 KiB to 8 MiB are allowed")]
    FragmentSize {
        /// The size told, in bytes.
        told_bytes: u64,
        /// The size in use, in bytes.
        used_bytes: Option<u64>,
    },
    /// A file before any fragment size.
    #[error("no fragment size is known yet")]
    NoFragmentSize,
    /// The number of fragments does not fit the size (V3, V4).
    #[error("file {file}: {size_bytes} bytes are not {fragments} fragments of {fragment_size_bytes} bytes")]
    WrongLength {
        /// Hash of the whole content.
        file: Hash,
        /// Length of the whole content in bytes.
        size_bytes: u64,
        /// Number of fragments told.
        fragments: usize,
        /// The fragment size in use, in bytes.
        fragment_size_bytes: u64,
    },
    /// The same file with other content.
    #[error("file {0} is known with another size or sequence")]
    FileConflict(Hash),
    /// The same fragment with another size.
    #[error("fragment {fragment} is known with {known_bytes} bytes, not {told_bytes}")]
    FragmentConflict {
        /// The fragment.
        fragment: Hash,
        /// The size in the view, in bytes.
        known_bytes: u64,
        /// The size told, in bytes.
        told_bytes: u64,
    },
    /// An endpoint of another torrent (V5).
    #[error("endpoint {endpoint} belongs to {owner}")]
    EndpointConflict {
        /// The endpoint.
        endpoint: EndpointUri,
        /// Whose it is.
        owner: ClientId,
    },
}

impl View {
    /// Applies one change. A change that is already there changes nothing.
    ///
    /// # Errors
    /// If an invariant would break; then nothing is changed.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::FragmentSizeSet { fragment_size_bytes } => self.set_fragment_size(*fragment_size_bytes),
            Change::FilePublished { hash, file } => self.publish_file(*hash, file),
            Change::FileRemoved { hash } => {
                self.remove_file(hash);
                Ok(())
            }
            Change::FragmentAdded { hash, size_bytes } => self.add_fragment(*hash, *size_bytes),
            Change::FragmentRemoved { hash } => {
                if !self.is_in_a_file(hash) {
                    self.remove_fragment(hash);
                }
                Ok(())
            }
            Change::ClientRegistered { client, registration, stored } => {
                self.register(client, registration, stored)
            }
            Change::ClientUnregistered { client } => {
                self.unregister(client);
                Ok(())
            }
            Change::FragmentDistributed { hash, size_bytes, receivers } => {
                self.add_fragment(*hash, *size_bytes)?;
                receivers.iter().for_each(|receiver| self.add_holder(*hash, receiver));
                Ok(())
            }
            Change::HolderRemoved { hash, client } => {
                self.remove_holder(hash, client);
                Ok(())
            }
            Change::TombstonesForgotten => {
                self.orders.tombstones = super::Tombstones::default();
                Ok(())
            }
            Change::TombstonesAdded { files, fragments } => {
                self.orders.tombstones.add(files, fragments);
                Ok(())
            }
            Change::DrainSet { client, is_draining } => {
                self.orders.set_draining(client, *is_draining);
                Ok(())
            }
        }
    }

    fn set_fragment_size(&mut self, told_bytes: u64) -> Result<(), ChangeError> {
        let allowed = (MIN_FRAGMENT_SIZE_BYTES..=MAX_FRAGMENT_SIZE_BYTES).contains(&told_bytes);
        // A view without files is bound to no size: a fresh torrent takes whatever the service uses.
        let in_use = self.fragment_size_bytes.filter(|_| !self.files.is_empty());
        if !allowed || in_use.is_some_and(|used| used != told_bytes) {
            return Err(ChangeError::FragmentSize { told_bytes, used_bytes: self.fragment_size_bytes });
        }
        self.fragment_size_bytes = Some(told_bytes);
        Ok(())
    }

    /// The sizes of a file's fragments (V3, V4), in file order.
    pub(super) fn expected_fragments(
        &self,
        hash: Hash,
        file: &FileInfo,
    ) -> Result<BTreeMap<Hash, u64>, ChangeError> {
        let size = self.fragment_size_bytes.ok_or(ChangeError::NoFragmentSize)?;
        let count = file.fragments.len();
        if file.size_bytes.div_ceil(size) != count as u64 {
            return Err(ChangeError::WrongLength {
                file: hash,
                size_bytes: file.size_bytes,
                fragments: count,
                fragment_size_bytes: size,
            });
        }
        let mut sizes = BTreeMap::new();
        let mut rest = file.size_bytes;
        for fragment in file.fragments.iter() {
            let told_bytes = rest.min(size);
            rest -= told_bytes;
            let known_bytes = *sizes.entry(*fragment).or_insert(told_bytes);
            if known_bytes != told_bytes {
                return Err(ChangeError::FragmentConflict { fragment: *fragment, known_bytes, told_bytes });
            }
        }
        Ok(sizes)
    }

    fn publish_file(&mut self, hash: Hash, file: &FileInfo) -> Result<(), ChangeError> {
        if let Some(known) = self.files.get(&hash) {
            let same = known.size_bytes == file.size_bytes && known.fragments == file.fragments;
            return if same { Ok(()) } else { Err(ChangeError::FileConflict(hash)) };
        }
        let sizes = self.expected_fragments(hash, file)?;
        for (fragment, told_bytes) in &sizes {
            self.check_fragment(*fragment, *told_bytes)?;
        }
        for (fragment, told_bytes) in sizes {
            self.add_fragment(fragment, told_bytes)?;
            if let Some(entry) = self.fragments.get_mut(&fragment) {
                entry.files += 1;
            }
        }
        self.digest.add(&file_element(&hash, file));
        self.files.insert(hash, file.clone());
        Ok(())
    }

    fn remove_file(&mut self, hash: &Hash) {
        let Some(file) = self.files.remove(hash) else { return };
        self.digest.remove(&file_element(hash, &file));
        for fragment in file.distinct_fragments() {
            let Some(entry) = self.fragments.get_mut(&fragment) else { continue };
            entry.files = entry.files.saturating_sub(1);
            if entry.files == 0 {
                self.remove_fragment(&fragment);
            }
        }
    }

    fn check_fragment(&self, fragment: Hash, told_bytes: u64) -> Result<(), ChangeError> {
        match self.fragment_bytes(&fragment) {
            Some(known_bytes) if known_bytes != told_bytes => {
                Err(ChangeError::FragmentConflict { fragment, known_bytes, told_bytes })
            }
            None if told_bytes > MAX_FRAGMENT_SIZE_BYTES => {
                Err(ChangeError::FragmentSize { told_bytes, used_bytes: self.fragment_size_bytes })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn add_fragment(&mut self, hash: Hash, told_bytes: u64) -> Result<(), ChangeError> {
        self.check_fragment(hash, told_bytes)?;
        if let Entry::Vacant(place) = self.fragments.entry(hash) {
            let size_bytes = u32::try_from(told_bytes).expect("at most 8 MiB, as was just checked");
            place.insert(FragmentEntry { size_bytes, files: 0, holders: Default::default() });
            self.digest.add(&Element::FragmentInfo { hash: &hash, size_bytes: told_bytes });
        }
        Ok(())
    }

    fn remove_fragment(&mut self, hash: &Hash) {
        let holders: Vec<ClientId> = self.holders(hash).cloned().collect();
        holders.iter().for_each(|holder| self.remove_holder(hash, holder));
        if let Some(entry) = self.fragments.remove(hash) {
            self.digest.remove(&Element::FragmentInfo { hash, size_bytes: u64::from(entry.size_bytes) });
        }
    }

    fn add_holder(&mut self, fragment: Hash, holder: &ClientId) {
        let Some(client) = self.clients.get_mut(holder) else { return };
        let Some(entry) = self.fragments.get_mut(&fragment) else { return };
        if entry.holders.contains(&client.key) {
            return;
        }
        entry.holders.push(client.key);
        client.used_bytes += u64::from(entry.size_bytes);
        client.fragments += 1;
        client.inventory.add(&Element::Fragment(&fragment));
        self.digest.add(&Element::Holder { fragment: &fragment, client: holder });
    }

    fn remove_holder(&mut self, fragment: &Hash, holder: &ClientId) {
        let Some(client) = self.clients.get_mut(holder) else { return };
        let Some(entry) = self.fragments.get_mut(fragment) else { return };
        let Some(at) = entry.holders.iter().position(|key| *key == client.key) else { return };
        entry.holders.remove(at);
        client.used_bytes -= u64::from(entry.size_bytes);
        client.fragments -= 1;
        client.inventory.remove(&Element::Fragment(fragment));
        self.digest.remove(&Element::Holder { fragment, client: holder });
    }

    fn register(
        &mut self,
        id: &ClientId,
        registration: &Registration,
        stored: &BTreeSet<Hash>,
    ) -> Result<(), ChangeError> {
        for endpoint in &registration.endpoints {
            if let Some(owner) = self.client_of_endpoint(endpoint).filter(|owner| *owner != id) {
                return Err(ChangeError::EndpointConflict {
                    endpoint: endpoint.clone(),
                    owner: owner.clone(),
                });
            }
        }
        self.unregister(id);
        let key = ClientKey(self.clients_by_key.keys().next_back().map_or(0, |last| last.0 + 1));
        self.clients_by_key.insert(key, id.clone());
        self.digest.add(&Element::Client(id));
        for endpoint in &registration.endpoints {
            self.clients_by_endpoint.insert(endpoint.clone(), id.clone());
            self.digest.add(&Element::Endpoint { client: id, endpoint });
        }
        let client = Client {
            registration: registration.clone(),
            used_bytes: 0,
            fragments: 0,
            inventory: SetDigest::default(),
            key,
        };
        self.clients.insert(id.clone(), client);
        stored.iter().for_each(|fragment| self.add_holder(*fragment, id));
        Ok(())
    }

    fn unregister(&mut self, id: &ClientId) {
        for fragment in self.inventory(id) {
            self.remove_holder(&fragment, id);
        }
        let Some(client) = self.clients.remove(id) else { return };
        self.clients_by_key.remove(&client.key);
        self.digest.remove(&Element::Client(id));
        for endpoint in &client.registration.endpoints {
            self.clients_by_endpoint.remove(endpoint);
            self.digest.remove(&Element::Endpoint { client: id, endpoint });
        }
    }
}

fn file_element<'a>(hash: &'a Hash, file: &'a FileInfo) -> Element<'a> {
    Element::File { hash, size_bytes: file.size_bytes, fragments: &file.fragments }
}
