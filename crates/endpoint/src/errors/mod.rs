//! Every failure that a service answers, and the one table that says which gRPC status and which reason it becomes.
//!
//! The services return a [`Refusal`]; nothing else in the workspace builds a [`Status`].

mod table;

use std::collections::HashMap;
use std::time::Duration;

use protocol::{ClientId, EndpointUri, Hash};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::{ErrorReason, UploadState};

/// The `domain` of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "mds";

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
    /// Neither a file nor a fragment that can be had here has this digest and this size.
    #[error(
        "no blob {digest} of {size_bytes} bytes can be had here: ListFiles and ListFragments tell what there is"
    )]
    BlobNotFound {
        /// What was asked for.
        digest: Hash,
        /// Its size in bytes, as the name tells it.
        size_bytes: u64,
    },
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
    /// A message is larger than allowed.
    #[error("{0}; send less at once")]
    MessageTooLarge(String),
    /// A message is not of the type that the method takes.
    #[error("{0}; are the client's .proto files those of this server?")]
    MalformedMessage(String),
    /// There is no such method, or no such service.
    #[error("this server has no such method: reflection tells which it has")]
    UnknownMethod,
    /// A message is encoded in a way that this server does not read.
    #[error("{0}; send it as it is")]
    UnknownEncoding(String),
    /// The disk of this server failed.
    #[error("the store of this server failed to deliver fragment {0}: read it from another holder")]
    StoreFailed(Hash),
    /// The store of the tracker failed to take bytes.
    #[error("the store of this server failed: see its log")]
    StoreUnusable,
    /// Only the tracker does this.
    #[error("this server is a torrent: only the tracker does this; GetNetwork tells where it is")]
    OnlyAtTracker {
        /// Where the tracker can be asked, as far as this server knows.
        tracker_endpoints: Vec<EndpointUri>,
    },
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
    /// Bytes of the file that were never received, although later ones were, or more were announced.
    #[error(
        "the bytes from {first_missing_offset} on were not received: write the fragments from there, then complete again"
    )]
    BytesMissing {
        /// Where the first of them belongs in the file.
        first_missing_offset: u64,
    },
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
    /// The file is larger than what is free.
    #[error(
        "{needed_bytes} bytes do not fit into the {free_bytes} that are free at {place}: free some, or add a torrent"
    )]
    FileDoesNotFit {
        /// Size of the file in bytes.
        needed_bytes: u64,
        /// Free in bytes.
        free_bytes: u64,
        /// Where.
        place: &'static str,
    },
    /// The network cannot describe such a file in an event.
    #[error("{0}")]
    FileTooLarge(String),
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
    /// The tracker cannot reach its broker, or is not sure that it is still the one in charge.
    #[error("the tracker is not connected to its broker: try again when it is")]
    NoBroker,
    /// A request id that stands for another upload.
    #[error("request id {0:?} was used for another upload: use a new one")]
    RequestIdReused(String),
}

fn first(fragments: &[Hash]) -> String {
    fragments.first().map(Hash::to_string).unwrap_or_default()
}

impl Refusal {
    /// An [`InvalidDigest`](Self::InvalidDigest) with a text of bounded length.
    #[must_use]
    pub fn invalid_digest(field: &'static str, text: &str) -> Self {
        Self::InvalidDigest { field, text: text.chars().take(80).collect() }
    }

    /// The status code that this becomes.
    #[must_use]
    pub fn code(&self) -> Code {
        self.row().code
    }

    /// The reason that this carries.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.row().reason
    }
}

/// The text of a reason in `google.rpc.ErrorInfo`: the value's name without `ERROR_REASON_`.
#[must_use]
pub fn reason_text(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// The reason in a status from one of our services.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let row = refusal.row();
        let message = refusal.to_string();
        let metadata: HashMap<String, String> =
            row.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let reason = reason_text(row.reason);
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
        // The standard details beside it, for libraries that know them and not us.
        if let Some(field) = row.field {
            details.add_bad_request_violation(field, message.clone());
        }
        if let Some((kind, name)) = row.resource {
            details.set_resource_info(kind, name, "", message.clone());
        }
        if row.code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(reason, ERROR_DOMAIN, message.clone());
        }
        if row.code == Code::ResourceExhausted {
            details.add_quota_failure_violation(reason, message.clone());
        }
        if row.retry_after.is_some() {
            details.set_retry_info(row.retry_after);
        }
        Self::with_error_details(row.code, message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::digest_text;

    #[test]
    fn a_refusal_tells_domain_reason_and_what_it_is_about() {
        let status = Status::from(Refusal::FileNotFound(Hash::of(b"x")));
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("mds", "FILE_NOT_FOUND"));
        assert_eq!(info.metadata["digest"], digest_text(&Hash::of(b"x")));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(resource.resource_type, "mds.v1.File");
        assert_eq!(resource.resource_name, format!("files/{}", info.metadata["digest"]));
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
        assert_eq!(info.metadata["fragments"].split(',').count(), table::NAMED_DIGESTS);
        assert_eq!(info.metadata["missing"], "1000");
    }
}
