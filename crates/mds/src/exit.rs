//! How a command ends: an exit code for scripts, a reason for programs, a message for people.
//!
//! This is the one table from what can go wrong to exit codes.

use std::fmt;
use std::io;
use std::path::Path;

use endpoint::client::{CallError, ClientError};
use endpoint::download::DownloadError;
use endpoint::errors::reason_text;
use endpoint::proto::ErrorReason;
use serde::Serialize;
use tonic::Code as StatusCode;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 1: what has no code of its own. Of `status`: degraded. Of `verify`: damage found.
    Failed = 1,
    /// 2: the command line is wrong. Of `status`: data unavailable.
    Usage = 2,
    /// 3: no such file in the network.
    NotFound = 3,
    /// 4: nobody answers who could.
    Unreachable = 4,
    /// 5: it took too long.
    TimedOut = 5,
    /// 6: bytes are not the ones they should be.
    DigestMismatch = 6,
    /// 7: some of several things were done.
    PartlyDone = 7,
    /// 8: a disk is full, here or there.
    NoSpace = 8,
    /// 9: not allowed, here or there.
    NotAllowed = 9,
    /// 130: ended by a signal.
    Interrupted = 130,
}

/// Why a command did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The exit code.
    #[serde(serialize_with = "as_number")]
    pub code: Code,
    /// What happened, for programs: a reason of `mds.v1.ErrorReason` where a daemon gave one, else one of this tool's.
    pub reason: String,
    /// What happened, why, and what to do, for people.
    pub message: String,
}

fn as_number<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*code as u8)
}

/// The reason of the failure that is none: whoever read the output has enough.
const OUTPUT_CLOSED: &str = "OUTPUT_CLOSED";

impl Failure {
    /// A failure.
    pub fn new(code: Code, reason: &str, message: impl fmt::Display) -> Self {
        Self { code, reason: reason.to_owned(), message: message.to_string() }
    }

    /// A signal came.
    pub fn interrupted() -> Self {
        Self::new(Code::Interrupted, "INTERRUPTED", "interrupted")
    }

    /// Reading or writing `path` failed; `doing` says what was tried: "read", "written".
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let (code, reason) = io_code(error);
        Self::new(code, reason, format!("{} cannot be {doing}: {error}", path.display()))
    }

    /// Standard output failed.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Code::Failed, OUTPUT_CLOSED, "standard output was closed");
        }
        let (code, reason) = io_code(error);
        Self::new(code, reason, format!("standard output cannot be written: {error}"))
    }

    /// A daemon answered with a failure, or did not answer. Another may.
    pub fn refused(error: &CallError) -> Self {
        Self::refused_with(error, hint)
    }

    /// The same of the tracker, for which no other daemon stands in.
    pub fn refused_by_tracker(error: &CallError) -> Self {
        Self::refused_with(error, |code| {
            let is_silent = matches!(code, Code::Unreachable | Code::TimedOut);
            if is_silent { "; is the tracker running there? What changes the network needs it" } else { "" }
        })
    }

    fn refused_with(error: &CallError, hint: impl FnOnce(Code) -> &'static str) -> Self {
        let code = status_code(error.code, error.reason);
        let reason = error.reason.map_or_else(|| own_reason(code).to_owned(), |r| reason_text(r).to_owned());
        // What a service says is about the file, not about the daemon; what is said in its place, or by the transport, is.
        let message = match error.reason {
            Some(
                ErrorReason::MessageTooLarge
                | ErrorReason::MalformedMessage
                | ErrorReason::UnknownMethod
                | ErrorReason::UnknownEncoding,
            ) => error.to_string(),
            Some(_) => error.message.clone(),
            None => format!("{error}{}", hint(code)),
        };
        Self { code, reason, message }
    }

    /// The same, of one of several things, whose name the message may have already.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        let named = [" cannot be ", " has no name ", ": "];
        let begins_with_it = self
            .message
            .strip_prefix(what)
            .is_some_and(|rest| named.iter().any(|word| rest.starts_with(word)));
        if !begins_with_it && !self.message.contains(&format!("{what:?}")) {
            self.message = format!("{what}: {}", self.message);
        }
        self
    }

    /// The exit code as a number. A closed output is no failure: `mds ls | head` has what it wanted.
    pub fn number(&self) -> u8 {
        if self.is_closed_output() { 0 } else { self.code as u8 }
    }

    /// Whether only the reader of the output has gone away.
    pub fn is_closed_output(&self) -> bool {
        self.reason == OUTPUT_CLOSED
    }
}

