//! What a change does to the entities.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use distribution::view::{Change, FileInfo, Registration};
use protocol::{ClientId, Hash, Revision};

use super::Known;
use super::encoding::{
    CHUNK_FRAGMENTS, CLIENT, DELETED_FILE, DELETED_FRAGMENT, ENDPOINT, FILE, FRAGMENT, FileEntity,
    FragmentEntity, HEAD, Number, chunk_key, draining_key, encode_chunk, encode_client, hash_key, number_key,
};
use super::load;
use crate::engine::{Batch, Engine, EngineError, MAX_VALUE_BYTES, Space, scan};

/// Most holders of one fragment that a value has room for.
const MAX_HOLDERS: usize = MAX_VALUE_BYTES / size_of::<Number>() - 1;

/// Fragments of a registration that are written together.
const MAX_AT_ONCE: usize = 1024;

fn encode_fragment(hash: &Hash, fragment: &FragmentEntity) -> Result<Vec<u8>, EngineError> {
    if fragment.holders.len() <= MAX_HOLDERS {
        return Ok(fragment.encode());
    }
    let reason = format!("fragment {hash} has more than {MAX_HOLDERS} holders");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into())
}

/// What was changed and is not yet in the database.
#[derive(Debug, Default)]
pub(super) struct Pending {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Fragments that were touched; `None` for those that are no more.
    fragments: BTreeMap<Hash, Option<FragmentEntity>>,
}

impl Pending {
    /// How many entities are waiting.
    pub fn len(&self) -> usize {
        self.writes.len() + self.fragments.len()
    }

    /// The writes that everything pending comes to; nothing is pending then.
    pub fn take_batch(&mut self) -> Result<Batch, EngineError> {
        let mut batch = Batch::default();
        for (key, value) in std::mem::take(&mut self.writes) {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.remove(key),
            }
        }
        for (hash, fragment) in std::mem::take(&mut self.fragments) {
            match fragment {
                Some(fragment) => batch.put(hash_key(FRAGMENT, &hash), encode_fragment(&hash, &fragment)?),
                None => batch.remove(hash_key(FRAGMENT, &hash)),
            }
        }
        Ok(batch)
    }
}

/// Adds what the changes come to. After an error neither `known` nor `pending` may be used any more.
pub(super) fn apply(
    engine: &dyn Engine,
    known: &mut Known,
    pending: &mut Pending,
    changes: &[Change],
    revision: Revision,
) -> Result<(), EngineError> {
    let mut writing = Writing { engine, known, pending };
    for change in changes {
        writing.change(change)?;
    }
    known.head.revision = revision;
    pending.writes.insert(HEAD.to_vec(), Some(known.head.encode()));
    Ok(())
}

struct Writing<'a> {
    engine: &'a dyn Engine,
    known: &'a mut Known,
    pending: &'a mut Pending,
}

