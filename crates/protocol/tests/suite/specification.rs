//! The specification's tables, and our additions, as a table: the other tests read from it what must hold.

use Type::{
    Bytes, Client, ClientInfo, ClientSet, Clients, Code, EndpointSet, FeatureWords, FileInfos, FragmentInfos,
    Guid, HashName, HashSequence, HashSet, Int64, Name, Text, Zone,
};
use protocol::{EventKind, Role};

/// A data type of the specification, and what we read it as where that is narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Guid,
    /// String, as text for people.
    Text,
    /// String, as a client identifier or another topic segment.
    Client,
    /// String, as a file name.
    Name,
    /// String, as a zone.
    Zone,
    /// String, as a hash.
    HashName,
    Int64,
    /// byte[]
    Bytes,
    /// ClientJoinDeniedCode
    Code,
    HashSet,
    HashSequence,
    ClientSet,
    EndpointSet,
    FeatureWords,
    FileInfos,
    FragmentInfos,
    Clients,
    /// ClientMetadata (the specification once calls it ClientAttributes)
    ClientInfo,
}

/// One property of an event or of a custom data type.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    pub data: Type,
    pub required: bool,
    /// In the specification's tables; otherwise an addition of ours.
    pub specified: bool,
}

const fn required(name: &'static str, data: Type) -> Property {
    Property { name, data, required: true, specified: true }
}

const fn optional(name: &'static str, data: Type) -> Property {
    Property { name, data, required: false, specified: true }
}

const fn added(name: &'static str, data: Type) -> Property {
    Property { name, data, required: false, specified: false }
}

/// A required property of an event that is an addition as a whole.
const fn own(name: &'static str, data: Type) -> Property {
    Property { name, data, required: true, specified: false }
}

/// The specification's list of events.
pub const EVENTS: [(&str, Role, &str); 16] = [
    ("TrackerHello", Role::Tracker, "tracker/hello"),
    ("TrackerGoodbye", Role::Tracker, "tracker/goodbye"),
    ("ClientJoinRequested", Role::Torrent, "clients/join/requested"),
    ("ClientJoinAccepted", Role::Tracker, "clients/join/accepted"),
    ("ClientJoinDenied", Role::Tracker, "clients/join/denied"),
    ("ClientJoinSucceeded", Role::Torrent, "clients/join/succeeded"),
    ("ClientJoinFailed", Role::Torrent, "clients/join/failed"),
    ("ClientRegistered", Role::Tracker, "clients/registered"),
    ("ClientGoodbye", Role::Torrent, "clients/goodbye"),
    ("FileInfoPublished", Role::Tracker, "files/info"),
    ("FragmentDistributionStarted", Role::Tracker, "fragments/distribution/started"),
    ("FragmentDistributionRequested", Role::Torrent, "fragments/distribution/requested"),
    ("FragmentDistributionDelivered", Role::Tracker, "fragments/distribution/delivered"),
    ("FragmentDistributionObtained", Role::Torrent, "fragments/distribution/obtained"),
    ("FragmentDistributionFailed", Role::Torrent, "fragments/distribution/failed"),
    ("FragmentDistributionEnded", Role::Tracker, "fragments/distribution/ended"),
];

/// Our additions.
pub const ADDED_EVENTS: [(&str, Role, &str); 3] = [
    ("ClientUnregistered", Role::Tracker, "clients/unregistered"),
    ("FileRemoved", Role::Tracker, "files/removed"),
    ("ClientHeartbeat", Role::Torrent, "clients/heartbeat"),
];

/// What stands in every event of the role.
pub fn envelope(issuer: Role) -> Vec<Property> {
    match issuer {
        Role::Tracker => vec![
            required("EventId", Guid),
            added("Epoch", Int64),
            added("Instance", Guid),
            added("Revision", Int64),
            added("InReplyTo", Guid),
        ],
        Role::Torrent => vec![
            required("EventId", Guid),
            added("ClientIdentifier", Client),
            added("Instance", Guid),
            added("Incarnation", Int64),
            added("Registration", Guid),
            added("InReplyTo", Guid),
        ],
    }
}

