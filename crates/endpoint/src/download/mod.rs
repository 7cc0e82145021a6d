//! A download from all holders at once.
//!
//! [`plan`] decides which fragment is asked of which holder, and does nothing else; [`Download`] does what the plan says: it fetches,
//! verifies each fragment against its name, and hands it to a [`Sink`] in whatever order they come. The digest of the whole file is
//! computed on the way, in file order.

mod digest;
mod driver;
mod error;
mod holders;
mod network;
pub mod plan;
mod resume;
mod running;
mod sink;
mod writer;

pub use digest::InOrderDigest;
pub use driver::{Download, DownloadOptions, Finished, Progress};
pub use error::DownloadError;
pub use holders::HolderReport;
pub use resume::verified_fragments;
pub use sink::{FileSink, InOrderSink, Sink};
