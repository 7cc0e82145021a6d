//! What is said on the bus: the events of MQTT Distribution Services, their topics, their properties and their encoding.
//!
//! This crate has no clock, no disk, no network and no randomness. It turns bytes on a topic into an event ([`codec::decode`]) and an
//! event into bytes; what follows from an event is decided in the crate `distribution`.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | tracker | the one daemon that takes files, distributes their fragments and is the only author of the view |
//! | torrent | a daemon that stores fragments and serves them (the specification's *Torrent Server*; in its event names, *Client*) |
//! | client | in event names and [`ClientId`]: a torrent. In prose: a user's program that talks gRPC |
//! | bus | the MQTT broker that carries the events |
//! | event | one message on the bus: an envelope (who speaks) and a body (what is said) |
//! | file, fragment | content named by its SHA-256; a file is the concatenation of its fragments |
//! | view | the *Distribution View*: files, fragments, registered torrents, who holds what |
//! | change | one step of the view, numbered by a revision |
//! | registered | of a torrent: fragments may be distributed to it |
//! | holder | a registered torrent that durably stores a fragment |
//! | copies | how many holders each fragment should have |
//! | staged | of a fragment: durable at a torrent, but not yet confirmed by *FragmentDistributionEnded* |
//! | damaged | of a fragment: its stored bytes do not match its name any more |
//! | set aside | of a damaged fragment: no longer stored, though its bytes may still be on the disk for an operator (in code: quarantine) |
//! | verify | read stored bytes and compare them with their name; scrub: verify the whole store, slowly and for ever |
//! | epoch | the number of a tracker's connection to the bus; instance: its name |
//! | instance, incarnation | of a torrent: its data directory, and the number of its start |
//! | feature | an optional part of the protocol, used only between two that announced it |
//! | shared, direct | of a topic: for everybody, for one torrent |

pub mod codec;
pub mod endpoint_uri;
pub mod event;
pub mod features;
pub mod file_name;
pub mod hash;
#[cfg(feature = "hostile")]
pub mod hostile;
pub mod ids;
pub mod limits;
pub mod metadata;
pub mod topic;
mod wire;
pub mod zone;

pub use codec::{DecodeError, Heard, decode, encode_torrent, encode_tracker};
pub use endpoint_uri::EndpointUri;
pub use features::{Feature, Features};
pub use file_name::FileName;
pub use hash::{Hash, Hasher};
pub use ids::{ClientId, Epoch, EventId, Incarnation, InstanceId, Revision};
pub use limits::Limits;
pub use metadata::{ClientMetadata, DeniedCode, FileMetadata, FragmentMetadata};
pub use topic::{EventKind, Role, Topics};
pub use zone::Zone;
