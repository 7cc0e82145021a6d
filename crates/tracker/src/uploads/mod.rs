//! Uploads: from a stream of bytes to durable fragments, and from those to a file of the view.
//!
//! `registry` knows the uploads, `ingest` cuts, hashes and stores, `service` speaks gRPC. Nothing is promised before `CompleteUpload`
//! answers: then every fragment is durable here (S1) and the file is in the view.

mod ingest;
mod registry;
mod service;

use distribution::view::FileInfo;
use protocol::Hash;
use tokio::sync::oneshot;

pub use service::UploadApi;

/// What the uploads want from the event loop, which alone may change what the tracker owns.
#[derive(Debug)]
pub enum UploadRequest {
    /// All fragments of this file were stored: take it over.
    Publish {
        /// Hash of the whole content.
        hash: Hash,
        /// What is known of it.
        file: FileInfo,
        /// Whether it is published.
        reply: oneshot::Sender<Result<(), PublishRefused>>,
    },
    /// An upload came to nothing: delete these fragments unless a file needs them.
    Discard {
        /// The fragments.
        fragments: Vec<Hash>,
    },
}

/// Why a file was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishRefused {
    /// These fragments are not here any more: they have to be written again.
    Missing(Vec<Hash>),
    /// There is no bus, so nobody could be told of it.
    NoBroker,
    /// It cannot be part of the view: why, for people.
    Unfit(String),
}