impl Writing<'_> {
    fn change(&mut self, change: &Change) -> Result<(), EngineError> {
        match change {
            Change::FragmentSizeSet { fragment_size_bytes } => {
                self.known.head.fragment_size_bytes = Some(*fragment_size_bytes);
                Ok(())
            }
            Change::FilePublished { hash, file } => self.publish(hash, file),
            Change::FileRemoved { hash } => self.remove_file(hash),
            Change::FragmentAdded { hash, size_bytes } => {
                // A fragment of a file has its size from there.
                if !self.known.is_in_a_file(hash) {
                    self.fragment_or_new(hash, *size_bytes)?;
                }
                Ok(())
            }
            Change::FragmentRemoved { hash } => {
                if !self.known.is_in_a_file(hash) {
                    self.pending.fragments.insert(*hash, None);
                }
                Ok(())
            }
            Change::ClientRegistered { client, registration, stored } => {
                self.register(client, registration, stored)
            }
            Change::ClientUnregistered { client } => self.unregister(client),
            Change::FragmentDistributed { hash, size_bytes, receivers } => {
                let numbers: Vec<Number> = receivers
                    .iter()
                    .filter_map(|receiver| self.known.registrations.get(receiver).copied())
                    .collect();
                let fragment = self.fragment_or_new(hash, *size_bytes)?;
                for number in numbers {
                    if !fragment.holders.contains(&number) {
                        fragment.holders.push(number);
                    }
                }
                Ok(())
            }
            Change::HolderRemoved { hash, client } => {
                let number = self.known.registrations.get(client).copied();
                if let Some((number, fragment)) = number.zip(self.fragment(hash)?.as_mut()) {
                    fragment.holders.retain(|holder| *holder != number);
                }
                Ok(())
            }
            Change::TombstonesForgotten => {
                self.remove_all(&[DELETED_FILE])?;
                self.remove_all(&[DELETED_FRAGMENT])
            }
            Change::TombstonesAdded { files, fragments } => {
                let files = files.iter().map(|hash| hash_key(DELETED_FILE, hash));
                let fragments = fragments.iter().map(|hash| hash_key(DELETED_FRAGMENT, hash));
                self.pending.writes.extend(files.chain(fragments).map(|key| (key, Some(Vec::new()))));
                Ok(())
            }
            Change::DrainSet { client, is_draining } => {
                self.pending.writes.insert(draining_key(client), is_draining.then(Vec::new));
                Ok(())
            }
        }
    }

    /// Removes all entities whose keys begin so: those in the database, and those that earlier changes of the same batch have made.
    fn remove_all(&mut self, prefix: &[u8]) -> Result<(), EngineError> {
        for pair in scan(self.engine, Space::View, prefix) {
            self.pending.writes.insert(pair?.0, None);
        }
        let waiting = self.pending.writes.range_mut(prefix.to_vec()..);
        let waiting = waiting.take_while(|(key, _)| key.starts_with(prefix));
        waiting.for_each(|(_, value)| *value = None);
        Ok(())
    }

    fn publish(&mut self, hash: &Hash, file: &FileInfo) -> Result<(), EngineError> {
        let key = hash_key(FILE, hash);
        if self.get(&key)?.is_some() {
            return Ok(());
        }
        self.pending.writes.insert(key, Some(FileEntity::of(file).encode()));
        for (chunk, fragments) in file.fragments.chunks(CHUNK_FRAGMENTS).enumerate() {
            self.pending.writes.insert(chunk_key(hash, chunk), Some(encode_chunk(fragments)));
        }
        file.distinct_fragments().iter().for_each(|fragment| self.known.use_fragment(fragment));
        Ok(())
    }

    fn remove_file(&mut self, hash: &Hash) -> Result<(), EngineError> {
        let key = hash_key(FILE, hash);
        let Some(value) = self.get(&key)? else { return Ok(()) };
        let damaged = || EngineError::Damaged("a file in the stored view cannot be understood".to_owned());
        let entity = FileEntity::decode(&value).ok_or_else(damaged)?;
        let mut fragments = BTreeSet::new();
        for chunk in 0..entity.chunks() {
            let key = chunk_key(hash, chunk);
            let value = self.get(&key)?.ok_or_else(damaged)?;
            fragments.extend(super::encoding::decode_chunk(&value).ok_or_else(damaged)?);
            self.pending.writes.insert(key, None);
        }
        self.pending.writes.insert(key, None);
        for fragment in fragments {
            if self.known.disuse_fragment(&fragment) {
                self.pending.fragments.insert(fragment, None);
            }
        }
        Ok(())
    }

    fn register(
        &mut self,
        client: &ClientId,
        registration: &Registration,
        stored: &BTreeSet<Hash>,
    ) -> Result<(), EngineError> {
        self.unregister(client)?;
        let number = self.known.next_number;
        self.known.register(client.clone(), number);
        self.pending.writes.insert(number_key(CLIENT, number), Some(encode_client(client, registration)));
        for (index, endpoint) in (0..=u8::MAX).zip(&registration.endpoints) {
            let mut key = number_key(ENDPOINT, number);
            key.push(index);
            self.pending.writes.insert(key, Some(endpoint.as_str().as_bytes().to_vec()));
        }
        self.add_to_all(number, stored)
    }

    /// Makes a new registration a holder of all fragments in `stored` that the view knows.
    ///
    /// There may be a million of them, so they do not wait: until the registration itself is written, its number means
    /// nothing to whoever reads it. For the same reason the numbers that are leaving stay where they are, that of the registration which it
    /// replaces among them.
    fn add_to_all(&mut self, number: Number, stored: &BTreeSet<Hash>) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        for hash in stored {
            let is_in_a_file = self.known.is_in_a_file(hash);
            // Its size follows from the file.
            let fresh = || is_in_a_file.then(|| FragmentEntity { size_bytes: None, holders: Vec::new() });
            if let Some(waiting) = self.pending.fragments.get_mut(hash) {
                *waiting = waiting.take().or_else(fresh);
                waiting.iter_mut().for_each(|fragment| fragment.holders.push(number));
            } else if let Some(mut fragment) = self.stored_fragment(hash)?.or_else(fresh) {
                fragment
                    .holders
                    .retain(|holder| self.known.live.contains(holder) || self.known.leaving.contains(holder));
                fragment.holders.push(number);
                batch.put(hash_key(FRAGMENT, hash), encode_fragment(hash, &fragment)?);
            }
            if batch.len() == MAX_AT_ONCE {
                self.engine.apply(Space::View, std::mem::take(&mut batch))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.engine.apply(Space::View, batch) }
    }

    fn unregister(&mut self, client: &ClientId) -> Result<(), EngineError> {
        let Some(number) = self.known.unregister(client) else { return Ok(()) };
        self.pending.writes.insert(number_key(CLIENT, number), None);
        self.remove_all(&number_key(ENDPOINT, number))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.pending.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.engine.get(Space::View, key),
        }
    }

    /// What the database has of a fragment that nothing pending has touched.
    ///
    /// One without a size belongs to a file. Where there is no such file, a crash has kept it from coming to be, after its fragments had got
    /// a holder ([`Self::add_to_all`]): nobody sees the fragment, and it must not lend its lack of a size to another of its name.
    fn stored_fragment(&self, hash: &Hash) -> Result<Option<FragmentEntity>, EngineError> {
        let fragment = load::fragment(self.engine, hash)?;
        Ok(fragment.filter(|fragment| fragment.size_bytes.is_some() || self.known.is_in_a_file(hash)))
    }

    /// A fragment as it is now; holders that have gone are forgotten on the occasion.
    fn fragment(&mut self, hash: &Hash) -> Result<&mut Option<FragmentEntity>, EngineError> {
        if !self.pending.fragments.contains_key(hash) {
            let mut fragment = self.stored_fragment(hash)?;
            if let Some(fragment) = &mut fragment {
                fragment.holders.retain(|holder| self.known.live.contains(holder));
            }
            self.pending.fragments.insert(*hash, fragment);
        }
        Ok(self.pending.fragments.entry(*hash).or_default())
    }

    fn fragment_or_new(&mut self, hash: &Hash, size_bytes: u64) -> Result<&mut FragmentEntity, EngineError> {
        // A fragment has at most 8 MiB; a view has checked that.
        let size_bytes = u32::try_from(size_bytes).ok();
        let fragment = self.fragment(hash)?;
        Ok(fragment.get_or_insert_with(|| FragmentEntity { size_bytes, holders: Vec::new() }))
    }
}
