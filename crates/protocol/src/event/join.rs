//! A torrent becomes a registered client.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::features::Features;
use crate::metadata::{ClientMetadata, DeniedCode, FileMetadata, FragmentMetadata};
use crate::wire::{dictionary, int64, object};
use crate::{ClientId, EndpointUri, Epoch, Hash, InstanceId, Zone};

/// *ClientJoinRequested*, `clients/join/requested`: a torrent asks to join and says what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientJoinRequested {
    /// The hash algorithm that the torrent uses.
    pub hash_algorithm: String,
    /// The fragment size that it is bound to, in bytes; none if it has no file yet.
    #[serde(
        rename = "FragmentSize",
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub fragment_size_bytes: Option<u64>,
    /// The files that it knows.
    #[serde(deserialize_with = "dictionary")]
    pub known_file_infos: BTreeMap<Hash, FileMetadata>,
    /// The fragments that it stores: all of them, and nothing else is taken to be there.
    #[serde(deserialize_with = "dictionary")]
    pub stored_fragments: BTreeMap<Hash, FragmentMetadata>,
    /// Where it can be asked for fragments.
    pub endpoints: BTreeSet<EndpointUri>,
    /// The optional parts of the protocol that it speaks (an addition of ours).
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub features: Features,
    /// How many bytes of fragments it may store (an addition of ours).
    #[serde(
        rename = "Capacity",
        default,
        deserialize_with = "int64::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub capacity_bytes: Option<u64>,
    /// The failure domain it stands in (an addition of ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// The highest epoch of a tracker that it has seen (an addition of ours): a tracker below it has lost its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_epoch: Option<Epoch>,
    /// The run of that tracker (an addition of ours): of two with the same epoch, the one with the lower instance has not seen the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_instance: Option<InstanceId>,
    /// The run of the tracker that registered it last, or zeros if that knows only the specification (an addition of ours): what another
    /// tracker has accepted, this one may have deleted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_by: Option<InstanceId>,
    /// The epoch of that tracker then, if it has any (an addition of ours): what was deleted in a higher one is deleted all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_epoch: Option<Epoch>,
}

/// *ClientJoinAccepted*, `clients/join/accepted`: what the torrent must change in its view to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientJoinAccepted {
    /// The torrent that may join; the others ignore the event.
    pub client_identifier: ClientId,
    /// The fragment size in use, in bytes.
    #[serde(rename = "FragmentSize", deserialize_with = "int64::deserialize")]
    pub fragment_size_bytes: u64,
    /// Files that the torrent did not know.
    #[serde(deserialize_with = "dictionary")]
    pub add_file_infos: BTreeMap<Hash, FileMetadata>,
    /// Fragments that it did not know.
    #[serde(deserialize_with = "dictionary")]
    pub add_fragment_infos: BTreeMap<Hash, FragmentMetadata>,
    /// Files that it must forget. Taken before the additions.
    pub remove_file_infos: BTreeSet<Hash>,
    /// Fragments that it must delete and forget. Taken before the additions.
    pub remove_fragment_infos: BTreeSet<Hash>,
    /// The torrents that are registered.
    #[serde(deserialize_with = "dictionary")]
    pub clients: BTreeMap<ClientId, ClientMetadata>,
}

/// *ClientJoinDenied*, `clients/join/denied`: the torrent may not join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientJoinDenied {
    /// The torrent that asked; the others ignore the event.
    pub client_identifier: ClientId,
    /// The kind of reason.
    pub reason_code: DeniedCode,
    /// Details for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// *ClientJoinSucceeded*, `clients/join/succeeded`: the torrent's view now is the tracker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientJoinSucceeded {}

/// *ClientJoinFailed*, `clients/join/failed`: the torrent could not make its view the tracker's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientJoinFailed {
    /// Details for people (an addition of ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// *ClientRegistered*, `clients/registered`: the torrent is a registered client from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ClientRegistered {
    /// The torrent.
    pub client_identifier: ClientId,
    /// What is known of it.
    #[serde(deserialize_with = "object")]
    pub info: ClientMetadata,
    /// Files that nobody but it had known.
    #[serde(deserialize_with = "dictionary")]
    pub added_files: BTreeMap<Hash, FileMetadata>,
    /// Fragments that nobody but it had known.
    #[serde(deserialize_with = "dictionary")]
    pub added_fragments: BTreeMap<Hash, FragmentMetadata>,
}
