//! One fragment from one holder, checked.

use std::time::Duration;

use bytes::Bytes;
use protocol::{Hash, Hasher};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::names::fragment_name;
use crate::proto::ReadFragmentRequest;
use crate::proto::endpoint_service_client::EndpointServiceClient;
use crate::serve::MAX_MESSAGE_BYTES;

/// Why a holder did not deliver a fragment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchFailure {
    /// It says that it does not have it.
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
    #[error("it is busy")]
    Busy,
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
        if code == Code::NotFound {
            Self::NotHeld
        } else if code == Code::DataLoss {
            Self::Damaged
        } else if code == Code::ResourceExhausted {
            Self::Busy
        } else {
            Self::Unreachable { status }
        }
    }
}

/// Reads `fragment`, which has `size_bytes`, from the daemon behind `channel`: in parts as they came, none of them empty. The parts
/// together have been checked against the fragment's name.
///
/// # Errors
/// If the daemon does not deliver exactly that fragment, or is silent for longer than `patience`.
pub async fn fetch_fragment(
    channel: Channel,
    fragment: Hash,
    size_bytes: u64,
    patience: Duration,
) -> Result<Vec<Bytes>, FetchFailure> {
    let silent = |_| FetchFailure::Silent { patience };
    let mut client = EndpointServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = ReadFragmentRequest { name: fragment_name(&fragment), read_offset: 0, read_limit: 0 };
    let response = timeout(patience, client.read_fragment(request)).await.map_err(silent)??;
    let mut messages = response.into_inner();
    let mut parts = Vec::with_capacity(1);
    let mut hasher = Hasher::new();
    let mut received = 0_u64;
    while let Some(message) = timeout(patience, messages.message()).await.map_err(silent)?? {
        if u64::try_from(message.offset) != Ok(received) {
            return Err(FetchFailure::Lied);
        }
        received += message.data.len() as u64;
        if received > size_bytes {
            return Err(FetchFailure::Lied);
        }
        hasher.update(&message.data);
        if !message.data.is_empty() {
            parts.push(message.data);
        }
    }
    if received == size_bytes && hasher.finish() == fragment { Ok(parts) } else { Err(FetchFailure::Lied) }
}
