//! Every failure that a service answers, and the one table that says which gRPC status and which reason it becomes.
//!
//! The services return a [`Refusal`]; nothing else in the workspace builds a [`Status`].

use std::collections::HashMap;
use std::time::Duration;

use protocol::{ClientId, Hash};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::{ErrorReason, UploadState, digest_text};

/// The `domain` of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "mds";

/// How many digests an error names at most; it tells how many there are in all.
const NAMED_DIGESTS: usize = 16;

/// Why a call is not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field cannot be read or is missing.
    #[error("{field}: {problem}")]
    InvalidField {
        /// The field of the request.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A text is not a digest.
    #[error("{field}: {text:?} is not a SHA-256 digest: use sha256: and 64 hex digits")]
    InvalidDigest {
        /// The field of the request.
        field: &'static str,
        /// What stood there, shortened.
        text: String,
    },
    /// A page token is not one of ours.
    #[error("page_token is not the next_page_token of a previous response: begin with an empty one")]
    InvalidPageToken,
    /// A cursor is not one of ours.
    #[error("cursor is not the cursor of a message of Watch: begin with an empty one")]
    InvalidCursor,
    /// A negative limit of a read.
    #[error("read_limit {read_limit} is negative: use 0 to read to the end")]
    NegativeLimit {
        /// What was asked.
        read_limit: i64,
    },
    /// A read that begins before the start or behind the end.
    #[error("read_offset {read_offset} is outside of the {size_bytes} bytes")]
    OffsetOutOfRange {
        /// What was asked.
        read_offset: i64,
        /// Size of the file or fragment in bytes.
        size_bytes: u64,
    },
    /// More in one request than allowed.
    #[error("{field} has {number} entries, at most {limit} are allowed: ask several times")]
    TooMany {
        /// The field of the request.
        field: &'static str,
        /// How many there were.
        number: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The view has no such file.
    #[error("file {0} is not known to the network")]
    FileNotFound(Hash),
    /// No such torrent is or was registered.
    #[error("no torrent {0} is or was registered since the tracker's start: 'mds peers' lists them")]
    ServerNotFound(ClientId),
    /// This server does not have the fragment.
    #[error("fragment {0} is not on this server: ListFragments tells who holds it")]
    FragmentNotHeld(Hash),
    /// The file is known, but fragments of it cannot be had now.
    #[error("no holder of {} fragment(s) of file {file} can be reached now, the first is {}: try again when more torrents are online",
        .fragments.len(), first(.fragments))]
    NoReachableHolder {
        /// The file.
        file: Hash,
        /// The fragments, as far as they are known.
        fragments: Vec<Hash>,
    },
    /// Stored bytes do not match their name.
    #[error("the stored bytes of fragment {0} are damaged: read it from another holder")]
    StoredBytesDamaged(Hash),
    /// The disk of this server failed.
    #[error("the store of this server failed to deliver fragment {0}: read it from another holder")]
    StoreFailed(Hash),
    /// The store of the tracker failed to take bytes.
    #[error("the store of this server failed: see its log")]
    StoreUnusable,
    /// The daemon is ending.
    #[error("this server is shutting down: ask another one")]
    ShuttingDown,
    /// Too much at once.
    #[error("this server is busy: try again in {} s", .retry_after.as_secs_f32())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// No such upload.
    #[error("upload {0:?} is not known: it has ended or expired; create another one")]
    UploadNotFound(String),
    /// The upload takes no more.
    #[error("upload {upload:?} is no longer receiving: it is {}", .state.as_str_name())]
    UploadClosed {
        /// The upload.
        upload: String,
        /// What it is instead.
        state: UploadState,
    },
    /// Bytes are not the ones that the client announced.
    #[error("the bytes hash to {actual}, not to {expected}: read the source again and repeat")]
    DigestMismatch {
        /// What the client said.
        expected: Hash,
        /// What the bytes have.
        actual: Hash,
    },
    /// There are more or fewer bytes than the client announced.
    #[error("there are {actual_bytes} bytes, not {expected_bytes}: read the source again and repeat")]
    SizeMismatch {
        /// What the client said, in bytes.
        expected_bytes: u64,
        /// What came, in bytes.
        actual_bytes: u64,
    },
    /// A fragment that does not fit the network's fragment size.
    #[error("a fragment has {actual_bytes} bytes; all but the last must have {expected_bytes}")]
    WrongFragmentSize {
        /// The fragment size in bytes.
        expected_bytes: u64,
        /// What came, in bytes.
        actual_bytes: u64,
    },
    /// Fragments that were never received.
    #[error("{} fragment(s) were not received, the first is {}: write them, then complete again", .0.len(), first(.0))]
    FragmentsMissing(Vec<Hash>),
    /// A message that does not follow the one before it.
    #[error("write_offset is {actual}, the fragment's next byte is {expected}")]
    WrongWriteOffset {
        /// Where the previous message ended.
        expected: u64,
        /// What the message says.
        actual: i64,
    },
    /// The tracker's disk is full.
    #[error("no space left at the tracker: free some, or wait until fragments are distributed")]
    NoSpace,
    /// Too many uploads at once.
    #[error("{limit} uploads are running, more are not allowed: wait for one to end")]
    TooManyUploads {
        /// How many may run at once.
        limit: usize,
    },
    /// Fewer torrents than asked for.
    #[error("{registered} torrents are registered, {wanted} are wanted: start more, or ask for fewer copies")]
    TooFewTorrents {
        /// How many there are.
        registered: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// The tracker cannot reach its broker.
    #[error("the tracker is not connected to its broker: try again when it is")]
    NoBroker,
    /// A request id that stands for another upload.
    #[error("request id {0:?} was used for another upload: use a new one")]
    RequestIdReused(String),
}

