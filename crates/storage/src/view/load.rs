//! Makes a view of what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use distribution::view::{Change, ChangeError, FileInfo, Registration, View};
use protocol::{ClientId, Hash};

use super::Known;
use super::encoding::{
    CLIENT, DELETED_FILE, DELETED_FRAGMENT, DRAINING, ENDPOINT, FILE, FRAGMENT, FileEntity, FragmentEntity,
    HEAD, Head, Number, chunk_key, client_of_key, decode_chunk, decode_client, hash_key, hash_of_key,
    number_of_key,
};
use crate::engine::{Engine, EngineError, Space, scan};

/// Why the stored view could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database could not be read.
    #[error("the stored view could not be read")]
    Engine(#[from] EngineError),
    /// An entity is not what was written.
    #[error("{what} in the stored view cannot be understood: clear the view, the next join restores it")]
    Unreadable {
        /// What kind of entity.
        what: &'static str,
    },
    /// The entities do not make a view.
    #[error("the stored view contradicts itself: clear it, the next join restores it")]
    Contradiction(#[from] ChangeError),
}

fn unreadable(what: &'static str) -> impl FnOnce() -> LoadError {
    move || LoadError::Unreadable { what }
}

/// The stored view, and what is needed to change it.
pub(super) fn load(engine: &dyn Engine) -> Result<(View, Known), LoadError> {
    let (mut view, mut known) = (View::new(), Known::default());
    if let Some(value) = engine.get(Space::View, HEAD)? {
        known.head = Head::decode(&value).ok_or_else(unreadable("the revision"))?;
    }
    if let Some(fragment_size_bytes) = known.head.fragment_size_bytes {
        view.apply(&Change::FragmentSizeSet { fragment_size_bytes })?;
    }
    let clients_by_number = load_clients(engine, &mut view, &mut known)?;
    load_files(engine, &mut view, &mut known)?;
    load_fragments(engine, &mut view, &mut known, &clients_by_number)?;
    load_orders(engine, &mut view)?;
    view.set_revision(known.head.revision);
    Ok((view, known))
}

fn load_clients(
    engine: &dyn Engine,
    view: &mut View,
    known: &mut Known,
) -> Result<BTreeMap<Number, ClientId>, LoadError> {
    let mut clients: BTreeMap<Number, (ClientId, Registration)> = BTreeMap::new();
    for pair in scan(engine, Space::View, &[CLIENT]) {
        let (key, value) = pair?;
        let number = number_of_key(&key).ok_or_else(unreadable("a torrent"))?;
        clients.insert(number, decode_client(&value).ok_or_else(unreadable("a torrent"))?);
    }
    for pair in scan(engine, Space::View, &[ENDPOINT]) {
        let (key, value) = pair?;
        let endpoint = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        let endpoint = endpoint.ok_or_else(unreadable("an endpoint"))?;
        let client = number_of_key(&key).and_then(|number| clients.get_mut(&number));
        client.ok_or_else(unreadable("an endpoint"))?.1.endpoints.insert(endpoint);
    }
    let mut clients_by_number = BTreeMap::new();
    for (number, (client, registration)) in clients {
        known.register(client.clone(), number);
        clients_by_number.insert(number, client.clone());
        view.apply(&Change::ClientRegistered { client, registration, stored: BTreeSet::new() })?;
    }
    Ok(clients_by_number)
}

fn load_files(engine: &dyn Engine, view: &mut View, known: &mut Known) -> Result<(), LoadError> {
    for pair in scan(engine, Space::View, &[FILE]) {
        let (key, value) = pair?;
        let hash = hash_of_key(&key).ok_or_else(unreadable("a file"))?;
        let entity = FileEntity::decode(&value).ok_or_else(unreadable("a file"))?;
        let fragments: Arc<[Hash]> = load_sequence(engine, &hash, &entity)?.into();
        let name = match entity.name.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| unreadable("the name of a file")())?),
        };
        let file = FileInfo { size_bytes: entity.size_bytes, fragments, name };
        file.distinct_fragments().iter().for_each(|fragment| known.use_fragment(fragment));
        view.apply(&Change::FilePublished { hash, file })?;
    }
    Ok(())
}

/// The fragments of a file in order.
pub(super) fn load_sequence(
    engine: &dyn Engine,
    file: &Hash,
    entity: &FileEntity,
) -> Result<Vec<Hash>, LoadError> {
    let mut fragments = Vec::with_capacity(entity.chunks() * super::encoding::CHUNK_FRAGMENTS);
    for chunk in 0..entity.chunks() {
        let value = engine.get(Space::View, &chunk_key(file, chunk))?;
        let chunk = value.and_then(|value| decode_chunk(&value));
        fragments.append(&mut chunk.ok_or_else(unreadable("the sequence of a file"))?);
    }
    if fragments.len() == entity.fragments as usize {
        Ok(fragments)
    } else {
        Err(unreadable("the sequence of a file")())
    }
}

fn load_fragments(
    engine: &dyn Engine,
    view: &mut View,
    known: &mut Known,
    clients_by_number: &BTreeMap<Number, ClientId>,
) -> Result<(), LoadError> {
    for pair in scan(engine, Space::View, &[FRAGMENT]) {
        let (key, value) = pair?;
        let hash = hash_of_key(&key).ok_or_else(unreadable("a fragment"))?;
        let FragmentEntity { size_bytes, holders } =
            FragmentEntity::decode(&value).ok_or_else(unreadable("a fragment"))?;
        // Numbers of torrents that have gone must not be given again while a fragment remembers them.
        let highest = holders.iter().max().map_or(0, |highest| highest.saturating_add(1));
        known.next_number = known.next_number.max(highest);
        let receivers: BTreeSet<_> =
            holders.iter().filter_map(|holder| clients_by_number.get(holder).cloned()).collect();
        if let Some(size_bytes) = view.fragment_bytes(&hash).or(size_bytes.map(u64::from)) {
            view.apply(&Change::FragmentDistributed { hash, size_bytes, receivers })?;
        }
    }
    Ok(())
}

/// What operators ordered.
fn load_orders(engine: &dyn Engine, view: &mut View) -> Result<(), LoadError> {
    let hashes = |kind| -> Result<BTreeSet<Hash>, LoadError> {
        let of_pair = |(key, _): (Vec<u8>, Vec<u8>)| hash_of_key(&key).ok_or_else(unreadable("a tombstone"));
        scan(engine, Space::View, &[kind]).map(|pair| of_pair(pair?)).collect()
    };
    let (files, fragments) = (hashes(DELETED_FILE)?, hashes(DELETED_FRAGMENT)?);
    view.apply(&Change::TombstonesAdded { files, fragments })?;
    for pair in scan(engine, Space::View, &[DRAINING]) {
        let client = client_of_key(&pair?.0).ok_or_else(unreadable("a torrent that is being emptied"))?;
        view.apply(&Change::DrainSet { client, is_draining: true })?;
    }
    Ok(())
}

/// What is stored of one fragment.
pub(super) fn fragment(engine: &dyn Engine, hash: &Hash) -> Result<Option<FragmentEntity>, EngineError> {
    let value = engine.get(Space::View, &hash_key(FRAGMENT, hash))?;
    let damaged = || EngineError::Damaged("a fragment in the stored view cannot be understood".to_owned());
    value.map(|value| FragmentEntity::decode(&value).ok_or_else(damaged)).transpose()
}