/// What stands in the event besides.
pub fn body(kind: EventKind) -> Vec<Property> {
    match kind {
        EventKind::TrackerHello => vec![
            added("Features", FeatureWords),
            added("HashAlgorithm", Text),
            added("FragmentSize", Int64),
            added("Copies", Int64),
            added("LeaseMs", Int64),
            added("HeartbeatMs", Int64),
            added("Endpoints", EndpointSet),
            added("Probe", Text),
        ],
        EventKind::TrackerGoodbye | EventKind::ClientJoinSucceeded => vec![],
        EventKind::ClientJoinRequested => vec![
            required("HashAlgorithm", Text),
            optional("FragmentSize", Int64),
            required("KnownFileInfos", FileInfos),
            required("StoredFragments", FragmentInfos),
            required("Endpoints", EndpointSet),
            added("Features", FeatureWords),
            added("Capacity", Int64),
            added("Zone", Zone),
            added("SeenEpoch", Int64),
            added("SeenInstance", Guid),
            added("RegisteredBy", Guid),
            added("RegisteredEpoch", Int64),
        ],
        EventKind::ClientJoinAccepted => vec![
            required("ClientIdentifier", Client),
            required("FragmentSize", Int64),
            required("AddFileInfos", FileInfos),
            required("AddFragmentInfos", FragmentInfos),
            required("RemoveFileInfos", HashSet),
            required("RemoveFragmentInfos", HashSet),
            required("Clients", Clients),
        ],
        EventKind::ClientJoinDenied => {
            vec![required("ClientIdentifier", Client), required("ReasonCode", Code), optional("Reason", Text)]
        }
        EventKind::ClientJoinFailed | EventKind::ClientGoodbye => vec![added("Reason", Text)],
        EventKind::ClientRegistered => vec![
            required("ClientIdentifier", Client),
            required("Info", ClientInfo),
            required("AddedFiles", FileInfos),
            required("AddedFragments", FragmentInfos),
        ],
        EventKind::FileInfoPublished => vec![
            required("Hash", HashName),
            required("Size", Int64),
            required("FragmentSequence", HashSequence),
            added("Name", Name),
        ],
        EventKind::FragmentDistributionStarted => {
            vec![required("Hash", HashName), required("Size", Int64), added("Attempt", Int64)]
        }
        EventKind::FragmentDistributionRequested | EventKind::FragmentDistributionObtained => {
            vec![required("Hash", HashName)]
        }
        EventKind::FragmentDistributionDelivered => {
            vec![required("Hash", HashName), required("Data", Bytes), required("Receivers", ClientSet)]
        }
        EventKind::FragmentDistributionFailed => vec![required("Hash", HashName), added("Reason", Text)],
        EventKind::FragmentDistributionEnded => {
            vec![required("Hash", HashName), required("Size", Int64), required("Receivers", ClientSet)]
        }
        EventKind::ClientUnregistered => vec![own("ClientIdentifier", Client), own("Reason", Text)],
        EventKind::FileRemoved => vec![own("Hash", HashName)],
        EventKind::ClientHeartbeat => vec![
            own("Revision", Int64),
            own("Digest", HashName),
            own("InventoryDigest", HashName),
            own("Stored", Int64),
            own("FreeBytes", Int64),
        ],
    }
}

/// Every property of the event.
pub fn properties(kind: EventKind) -> Vec<Property> {
    [envelope(kind.issuer()), body(kind)].concat()
}

/// The properties of a custom data type, where it has some.
pub fn nested(data: Type) -> Option<Vec<Property>> {
    match data {
        FileInfos => Some(vec![
            required("Size", Int64),
            required("FragmentSequence", HashSequence),
            added("Name", Name),
        ]),
        FragmentInfos => Some(vec![required("Size", Int64)]),
        Clients | ClientInfo => Some(vec![
            required("Endpoints", EndpointSet),
            required("StoredFragments", HashSet),
            added("Capacity", Int64),
            added("Zone", Zone),
        ]),
        Guid | Text | Client | Name | Zone | HashName | Int64 | Bytes | Code | HashSet | HashSequence
        | ClientSet | EndpointSet | FeatureWords => None,
    }
}

#[test]
fn every_event_has_the_issuer_and_the_topic_of_the_specification() {
    let ours = EventKind::ALL.iter().map(|kind| (kind.name(), kind.issuer(), kind.topic()));
    let expected = EVENTS.into_iter().chain(ADDED_EVENTS);
    assert_eq!(ours.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for kind in EventKind::ALL {
        assert_eq!(kind.is_specified(), EVENTS.iter().any(|(name, ..)| *name == kind.name()), "{kind}");
    }
}
