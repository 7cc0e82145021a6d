//! What a call can end with, for those who call.

use std::collections::HashMap;

use protocol::{EndpointUri, Hash};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::errors::{ERROR_DOMAIN, reason_of};
use crate::proto::ErrorReason;

use super::NotDialable;

/// A call that one endpoint did not answer, or answered with a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {message}")]
pub struct CallError {
    /// Who was asked.
    pub endpoint: EndpointUri,
    /// The gRPC status code.
    pub code: Code,
    /// The documented reason; none if the answer is not from one of our services, e.g. nobody answered.
    pub reason: Option<ErrorReason>,
    /// What the failure is about: the metadata of the reason.
    pub metadata: HashMap<String, String>,
    /// What happened, for people.
    pub message: String,
}

impl CallError {
    /// What `status` from `endpoint` says.
    #[must_use]
    pub fn new(endpoint: &EndpointUri, status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let reason = reason_of(status);
        Self {
            endpoint: endpoint.clone(),
            code: status.code(),
            reason,
            metadata: info.map(|info| info.metadata).unwrap_or_default(),
            message: message(status),
        }
    }

    /// Whether another daemon may answer the same question.
    #[must_use]
    pub fn is_worth_asking_another(&self) -> bool {
        match self.reason {
            Some(ErrorReason::NoReachableHolder | ErrorReason::NoBroker) => false,
            Some(_) | None => matches!(
                self.code,
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Unknown
                    | Code::Internal
                    | Code::Unimplemented
                    | Code::ResourceExhausted
                    | Code::DataLoss
                    | Code::Cancelled
            ),
        }
    }
}

/// The status' message, and what lies under it: for a broken connection tonic says only "transport error".
fn message(status: &Status) -> String {
    use std::error::Error;
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        source = error.source();
    }
    text
}

/// Why a cluster could not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No endpoint was given.
    #[error("no endpoint to ask: give at least one, e.g. grpc://127.0.0.1:7401")]
    NoEndpoint,
    /// An endpoint that cannot be dialled.
    #[error(transparent)]
    NotDialable(#[from] NotDialable),
    /// A daemon answered with a failure that another one would repeat.
    #[error(transparent)]
    Refused(CallError),
    /// None of the daemons answered.
    #[error("no daemon answered: {}", several(.0))]
    Unreachable(Vec<CallError>),
    /// Nobody is the tracker, or knows where it is.
    #[error("no tracker found: give the tracker's endpoint; {}", several(.0))]
    NoTracker(Vec<CallError>),
    /// A daemon answered with what makes no sense.
    #[error("{endpoint} answered with an invalid {what}: its version may not fit")]
    InvalidAnswer {
        /// Who answered.
        endpoint: EndpointUri,
        /// Which part of the answer.
        what: &'static str,
    },
    /// The file changed while its fragments were listed.
    #[error("file {0} has another size than its fragments: ask again")]
    Inconsistent(Hash),
}

impl ClientError {
    /// The status code that describes it best.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoEndpoint | Self::NotDialable(_) => Code::InvalidArgument,
            Self::Refused(error) => error.code,
            Self::Unreachable(_) | Self::NoTracker(_) => Code::Unavailable,
            Self::InvalidAnswer { .. } | Self::Inconsistent(_) => Code::Internal,
        }
    }

    /// The documented reason, if a daemon gave one.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(error) => error.reason,
            Self::Unreachable(errors) | Self::NoTracker(errors) => {
                errors.iter().find_map(|error| error.reason)
            }
            Self::NoEndpoint | Self::NotDialable(_) | Self::InvalidAnswer { .. } | Self::Inconsistent(_) => {
                None
            }
        }
    }
}

fn several(errors: &[CallError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
