//! One fragment from one holder, checked.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use protocol::{Hash, Hasher};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::errors::reason_text;
use crate::names::{file_name, fragment_name};
use crate::proto::endpoint_service_client::EndpointServiceClient;
use crate::proto::{ErrorReason, ReadFileRequest, ReadFragmentRequest};
use crate::serve::MAX_MESSAGE_BYTES;

use super::Connection;

/// When a holder that is busy is asked again, if it does not say.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Why a holder did not deliver a fragment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchFailure {
    /// It says that it does not have it, or cannot get it.
    #[error("it does not have the fragment")]
    NotHeld,
    /// It says that its copy is damaged.
    #[error("its copy of the fragment is damaged")]
    Damaged,
    /// It delivered something else.
    #[error("it delivered bytes that are not the fragment")]
    Lied,
    /// It sent nothing for too long.
    #[error("it sent nothing for {} s", .patience.as_secs_f32())]
    Silent {
        /// How long it was waited for.
        patience: Duration,
    },
    /// It told no endpoint that can be dialled.
    #[error("it has no endpoint that can be dialled")]
    NotDialable,
    /// It is too busy now.
    #[error("it is busy for {} s", .retry_after.as_secs_f32())]
    Busy {
        /// When it wants to be asked again; as it said, if it did.
        retry_after: Duration,
    },
    /// It could not be reached, or the connection broke.
    #[error("it could not be reached: {status}")]
    Unreachable {
        /// What was seen.
        status: Status,
    },
}

impl From<Status> for FetchFailure {
    fn from(status: Status) -> Self {
        let code = status.code();
        let info = status.get_details_error_info();
        let has_no_holder =
            info.is_some_and(|info| info.reason == reason_text(ErrorReason::NoReachableHolder));
        if code == Code::NotFound || has_no_holder {
            Self::NotHeld
        } else if code == Code::DataLoss {
            Self::Damaged
        } else {
            let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
            match (code, told) {
                (Code::ResourceExhausted, told) => Self::Busy { retry_after: told.unwrap_or(BUSY_PAUSE) },
                // Whoever says when to come back is there.
                (Code::Unavailable, Some(retry_after)) => Self::Busy { retry_after },
                _ => Self::Unreachable { status },
            }
        }
    }
}

/// A fragment that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedFragment {
    /// Its name.
    pub hash: Hash,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Reads a fragment from the daemon behind `channel`, which has it: in parts as they came, none of them empty. The parts together have
/// been checked against the fragment's name.
///
/// # Errors
/// If the daemon does not deliver exactly that fragment, or is silent for longer than `patience`.
pub async fn fetch_fragment(
    channel: impl Connection,
    wanted: WantedFragment,
    patience: Duration,
) -> Result<Vec<Bytes>, FetchFailure> {
    let mut client = EndpointServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = ReadFragmentRequest { name: fragment_name(&wanted.hash), read_offset: 0, read_limit: 0 };
    let answered = timeout(patience, client.read_fragment(request)).await;
    let messages = answered.map_err(|_| FetchFailure::Silent { patience })??.into_inner();
    collect(messages.map_ok(|message| (message.offset, message.data)), 0, wanted, patience).await
}

/// Reads a fragment as the part of `file` that begins at `offset_bytes`, from a daemon that may have to fetch it itself. Otherwise as
/// [`fetch_fragment`].
///
/// # Errors
/// As [`fetch_fragment`].
pub async fn fetch_through(
    channel: impl Connection,
    file: Hash,
    offset_bytes: u64,
    wanted: WantedFragment,
    patience: Duration,
) -> Result<Vec<Bytes>, FetchFailure> {
    let mut client = EndpointServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let int64 = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let request = ReadFileRequest {
        name: file_name(&file),
        read_offset: int64(offset_bytes),
        read_limit: int64(wanted.size_bytes),
    };
    let answered = timeout(patience, client.read_file(request)).await;
    let messages = answered.map_err(|_| FetchFailure::Silent { patience })??.into_inner();
    collect(messages.map_ok(|message| (message.offset, message.data)), offset_bytes, wanted, patience).await
}

/// The parts of a fragment, the first of which is to be at `start`, checked.
async fn collect(
    mut messages: impl Stream<Item = Result<(i64, Bytes), Status>> + Unpin,
    start: u64,
    wanted: WantedFragment,
    patience: Duration,
) -> Result<Vec<Bytes>, FetchFailure> {
    let mut parts = Vec::with_capacity(1);
    let mut hasher = Hasher::new();
    let mut received = 0_u64;
    while let Some(message) =
        timeout(patience, messages.try_next()).await.map_err(|_| FetchFailure::Silent { patience })??
    {
        let (offset, data) = message;
        if u64::try_from(offset) != Ok(start + received) {
            return Err(FetchFailure::Lied);
        }
        received += data.len() as u64;
        if received > wanted.size_bytes {
            return Err(FetchFailure::Lied);
        }
        hasher.update(&data);
        if !data.is_empty() {
            parts.push(data);
        }
    }
    let is_it = received == wanted.size_bytes && hasher.finish() == wanted.hash;
    if is_it { Ok(parts) } else { Err(FetchFailure::Lied) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let retry_after = Duration::from_secs(3);
        let told = FetchFailure::from(Status::from(Refusal::Busy { retry_after }));
        assert!(matches!(told, FetchFailure::Busy { retry_after: after } if after == retry_after));
        let untold = FetchFailure::from(Status::resource_exhausted("a proxy's"));
        assert!(matches!(untold, FetchFailure::Busy { retry_after } if retry_after == BUSY_PAUSE));
    }

    #[test]
    fn so_does_one_that_is_unavailable_for_a_while_only_if_it_says_so() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        let told = Status::with_error_details(Code::Unavailable, "starting", details);
        assert!(matches!(FetchFailure::from(told), FetchFailure::Busy { .. }));
        let broken = FetchFailure::from(Status::unavailable("transport error"));
        assert!(matches!(broken, FetchFailure::Unreachable { .. }));
    }

    #[test]
    fn a_server_without_a_holder_does_not_hold_it() {
        let refusal = Refusal::NoReachableHolder { file: Hash::of(b"x"), fragments: vec![] };
        assert!(matches!(FetchFailure::from(Status::from(refusal)), FetchFailure::NotHeld));
    }
}
