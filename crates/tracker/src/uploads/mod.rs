//! Uploads: from a stream of bytes to durable fragments, and from those to a file of the view.
//!
//! `registry` knows the uploads, `ingest` cuts, hashes and stores, `room` says whether the network has room for it, `service` speaks gRPC,
//! `tidying` has what is left over discarded, `blobs` speaks in the words of `google.bytestream`. Nothing is promised before `CompleteUpload`
//! answers: then every fragment is durable here (S1) and the file is in the view.

mod blobs;
mod ingest;
mod registry;
mod room;
mod service;
mod tidying;

pub use service::UploadApi;
