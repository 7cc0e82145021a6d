//! The table: which status code, reason and standard details each refusal becomes.

use std::time::Duration;

use protocol::{EndpointUri, Hash};
use tonic::Code;

use super::Refusal;
use crate::names::{file_name, fragment_name, server_name};
use crate::proto::{ErrorReason, digest_text};

/// How many digests an error names at most; it tells how many there are in all.
pub const NAMED_DIGESTS: usize = 16;

/// What passes when the network changes: a broker comes back, a torrent comes online.
const WHEN_SOMETHING_CHANGES: Duration = Duration::from_secs(5);
/// What passes when an upload ends.
const WHEN_AN_UPLOAD_ENDS: Duration = Duration::from_secs(30);

type Metadata = Vec<(&'static str, String)>;

/// One row of the table.
pub struct Row {
    pub code: Code,
    pub reason: ErrorReason,
    /// What the error is about.
    pub metadata: Metadata,
    /// The field of the request that is to blame.
    pub field: Option<&'static str>,
    /// Type and name of the resource that is concerned.
    pub resource: Option<(&'static str, String)>,
    /// When the same request may succeed.
    pub retry_after: Option<Duration>,
}

impl Row {
    fn new(code: Code, reason: ErrorReason, metadata: impl Into<Metadata>) -> Self {
        let metadata = metadata.into();
        Self { code, reason, metadata, field: None, resource: None, retry_after: None }
    }

    fn bad_field(
        reason: ErrorReason,
        field: &'static str,
        more: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let mut metadata = vec![("field", field.to_owned())];
        metadata.extend(more);
        Self::new(Code::InvalidArgument, reason, metadata).blaming(field)
    }

    fn blaming(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    fn about(self, kind: &'static str, name: String) -> Self {
        Self { resource: Some((kind, name)), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

const FILE: &str = "mds.v1.File";
const FRAGMENT: &str = "mds.v1.Fragment";
const UPLOAD: &str = "mds.v1.Upload";

impl Refusal {
    pub(super) fn row(&self) -> Row {
        use ErrorReason as R;
        match self {
            Self::InvalidField { field, .. } => Row::bad_field(R::InvalidField, field, []),
            Self::InvalidDigest { field, .. } => Row::bad_field(R::InvalidDigest, field, []),
            Self::InvalidPageToken => Row::bad_field(R::InvalidPageToken, "page_token", []),
            Self::InvalidCursor => Row::bad_field(R::InvalidCursor, "cursor", []),
            Self::TooMany { field, limit, .. } => {
                Row::bad_field(R::TooMany, field, [("limit", limit.to_string())])
            }
            Self::NegativeLimit { read_limit } => {
                let metadata = [("read_limit", read_limit.to_string())];
                Row::new(Code::InvalidArgument, R::NegativeLimit, metadata).blaming("read_limit")
            }
            Self::OffsetOutOfRange { read_offset, size_bytes } => {
                let metadata =
                    [("read_offset", read_offset.to_string()), ("size_bytes", size_bytes.to_string())];
                Row::new(Code::OutOfRange, R::OffsetOutOfRange, metadata).blaming("read_offset")
            }
            Self::FileNotFound(file) => {
                Row::new(Code::NotFound, R::FileNotFound, digest(file)).about(FILE, file_name(file))
            }
            Self::BlobNotFound { digest, size_bytes } => {
                let metadata = [("digest", digest_text(digest)), ("size_bytes", size_bytes.to_string())];
                let name = format!("blobs/{digest}/{size_bytes}");
                Row::new(Code::NotFound, R::BlobNotFound, metadata).about("google.bytestream.blob", name)
            }
            Self::ServerNotFound(server) => {
                let metadata = [("server", server.to_string())];
                Row::new(Code::NotFound, R::ServerNotFound, metadata)
                    .about("mds.v1.Server", server_name(server))
            }
            Self::FragmentNotHeld(fragment) => Row::new(Code::NotFound, R::FragmentNotHeld, digest(fragment))
                .about(FRAGMENT, fragment_name(fragment)),
            Self::NoReachableHolder { file, fragments } => {
                let mut metadata = digest(file);
                metadata.extend(several(fragments));
                Row::new(Code::Unavailable, R::NoReachableHolder, metadata)
                    .about(FILE, file_name(file))
                    .retry(WHEN_SOMETHING_CHANGES)
            }
            Self::StoredBytesDamaged(fragment) => {
                Row::new(Code::DataLoss, R::StoredBytesDamaged, digest(fragment))
                    .about(FRAGMENT, fragment_name(fragment))
            }
            Self::MessageTooLarge(_) => Row::new(Code::OutOfRange, R::MessageTooLarge, []),
            Self::MalformedMessage(_) => Row::new(Code::Internal, R::MalformedMessage, []),
            Self::UnknownMethod => Row::new(Code::Unimplemented, R::UnknownMethod, []),
            Self::UnknownEncoding(_) => Row::new(Code::Unimplemented, R::UnknownEncoding, []),
            Self::StoreFailed(fragment) => Row::new(Code::Internal, R::StoreFailed, digest(fragment))
                .about(FRAGMENT, fragment_name(fragment)),
            Self::StoreUnusable => Row::new(Code::Internal, R::StoreFailed, []),
            Self::OnlyAtTracker { tracker_endpoints } => {
                let listed: Vec<&str> = tracker_endpoints.iter().map(EndpointUri::as_str).collect();
                let metadata: Metadata = match &listed[..] {
                    [] => Vec::new(),
                    known => vec![("tracker_endpoints", known.join(","))],
                };
                Row::new(Code::Unimplemented, R::OnlyAtTracker, metadata)
            }
            Self::ShuttingDown => Row::new(Code::Unavailable, R::ShuttingDown, []),
            Self::Busy { retry_after } => {
                Row::new(Code::ResourceExhausted, R::ServerBusy, []).retry(*retry_after)
            }
            Self::UploadNotFound(upload) => {
                Row::new(Code::NotFound, R::UploadNotFound, [("upload", upload.clone())])
                    .about(UPLOAD, upload.clone())
            }
            Self::UploadClosed { upload, state } => {
                let metadata = [("upload", upload.clone()), ("state", state.as_str_name().into())];
                Row::new(Code::FailedPrecondition, R::UploadClosed, metadata).about(UPLOAD, upload.clone())
            }
            Self::DigestMismatch { expected, actual } => {
                let metadata = [("expected", digest_text(expected)), ("actual", digest_text(actual))];
                Row::new(Code::InvalidArgument, R::DigestMismatch, metadata).blaming("digest")
            }
            Self::SizeMismatch { expected_bytes, actual_bytes } => {
                let metadata = sizes(*expected_bytes, *actual_bytes);
                Row::new(Code::InvalidArgument, R::SizeMismatch, metadata).blaming("size_bytes")
            }
            Self::WrongFragmentSize { expected_bytes, actual_bytes } => {
                let metadata = sizes(*expected_bytes, *actual_bytes);
                Row::new(Code::InvalidArgument, R::WrongFragmentSize, metadata).blaming("data")
            }
            Self::FragmentsMissing(fragments) => {
                Row::new(Code::FailedPrecondition, R::FragmentsMissing, several(fragments))
            }
            Self::BytesMissing { first_missing_offset } => {
                let metadata = [("first_missing_offset", first_missing_offset.to_string())];
                Row::new(Code::FailedPrecondition, R::FragmentsMissing, metadata)
            }
            Self::WrongWriteOffset { expected, actual } => {
                let metadata = [("expected", expected.to_string()), ("actual", actual.to_string())];
                Row::new(Code::InvalidArgument, R::WrongWriteOffset, metadata).blaming("write_offset")
            }
            Self::NoSpace => Row::new(Code::ResourceExhausted, R::NoSpace, []),
            Self::FileDoesNotFit { needed_bytes, free_bytes, .. } => {
                let metadata =
                    [("needed_bytes", needed_bytes.to_string()), ("free_bytes", free_bytes.to_string())];
                Row::new(Code::ResourceExhausted, R::NoSpace, metadata)
            }
            Self::FileTooLarge(_) => Row::new(Code::FailedPrecondition, R::FileTooLarge, []),
            Self::TooManyUploads { limit } => {
                Row::new(Code::ResourceExhausted, R::TooManyUploads, [("limit", limit.to_string())])
                    .retry(WHEN_AN_UPLOAD_ENDS)
            }
            Self::TooFewTorrents { registered, wanted } => {
                let metadata = [("registered", registered.to_string()), ("wanted", wanted.to_string())];
                Row::new(Code::FailedPrecondition, R::TooFewTorrents, metadata)
            }
            Self::NoBroker => Row::new(Code::Unavailable, R::NoBroker, []).retry(WHEN_SOMETHING_CHANGES),
            Self::RequestIdReused(id) => {
                Row::new(Code::AlreadyExists, R::RequestIdReused, [("request_id", id.clone())])
                    .blaming("request_id")
            }
        }
    }
}

fn digest(hash: &Hash) -> Metadata {
    vec![("digest", digest_text(hash))]
}

fn several(fragments: &[Hash]) -> [(&'static str, String); 2] {
    let named: Vec<String> = fragments.iter().take(NAMED_DIGESTS).map(digest_text).collect();
    [("fragments", named.join(",")), ("missing", fragments.len().to_string())]
}

fn sizes(expected_bytes: u64, actual_bytes: u64) -> Metadata {
    vec![("expected_bytes", expected_bytes.to_string()), ("actual_bytes", actual_bytes.to_string())]
}
