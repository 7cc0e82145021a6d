//! The gRPC Endpoint: what every daemon offers to programs and to other daemons, and the client for it.
//!
//! | to do | open |
//! |---|---|
//! | change a message or a method | `proto/mds/v1`, then [`service`] |
//! | change which failure becomes which status | [`errors`], the one table |
//! | offer the service in a daemon | [`Catalog`], [`Fragments`], [`EndpointApi`], [`serve()`] |
//! | ask daemons | [`client::Cluster`] |
//! | change what `Watch` tells, and when | [`feed`] |
//! | download from many holders at once | [`download`] |
//! | change when the network is said to be well | [`verdict`] |
//!
//! The crate depends on no store and on no bus: a daemon hands in what it knows and what it has.

pub mod catalog;
pub mod client;
pub mod download;
pub mod errors;
pub mod feed;
pub mod fragments;
pub mod names;
pub mod proto;
pub mod range;
pub mod serve;
pub mod service;
pub mod verdict;

pub use catalog::{Catalog, CatalogHandle, Copies, Question, Role, ServerState, ServerStatus, Stopped};
pub use errors::Refusal;
pub use feed::Feed;
pub use fragments::{Fragments, ReadError, Verified};
pub use serve::{ServeError, Services, serve};
pub use service::{BlobWrites, Budget, ByteStreamApi, ElsewhereApi, EndpointApi, ReadLimits, Share};
pub use verdict::Verdict;
