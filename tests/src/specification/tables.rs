//! The tables of the specification as data, and what `docs/protocol.md` adds to them. Written by hand from the two
//! texts; nothing here comes from the code that is to be tested.

use super::Kind::{
    Bytes, Code, Count, Dictionary, Guid, Hash, Identifier, Int64, Object, Sequence, Set, Text, Uri,
};
use super::{Event, Issuer, Property, Property as P};

/// A property that must be there.
const fn must(name: &'static str, kind: super::Kind) -> Property {
    P { name, kind, is_required: true }
}

/// A property that may be absent or `null`.
const fn may(name: &'static str, kind: super::Kind) -> Property {
    P { name, kind, is_required: false }
}

const FILE_METADATA: &[Property] =
    &[must("Size", Count), must("FragmentSequence", Sequence(&Hash)), may("Name", Text)];

const FRAGMENT_METADATA: &[Property] = &[must("Size", Count)];

const CLIENT_METADATA: &[Property] = &[
    must("Endpoints", Set(&Uri)),
    must("StoredFragments", Set(&Hash)),
    may("Capacity", Count),
    may("Zone", Identifier),
];

const FILES: super::Kind = Dictionary(&Hash, FILE_METADATA);
const FRAGMENTS: super::Kind = Dictionary(&Hash, FRAGMENT_METADATA);
const CLIENTS: super::Kind = Dictionary(&Identifier, CLIENT_METADATA);

/// What every event of a tracker has.
pub(super) const OF_A_TRACKER: &[Property] = &[
    must("EventId", Guid),
    may("Epoch", Count),
    may("Instance", Guid),
    may("Revision", Count),
    may("InReplyTo", Guid),
];

/// What every event of a torrent has.
pub(super) const OF_A_TORRENT: &[Property] = &[
    must("EventId", Guid),
    may("ClientIdentifier", Identifier),
    may("Instance", Guid),
    may("Incarnation", Count),
    may("Registration", Guid),
    may("InReplyTo", Guid),
];

const fn tracker(name: &'static str, topic: &'static str, properties: &'static [Property]) -> Event {
    Event { name, topic, issuer: Issuer::Tracker, has_direct_topic: false, properties }
}

const fn torrent(name: &'static str, topic: &'static str, properties: &'static [Property]) -> Event {
    Event { name, topic, issuer: Issuer::Torrent, has_direct_topic: true, properties }
}

impl Event {
    const fn also_to_one(mut self) -> Self {
        self.has_direct_topic = true;
        self
    }
}

/// The sixteen events of the specification, and three of ours.
pub const EVENTS: &[Event] = &[
    tracker(
        "TrackerHello",
        "tracker/hello",
        &[
            may("Features", Set(&Text)),
            may("HashAlgorithm", Text),
            may("FragmentSize", Count),
            may("Copies", Count),
            may("LeaseMs", Count),
            may("HeartbeatMs", Count),
            may("Endpoints", Set(&Uri)),
            may("Probe", Text),
        ],
    )
    .also_to_one(),
    tracker("TrackerGoodbye", "tracker/goodbye", &[]),
    torrent(
        "ClientJoinRequested",
        "clients/join/requested",
        &[
            must("HashAlgorithm", Text),
            may("FragmentSize", Count),
            must("KnownFileInfos", FILES),
            must("StoredFragments", FRAGMENTS),
            must("Endpoints", Set(&Uri)),
            may("Features", Set(&Text)),
            may("Capacity", Count),
            may("Zone", Identifier),
            may("SeenEpoch", Count),
            may("SeenInstance", Guid),
            may("RegisteredBy", Guid),
            may("RegisteredEpoch", Count),
        ],
    ),
    tracker(
        "ClientJoinAccepted",
        "clients/join/accepted",
        &[
            must("ClientIdentifier", Identifier),
            must("FragmentSize", Count),
            must("AddFileInfos", FILES),
            must("AddFragmentInfos", FRAGMENTS),
            must("RemoveFileInfos", Set(&Hash)),
            must("RemoveFragmentInfos", Set(&Hash)),
            must("Clients", CLIENTS),
        ],
    )
    .also_to_one(),
    tracker(
        "ClientJoinDenied",
        "clients/join/denied",
        &[must("ClientIdentifier", Identifier), must("ReasonCode", Code), may("Reason", Text)],
    )
    .also_to_one(),
    torrent("ClientJoinSucceeded", "clients/join/succeeded", &[]),
    torrent("ClientJoinFailed", "clients/join/failed", &[may("Reason", Text)]),
    tracker(
        "ClientRegistered",
        "clients/registered",
        &[
            must("ClientIdentifier", Identifier),
            must("Info", Object(CLIENT_METADATA)),
            must("AddedFiles", FILES),
            must("AddedFragments", FRAGMENTS),
        ],
    ),
    torrent("ClientGoodbye", "clients/goodbye", &[may("Reason", Text)]),
    tracker(
        "FileInfoPublished",
        "files/info",
        &[
            must("Hash", Hash),
            must("Size", Count),
            must("FragmentSequence", Sequence(&Hash)),
            may("Name", Text),
        ],
    ),
    tracker(
        "FragmentDistributionStarted",
        "fragments/distribution/started",
        &[must("Hash", Hash), must("Size", Count), may("Attempt", Count)],
    ),
    torrent("FragmentDistributionRequested", "fragments/distribution/requested", &[must("Hash", Hash)]),
    tracker(
        "FragmentDistributionDelivered",
        "fragments/distribution/delivered",
        &[must("Hash", Hash), must("Data", Bytes), must("Receivers", Set(&Identifier))],
    )
    .also_to_one(),
    torrent("FragmentDistributionObtained", "fragments/distribution/obtained", &[must("Hash", Hash)]),
    torrent(
        "FragmentDistributionFailed",
        "fragments/distribution/failed",
        &[must("Hash", Hash), may("Reason", Text)],
    ),
    tracker(
        "FragmentDistributionEnded",
        "fragments/distribution/ended",
        &[must("Hash", Hash), must("Size", Count), must("Receivers", Set(&Identifier))],
    ),
    tracker(
        "ClientUnregistered",
        "clients/unregistered",
        &[must("ClientIdentifier", Identifier), must("Reason", Text)],
    ),
    tracker("FileRemoved", "files/removed", &[must("Hash", Hash)]),
    torrent(
        "ClientHeartbeat",
        "clients/heartbeat",
        &[
            must("Revision", Int64),
            must("Digest", Hash),
            must("InventoryDigest", Hash),
            must("Stored", Count),
            must("FreeBytes", Count),
        ],
    ),
];