fn status_code(code: StatusCode, reason: Option<ErrorReason>) -> Code {
    match reason {
        Some(ErrorReason::DigestMismatch | ErrorReason::SizeMismatch) => return Code::DigestMismatch,
        Some(ErrorReason::NoSpace) => return Code::NoSpace,
        Some(_) | None => {}
    }
    match code {
        StatusCode::NotFound => Code::NotFound,
        StatusCode::Unavailable => Code::Unreachable,
        StatusCode::DeadlineExceeded => Code::TimedOut,
        StatusCode::DataLoss => Code::DigestMismatch,
        StatusCode::InvalidArgument | StatusCode::OutOfRange => Code::Usage,
        StatusCode::PermissionDenied | StatusCode::Unauthenticated => Code::NotAllowed,
        StatusCode::Ok
        | StatusCode::Cancelled
        | StatusCode::Unknown
        | StatusCode::AlreadyExists
        | StatusCode::ResourceExhausted
        | StatusCode::FailedPrecondition
        | StatusCode::Aborted
        | StatusCode::Unimplemented
        | StatusCode::Internal => Code::Failed,
    }
}

const fn own_reason(code: Code) -> &'static str {
    match code {
        Code::Failed => "FAILED",
        Code::Usage => "USAGE",
        Code::NotFound => "NOT_FOUND",
        Code::Unreachable => "UNREACHABLE",
        Code::TimedOut => "TIMED_OUT",
        Code::DigestMismatch => "DIGEST_MISMATCH",
        Code::PartlyDone => "PARTLY_DONE",
        Code::NoSpace => "NO_SPACE",
        Code::NotAllowed => "NOT_ALLOWED",
        Code::Interrupted => "INTERRUPTED",
    }
}

fn io_code(error: &io::Error) -> (Code, &'static str) {
    use io::ErrorKind as Kind;
    let code = if matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded) {
        Code::NoSpace
    } else if matches!(error.kind(), Kind::PermissionDenied | Kind::ReadOnlyFilesystem) {
        Code::NotAllowed
    } else {
        return (Code::Failed, "IO");
    };
    (code, own_reason(code))
}

const fn hint(code: Code) -> &'static str {
    match code {
        Code::Unreachable | Code::TimedOut => {
            "; is a daemon running there? Name any other one with --endpoint or MDS_ENDPOINT"
        }
        Code::Failed
        | Code::Usage
        | Code::NotFound
        | Code::DigestMismatch
        | Code::PartlyDone
        | Code::NoSpace
        | Code::NotAllowed
        | Code::Interrupted => "",
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused(refused) => Self::refused(refused),
            ClientError::Unreachable(errors) => {
                let timed_out = |error: &CallError| error.code == StatusCode::DeadlineExceeded;
                let all_timed_out = !errors.is_empty() && errors.iter().all(timed_out);
                let code = if all_timed_out { Code::TimedOut } else { Code::Unreachable };
                let told = error.reason().map(reason_text);
                Self::new(code, told.unwrap_or(own_reason(code)), format!("{error}{}", hint(code)))
            }
            ClientError::NoTracker(_) => Self::new(Code::Unreachable, "NO_TRACKER", &error),
            ClientError::NoEndpoint | ClientError::NotDialable(_) => {
                Self::new(Code::Usage, "INVALID_ENDPOINT", &error)
            }
            ClientError::InvalidAnswer { .. } => Self::new(Code::Failed, "INVALID_ANSWER", &error),
            ClientError::Inconsistent(_) => Self::new(Code::Failed, "INCONSISTENT", &error),
        }
    }
}

