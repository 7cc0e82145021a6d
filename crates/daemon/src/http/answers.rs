//! Answers that are not what was asked for: a short text that says what happened and what to do.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use endpoint::errors::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::fields::set;

/// When to try again where nothing is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A text for people. It says how things are now, so nobody may keep it.
#[must_use]
pub fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    set(fields, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(fields, header::CACHE_CONTROL, "no-store");
    set(fields, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// 503 that soon passes.
#[must_use]
pub fn busy(what: &str) -> Response<Body> {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, &format!("{what}: try again in a second"));
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// 405: nothing is changed over HTTP.
#[must_use]
pub fn read_only() -> Response<Body> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// What the Endpoint refused, as the other protocol says it.
#[must_use]
pub fn refusal(status: &Status, where_else: &str) -> Response<Body> {
    let code = http_status(status.code());
    let mut answer = text(code, &format!("{}{where_else}", status.message()));
    if code == StatusCode::SERVICE_UNAVAILABLE {
        let after = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or(RETRY_AFTER);
        set(answer.headers_mut(), header::RETRY_AFTER, &after.as_secs().max(1).to_string());
    }
    answer
}

/// The digests that an error of the Endpoint names as missing.
#[must_use]
pub fn missing_fragments(status: &Status) -> Vec<protocol::Hash> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let digests = info.and_then(|info| info.metadata.get("fragments").cloned()).unwrap_or_default();
    digests.split(',').filter_map(|digest| endpoint::proto::parse_digest(digest).ok()).collect()
}

const fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Code::Unavailable | Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::PermissionDenied | Code::Unauthenticated => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use endpoint::Refusal;
    use protocol::Hash;

    use super::*;

    #[test]
    fn a_refusal_says_the_same_in_both_protocols() {
        let hash = Hash::of(b"x");
        let unreachable = Refusal::NoReachableHolder { file: hash, fragments: vec![hash] };
        for (refused, code, retry_after) in [
            (Refusal::FileNotFound(hash), 404, None),
            (Refusal::StoredBytesDamaged(hash), 500, None),
            (unreachable.clone(), 503, Some("5")),
            (Refusal::ShuttingDown, 503, Some("5")),
            (Refusal::Busy { retry_after: Duration::from_millis(1500) }, 503, Some("1")),
        ] {
            let answer = refusal(&refused.into(), "");
            assert_eq!(answer.status().as_u16(), code);
            let told = answer.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(told, retry_after);
        }
        assert_eq!(missing_fragments(&unreachable.into()), [hash]);
        assert!(missing_fragments(&Refusal::FileNotFound(hash).into()).is_empty());
    }
}
