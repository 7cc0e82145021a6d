//! What the gRPC library answers in a service's place, because no message of the method reached one: it gets a reason like all others.

use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

use crate::errors::Refusal;

const DETAILS: &str = "grpc-status-details-bin";

/// Gives the head of an answer a reason if it says that something failed, and not why.
pub fn explain(fields: &mut HeaderMap) {
    if fields.contains_key(DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(fields) else { return };
    let message = status.message().to_owned();
    let refusal = match status.code() {
        Code::OutOfRange => Refusal::MessageTooLarge(message),
        Code::Internal if message.contains("decode") => Refusal::MalformedMessage(message),
        Code::Unimplemented if message.is_empty() => Refusal::UnknownMethod,
        Code::Unimplemented => Refusal::UnknownEncoding(message),
        // What became of the connection or the time says the code.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return,
    };
    // It does not fail: our messages are percent-encoded, our details base64.
    let _ = Status::from(refusal).add_header(fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::reason_of;
    use crate::proto::ErrorReason;

    fn explained(status: &Status) -> Status {
        let mut fields = HeaderMap::new();
        status.add_header(&mut fields).unwrap();
        explain(&mut fields);
        Status::from_header_map(&fields).unwrap()
    }

    #[test]
    fn what_reached_no_service_has_a_reason_and_keeps_its_code() {
        for (code, message, reason) in [
            (Code::OutOfRange, "message length too large", ErrorReason::MessageTooLarge),
            (Code::Internal, "failed to decode Protobuf message", ErrorReason::MalformedMessage),
            (Code::Unimplemented, "", ErrorReason::UnknownMethod),
            (Code::Unimplemented, "Content is compressed with `gzip`", ErrorReason::UnknownEncoding),
        ] {
            let status = explained(&Status::new(code, message));
            assert_eq!((status.code(), reason_of(&status)), (code, Some(reason)));
            assert!(status.message().contains(message), "{status}");
        }
    }

    #[test]
    fn what_a_service_answered_is_left_as_it_is() {
        let refused = Status::from(Refusal::OffsetOutOfRange { read_offset: 9, size_bytes: 1 });
        let status = explained(&refused);
        assert_eq!(reason_of(&status), Some(ErrorReason::OffsetOutOfRange));
        assert_eq!(reason_of(&explained(&Status::cancelled("gone"))), None);
        let mut fields = HeaderMap::new();
        explain(&mut fields);
        assert!(fields.is_empty());
    }
}
