//! What a joining torrent must change in its view, and what the others learn from it.
//!
//! The tracker computes a [`JoinAnswer`] for the torrent and an [`Adoption`] for everybody else. What the torrent stores and the view does
//! not know is adopted, never dropped (S8): after the loss of a tracker's disk, joins are where the view comes back from. Bytes are given up
//! only with proof (S7): the file was deleted (a tombstone), enough others hold the fragment, or it is known with another size. So two
//! trackers at once cost views and time, and no bytes (T7).

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{ClientJoinAccepted, ClientJoinRequested, ClientRegistered};
use protocol::hash::is_our_hash_algorithm;
use protocol::{ClientId, ClientMetadata, DeniedCode, Feature, FileMetadata, FragmentMetadata, Hash};

use super::{Change, FileInfo, Registration, View};
use crate::rules::Rule;

/// Why a torrent may not join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefused {
    /// The kind of reason.
    pub code: DeniedCode,
    /// What is wrong and what to do.
    pub reason: String,
}

/// What the torrent is told: the parameters of *ClientJoinAccepted*.
pub type JoinAnswer = ClientJoinAccepted;

/// What the view takes over from the torrent once it has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Files that nobody but it had known.
    pub files: BTreeMap<Hash, FileInfo>,
    /// Fragments that nobody but it had known, with their sizes in bytes.
    pub fragments: BTreeMap<Hash, u64>,
    /// What it told of itself.
    pub registration: Registration,
    /// What it holds of the view's and the adopted fragments.
    pub stored: BTreeSet<Hash>,
}

impl Adoption {
    /// The changes that register `client`.
    #[must_use]
    pub fn changes(&self, client: &ClientId) -> Vec<Change> {
        let files =
            self.files.iter().map(|(hash, file)| Change::FilePublished { hash: *hash, file: file.clone() });
        let fragments = self
            .fragments
            .iter()
            .map(|(hash, size_bytes)| Change::FragmentAdded { hash: *hash, size_bytes: *size_bytes });
        let registered = Change::ClientRegistered {
            client: client.clone(),
            registration: self.registration.clone(),
            stored: self.stored.clone(),
        };
        fragments.chain(files).chain([registered]).collect()
    }

    /// The event that tells everybody.
    #[must_use]
    pub fn into_event(self, client: ClientId) -> ClientRegistered {
        let fragments = self.fragments.into_iter();
        ClientRegistered {
            client_identifier: client,
            info: ClientMetadata {
                endpoints: self.registration.endpoints,
                stored_fragments: self.stored,
                capacity_bytes: self.registration.capacity_bytes,
                zone: self.registration.zone,
            },
            added_files: self.files.iter().map(|(hash, file)| (*hash, FileMetadata::from(file))).collect(),
            added_fragments: fragments
                .map(|(hash, size_bytes)| (hash, FragmentMetadata { size_bytes }))
                .collect(),
        }
    }
}

impl Adoption {
    /// What everybody learns from the event: the torrent and what came with it.
    #[must_use]
    pub fn from_event(event: ClientRegistered) -> (ClientId, Self) {
        let files = event.added_files.into_iter();
        let fragments = event.added_fragments.into_iter();
        let (registration, stored) = registration_of(event.info);
        let adoption = Self {
            files: files.map(|(hash, file)| (hash, file.into())).collect(),
            fragments: fragments.map(|(hash, fragment)| (hash, fragment.size_bytes)).collect(),
            registration,
            stored,
        };
        (event.client_identifier, adoption)
    }
}

fn registration_of(metadata: ClientMetadata) -> (Registration, BTreeSet<Hash>) {
    let ClientMetadata { endpoints, stored_fragments, capacity_bytes, zone } = metadata;
    (Registration { endpoints, capacity_bytes, zone }, stored_fragments)
}