/// Why a download to `target` failed.
pub fn download_failure(error: DownloadError, target: &Path) -> Failure {
    match error {
        DownloadError::OutOfRange { .. } => Failure::new(Code::Usage, "OUT_OF_RANGE", error),
        DownloadError::Unavailable { .. } => Failure::new(Code::Unreachable, "NO_REACHABLE_HOLDER", error),
        DownloadError::DigestMismatch { .. } => Failure::new(Code::DigestMismatch, "DIGEST_MISMATCH", error),
        DownloadError::Sink(error) if target == Path::new("-") => Failure::output(&error),
        DownloadError::Sink(error) => Failure::io("written", target, &error),
        DownloadError::Client(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use endpoint::Refusal;
    use protocol::{EndpointUri, Hash};
    use tonic::Status;

    use super::*;

    fn failure(refusal: Refusal) -> Failure {
        Failure::refused(&CallError::new(&"grpc://a:1".parse().unwrap(), &Status::from(refusal)))
    }

    #[test]
    fn what_a_daemon_refuses_has_its_code_and_its_reason() {
        let hash = Hash::of(b"x");
        let (expected, actual) = (hash, Hash::of(b"y"));
        for (refusal, number, reason) in [
            (Refusal::FileNotFound(hash), 3, "FILE_NOT_FOUND"),
            (Refusal::ShuttingDown, 4, "SHUTTING_DOWN"),
            (Refusal::NoBroker, 4, "NO_BROKER"),
            (Refusal::DigestMismatch { expected, actual }, 6, "DIGEST_MISMATCH"),
            (Refusal::StoredBytesDamaged(hash), 6, "STORED_BYTES_DAMAGED"),
            (Refusal::NoSpace, 8, "NO_SPACE"),
            (Refusal::TooManyUploads { limit: 1 }, 1, "TOO_MANY_UPLOADS"),
            (Refusal::InvalidPageToken, 2, "INVALID_PAGE_TOKEN"),
        ] {
            let failure = failure(refusal);
            assert_eq!((failure.number(), failure.reason.as_str()), (number, reason), "{failure:?}");
        }
    }

    #[test]
    fn what_the_transport_says_names_the_endpoint_and_what_to_do() {
        let endpoint: EndpointUri = "grpc://a:1".parse().unwrap();
        let failure =
            Failure::refused(&CallError::new(&endpoint, &Status::unavailable("connection refused")));
        assert_eq!((failure.number(), failure.reason.as_str()), (4, "UNREACHABLE"));
        assert!(failure.message.contains("grpc://a:1") && failure.message.contains("--endpoint"));
        // No other daemon is the tracker.
        let failure = Failure::refused_by_tracker(&CallError::new(
            &endpoint,
            &Status::unavailable("connection refused"),
        ));
        assert!(
            failure.message.contains("tracker") && !failure.message.contains("--endpoint"),
            "{failure:?}"
        );
    }

    #[test]
    fn one_of_several_things_is_named_once() {
        let about = |message: &str| Failure::new(Code::Failed, "X", message).about("a").message;
        assert_eq!(about("a cannot be read"), "a cannot be read");
        assert_eq!(about("a name is taken"), "a: a name is taken");
        assert_eq!(about("no file is called \"a\""), "no file is called \"a\"");
        assert_eq!(about("there is no space"), "a: there is no space");
        assert_eq!(about("also full"), "a: also full");
    }

    #[test]
    fn nobody_in_time_is_a_timeout_and_nobody_at_all_is_not() {
        let endpoint: EndpointUri = "grpc://a:1".parse().unwrap();
        let slow = CallError::new(&endpoint, &Status::deadline_exceeded("slow"));
        let gone = CallError::new(&endpoint, &Status::unavailable("gone"));
        let number = |errors| Failure::from(ClientError::Unreachable(errors)).number();
        assert_eq!(number(vec![slow.clone()]), 5);
        assert_eq!(number(vec![slow, gone]), 4);
    }

    #[test]
    fn a_failure_is_one_object() {
        let json = serde_json::to_value(Failure::interrupted()).unwrap();
        assert_eq!(json, serde_json::json!({"code": 130, "reason": "INTERRUPTED", "message": "interrupted"}));
    }

    #[test]
    fn a_full_disk_and_a_closed_pipe_are_not_the_same() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::io("written", Path::new("x"), &full).number(), 8);
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&closed).number(), 0);
    }
}
