//! The messages and services of `proto/`. What is generated from there is checked in: a test holds the two together, and writes it anew
//! where `proto/` was changed (`MDS_UPDATE_GOLDEN=1 cargo test -p endpoint --test generated`).
//!
//! Digests in them are text in one form, [`digest_text`]; whatever comes in is read with [`parse_digest`].

use prost::Message as _;
use prost_types::FileDescriptorSet;
use protocol::Hash;
use protocol::hash::InvalidHash;

pub use generated::*;

#[allow(missing_docs, clippy::pedantic, clippy::wildcard_enum_match_arm, reason = "generated code")]
mod generated {
    include!("generated/mds.v1.rs");
}

/// `google.bytestream.ByteStream`, for clients that know it and not ours.
#[allow(missing_docs, clippy::pedantic, clippy::wildcard_enum_match_arm, reason = "generated code")]
pub mod bytestream {
    include!("generated/google.bytestream.rs");
}

/// The compiled `proto/`, with everything that it imports, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Every method of every service in [`DESCRIPTORS`], as `package.Service/Method`.
#[must_use]
pub fn methods() -> Vec<String> {
    // They are generated, and tried by a test.
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default().file;
    let mut methods = Vec::new();
    for file in &files {
        for service in &file.service {
            let names = service.method.iter();
            methods.extend(
                names.map(|method| format!("{}.{}/{}", file.package(), service.name(), method.name())),
            );
        }
    }
    methods
}

/// A digest as the messages write it: `sha256:` and 64 lower-case hex digits.
#[must_use]
pub fn digest_text(hash: &Hash) -> String {
    format!("sha256:{hash}")
}

/// Reads a digest: with or without `sha256:`, in either case.
///
/// # Errors
/// If it is anything else.
pub fn parse_digest(text: &str) -> Result<Hash, InvalidHash> {
    text.strip_prefix("sha256:").unwrap_or(text).parse()
}