/// The tracker's answer to `client`'s request. `is_spare` says of a fragment whether enough others hold it, so that the torrent need not.
///
/// # Errors
/// If the torrent may not join (Client Join, alternative 3).
pub fn answer_join(
    view: &View,
    client: &ClientId,
    request: &ClientJoinRequested,
    is_spare: impl Fn(&Hash) -> bool,
) -> Result<(JoinAnswer, Adoption), JoinRefused> {
    let fragment_size_bytes = check(view, client, request)?;

    let is_deleted = |hash: &Hash| view.is_deleted_file(hash);
    let (deleted_files, known_files): (Vec<_>, Vec<_>) =
        request.known_file_infos.iter().partition(|(hash, _)| is_deleted(hash));
    // What a file needs that the torrent alone knows was deleted only with others.
    let needed: BTreeSet<&Hash> =
        known_files.iter().flat_map(|(_, metadata)| &metadata.fragment_sequence).collect();
    let in_deleted_files: BTreeSet<&Hash> =
        deleted_files.iter().flat_map(|(_, metadata)| &metadata.fragment_sequence).collect();
    let mut remove_file_infos: BTreeSet<Hash> = deleted_files.iter().map(|(hash, _)| **hash).collect();
    let mut remove_fragment_infos = BTreeSet::new();

    let mut stored = BTreeSet::new();
    let mut fragments = BTreeMap::new();
    for (hash, FragmentMetadata { size_bytes }) in &request.stored_fragments {
        let is_deleted = view.is_deleted_fragment(hash) || in_deleted_files.contains(hash);
        match view.fragment_bytes(hash) {
            Some(known) if known != *size_bytes => drop(remove_fragment_infos.insert(*hash)),
            Some(_) if is_spare(hash) => drop(remove_fragment_infos.insert(*hash)),
            Some(_) => drop(stored.insert(*hash)),
            None if is_deleted && !needed.contains(hash) => drop(remove_fragment_infos.insert(*hash)),
            None if !Rule::UnknownIsAdopted.is_kept() => drop(remove_fragment_infos.insert(*hash)),
            // One that can be part of no file is neither adopted nor, for want of proof, removed.
            None if *size_bytes == 0 || *size_bytes > fragment_size_bytes => {}
            None => {
                stored.insert(*hash);
                fragments.insert(*hash, *size_bytes);
            }
        }
    }

    let mut files = BTreeMap::new();
    for (hash, metadata) in known_files {
        let told = FileInfo::from(metadata.clone());
        match view.file(hash) {
            // Names are ours: towards a torrent that does not know them they are no conflict.
            Some(known)
                if known.size_bytes == told.size_bytes
                    && known.fragments == told.fragments
                    && (known.name == told.name || !request.features.has(Feature::Log)) => {}
            Some(_) => drop(remove_file_infos.insert(*hash)),
            None => match fragments_that_fit(view, &fragments, *hash, &told) {
                Some(sizes) => {
                    fragments.extend(sizes);
                    files.insert(*hash, told);
                }
                None => drop(remove_file_infos.insert(*hash)),
            },
        }
    }

    let missing =
        |hash: &Hash| !request.known_file_infos.contains_key(hash) || remove_file_infos.contains(hash);
    let add_file_infos = view
        .files()
        .iter()
        .filter(|(hash, _)| missing(hash))
        .map(|(hash, file)| (*hash, file.into()))
        .collect();
    let add_fragment_infos = view
        .fragments()
        .filter(|(hash, _)| !stored.contains(hash))
        .map(|(hash, size_bytes)| (hash, FragmentMetadata { size_bytes }))
        .collect();
    let others = view.clients().keys().filter(|other| *other != client);
    let clients = others.filter_map(|other| Some((other.clone(), view.client_metadata(other)?))).collect();

    let answer = ClientJoinAccepted {
        client_identifier: client.clone(),
        fragment_size_bytes,
        add_file_infos,
        add_fragment_infos,
        remove_file_infos,
        remove_fragment_infos,
        clients,
    };
    let registration = Registration {
        endpoints: request.endpoints.clone(),
        capacity_bytes: request.capacity_bytes,
        zone: request.zone.clone(),
    };
    Ok((answer, Adoption { files, fragments, registration, stored }))
}