fn first(fragments: &[Hash]) -> String {
    fragments.first().map(Hash::to_string).unwrap_or_default()
}

type Metadata = Vec<(&'static str, String)>;

impl Refusal {
    /// An [`InvalidDigest`](Self::InvalidDigest) with a text of bounded length.
    #[must_use]
    pub fn invalid_digest(field: &'static str, text: &str) -> Self {
        Self::InvalidDigest { field, text: text.chars().take(80).collect() }
    }

    /// The table: status code, reason and what the error is about.
    fn row(&self) -> (Code, ErrorReason, Metadata) {
        use ErrorReason as R;
        match self {
            Self::InvalidField { field, .. } => {
                (Code::InvalidArgument, R::InvalidField, vec![("field", (*field).into())])
            }
            Self::InvalidDigest { field, .. } => {
                (Code::InvalidArgument, R::InvalidDigest, vec![("field", (*field).into())])
            }
            Self::InvalidPageToken => {
                (Code::InvalidArgument, R::InvalidPageToken, vec![("field", "page_token".into())])
            }
            Self::InvalidCursor => {
                (Code::InvalidArgument, R::InvalidCursor, vec![("field", "cursor".into())])
            }
            Self::NegativeLimit { read_limit } => {
                (Code::InvalidArgument, R::NegativeLimit, vec![("read_limit", read_limit.to_string())])
            }
            Self::OffsetOutOfRange { read_offset, size_bytes } => (
                Code::OutOfRange,
                R::OffsetOutOfRange,
                vec![("read_offset", read_offset.to_string()), ("size_bytes", size_bytes.to_string())],
            ),
            Self::TooMany { field, limit, .. } => (
                Code::InvalidArgument,
                R::TooMany,
                vec![("field", (*field).into()), ("limit", limit.to_string())],
            ),
            Self::FileNotFound(file) => (Code::NotFound, R::FileNotFound, digest(file)),
            Self::ServerNotFound(server) => {
                (Code::NotFound, R::ServerNotFound, vec![("server", server.to_string())])
            }
            Self::FragmentNotHeld(fragment) => (Code::NotFound, R::FragmentNotHeld, digest(fragment)),
            Self::NoReachableHolder { file, fragments } => {
                let mut metadata = digest(file);
                metadata.extend(several(fragments));
                (Code::Unavailable, R::NoReachableHolder, metadata)
            }
            Self::StoredBytesDamaged(fragment) => (Code::DataLoss, R::StoredBytesDamaged, digest(fragment)),
            Self::StoreFailed(fragment) => (Code::Internal, R::StoreFailed, digest(fragment)),
            Self::StoreUnusable => (Code::Internal, R::StoreFailed, vec![]),
            Self::ShuttingDown => (Code::Unavailable, R::ShuttingDown, vec![]),
            Self::Busy { .. } => (Code::ResourceExhausted, R::ServerBusy, vec![]),
            Self::UploadNotFound(upload) => {
                (Code::NotFound, R::UploadNotFound, vec![("upload", upload.clone())])
            }
            Self::UploadClosed { upload, state } => (
                Code::FailedPrecondition,
                R::UploadClosed,
                vec![("upload", upload.clone()), ("state", state.as_str_name().into())],
            ),
            Self::DigestMismatch { expected, actual } => (
                Code::InvalidArgument,
                R::DigestMismatch,
                vec![("expected", digest_text(expected)), ("actual", digest_text(actual))],
            ),
            Self::SizeMismatch { expected_bytes, actual_bytes } => {
                (Code::InvalidArgument, R::SizeMismatch, sizes(*expected_bytes, *actual_bytes))
            }
            Self::WrongFragmentSize { expected_bytes, actual_bytes } => {
                (Code::InvalidArgument, R::WrongFragmentSize, sizes(*expected_bytes, *actual_bytes))
            }
            Self::FragmentsMissing(fragments) => {
                (Code::FailedPrecondition, R::FragmentsMissing, several(fragments).into())
            }
            Self::WrongWriteOffset { expected, actual } => (
                Code::InvalidArgument,
                R::WrongWriteOffset,
                vec![("expected", expected.to_string()), ("actual", actual.to_string())],
            ),
            Self::NoSpace => (Code::ResourceExhausted, R::NoSpace, vec![]),
            Self::TooManyUploads { limit } => {
                (Code::ResourceExhausted, R::TooManyUploads, vec![("limit", limit.to_string())])
            }
            Self::TooFewTorrents { registered, wanted } => (
                Code::FailedPrecondition,
                R::TooFewTorrents,
                vec![("registered", registered.to_string()), ("wanted", wanted.to_string())],
            ),
            Self::NoBroker => (Code::Unavailable, R::NoBroker, vec![]),
            Self::RequestIdReused(id) => {
                (Code::AlreadyExists, R::RequestIdReused, vec![("request_id", id.clone())])
            }
        }
    }

    /// The status code that this becomes.
    #[must_use]
    pub fn code(&self) -> Code {
        self.row().0
    }

    /// The reason that this carries.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.row().1
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

/// The text of a reason in `google.rpc.ErrorInfo`: the value's name without `ERROR_REASON_`.
#[must_use]
pub fn reason_text(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

fn resource_type(reason: ErrorReason) -> &'static str {
    if reason == ErrorReason::FileNotFound {
        "mds.v1.File"
    } else if reason == ErrorReason::FragmentNotHeld {
        "mds.v1.Fragment"
    } else if reason == ErrorReason::ServerNotFound {
        "mds.v1.Server"
    } else {
        "mds.v1.Upload"
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason, metadata) = refusal.row();
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let about = |key: &str| metadata.get(key).cloned();
        let field = about("field");
        let resource = about("digest").or_else(|| about("upload")).or_else(|| about("server"));
        let mut details = ErrorDetails::with_error_info(reason_text(reason), ERROR_DOMAIN, metadata);
        let message = refusal.to_string();
        // The standard details beside it, for libraries that know them and not us.
        if let Some(field) = field {
            details.add_bad_request_violation(field, message.clone());
        }
        if let Some(resource) = resource.filter(|_| code == Code::NotFound) {
            details.set_resource_info(resource_type(reason), resource, "", message.clone());
        }
        if code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(reason_text(reason), ERROR_DOMAIN, message.clone());
        }
        if code == Code::ResourceExhausted {
            details.add_quota_failure_violation(reason_text(reason), message.clone());
        }
        if let Refusal::Busy { retry_after } = refusal {
            details.set_retry_info(Some(retry_after));
        }
        Self::with_error_details(code, message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_domain_reason_and_what_it_is_about() {
        let status = Status::from(Refusal::FileNotFound(Hash::of(b"x")));
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("mds", "FILE_NOT_FOUND"));
        assert_eq!(info.metadata["digest"], digest_text(&Hash::of(b"x")));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(resource.resource_type, "mds.v1.File");
        assert_eq!(resource.resource_name, info.metadata["digest"]);
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let retry_after = Duration::from_secs(3);
        let details = Status::from(Refusal::Busy { retry_after }).get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(retry_after));
        assert!(details.has_quota_failure_violations());
    }

    #[test]
    fn a_bad_field_is_named_twice_for_both_kinds_of_readers() {
        let details = Status::from(Refusal::invalid_digest("name", "nonsense")).get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "name");
        assert_eq!(details.error_info().unwrap().metadata["field"], "name");
    }

    #[test]
    fn a_long_list_of_fragments_is_cut_and_counted() {
        let fragments: Vec<Hash> = (0..1000_u32).map(|n| Hash::of(&n.to_be_bytes())).collect();
        let status = Status::from(Refusal::FragmentsMissing(fragments));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["fragments"].split(',').count(), NAMED_DIGESTS);
        assert_eq!(info.metadata["missing"], "1000");
    }
}