fn check(view: &View, client: &ClientId, request: &ClientJoinRequested) -> Result<u64, JoinRefused> {
    let refused = |code, reason| Err(JoinRefused { code, reason });
    if !is_our_hash_algorithm(&request.hash_algorithm) {
        let told: String = request.hash_algorithm.chars().take(32).collect();
        return refused(
            DeniedCode::WrongHashAlgorithm,
            format!("this service names content by SHA256, not by {told:?}"),
        );
    }
    let Some(in_use) = view.fragment_size_bytes() else {
        return refused(
            DeniedCode::Other,
            "the tracker does not know its fragment size yet: ask again".into(),
        );
    };
    if let Some(told) = request.fragment_size_bytes.filter(|told| *told != in_use) {
        let reason = format!(
            "this service uses fragments of {in_use} bytes, not {told}: join with an empty data directory"
        );
        return refused(DeniedCode::WrongFragmentSize, reason);
    }
    for endpoint in &request.endpoints {
        if let Some(owner) = view.client_of_endpoint(endpoint).filter(|owner| *owner != client) {
            let reason = format!(
                "endpoint {endpoint} belongs to {owner}: give this torrent another --advertise address"
            );
            return refused(DeniedCode::EndpointConflict, reason);
        }
    }
    Ok(in_use)
}

/// The fragments, with their sizes in bytes, that a file known to the torrent alone brings into the view. None if it cannot be taken
/// over: it breaks V3 or V4, or a fragment of it is known with another size.
fn fragments_that_fit(
    view: &View,
    adopted: &BTreeMap<Hash, u64>,
    hash: Hash,
    file: &FileInfo,
) -> Option<BTreeMap<Hash, u64>> {
    let mut sizes = view.expected_fragments(hash, file).ok()?;
    let known = |fragment| view.fragment_bytes(fragment).or_else(|| adopted.get(fragment).copied());
    let fits =
        sizes.iter().all(|(fragment, size_bytes)| known(fragment).is_none_or(|known| known == *size_bytes));
    sizes.retain(|fragment, _| view.fragment_bytes(fragment).is_none());
    fits.then_some(sizes)
}

/// The changes by which a torrent makes its view the tracker's (Client Join, step 7). Removals come before additions.
///
/// `stored` is what the torrent itself keeps, staged or not: its metadata stays even where no file is known.
#[must_use]
pub fn changes_of_answer(view: &View, answer: &JoinAnswer, stored: &BTreeMap<Hash, u64>) -> Vec<Change> {
    let mut changes: Vec<Change> =
        view.clients().keys().map(|client| Change::ClientUnregistered { client: client.clone() }).collect();
    changes.extend(answer.remove_file_infos.iter().map(|hash| Change::FileRemoved { hash: *hash }));
    let removed_files: BTreeSet<&Hash> = answer.remove_file_infos.iter().collect();
    let kept_files = view.files().iter().filter(|(hash, _)| !removed_files.contains(hash));
    let in_kept_files: BTreeSet<&Hash> = kept_files.flat_map(|(_, file)| file.fragments.iter()).collect();
    let is_kept = |hash: &Hash| {
        in_kept_files.contains(hash)
            || (stored.contains_key(hash) && !answer.remove_fragment_infos.contains(hash))
    };
    let forgotten = view.fragments().filter(|(hash, _)| !is_kept(hash));
    changes.extend(forgotten.map(|(hash, _)| Change::FragmentRemoved { hash }));
    changes.push(Change::FragmentSizeSet { fragment_size_bytes: answer.fragment_size_bytes });
    changes.extend(
        answer
            .add_fragment_infos
            .iter()
            .map(|(hash, fragment)| Change::FragmentAdded { hash: *hash, size_bytes: fragment.size_bytes }),
    );
    let kept = stored.iter().filter(|(hash, _)| !answer.remove_fragment_infos.contains(hash));
    changes.extend(
        kept.map(|(hash, size_bytes)| Change::FragmentAdded { hash: *hash, size_bytes: *size_bytes }),
    );
    changes.extend(
        answer
            .add_file_infos
            .iter()
            .map(|(hash, file)| Change::FilePublished { hash: *hash, file: file.clone().into() }),
    );
    changes.extend(answer.clients.iter().map(|(client, metadata)| {
        let (registration, stored) = registration_of(metadata.clone());
        Change::ClientRegistered { client: client.clone(), registration, stored }
    }));
    changes
}
