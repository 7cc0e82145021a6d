//! The events: what the tracker says and what a torrent says, each a body in one of the conversations, in an envelope that says who
//! speaks.

mod envelope;
mod files;
mod fragments;
mod join;
mod lease;
mod presence;

pub(crate) use envelope::{Envelope, read, write};
pub use envelope::{Issuer, TorrentEnvelope, TrackerEnvelope};
pub use files::{FileInfoPublished, FileRemoved};
pub use fragments::{
    FragmentDistributionDelivered, FragmentDistributionEnded, FragmentDistributionFailed,
    FragmentDistributionObtained, FragmentDistributionRequested, FragmentDistributionStarted,
};
pub use join::{
    ClientJoinAccepted, ClientJoinDenied, ClientJoinFailed, ClientJoinRequested, ClientJoinSucceeded,
    ClientRegistered,
};
pub use lease::{ClientHeartbeat, ClientUnregistered, UnregisteredReason};
pub use presence::{ClientGoodbye, TrackerGoodbye, TrackerHello, reason};

use crate::topic::EventKind;

macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($kind:ident($body:ident)),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $(#[doc = concat!("See [`", stringify!($body), "`].")] $kind($body)),*
        }

        impl $name {
            /// Which event this is.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$kind(_) => EventKind::$kind),*
                }
            }

            /// Reads an event of this kind, and its envelope, from a payload. `None` if this role does not issue it.
            pub(crate) fn read<E: Envelope>(kind: EventKind, payload: &[u8]) -> Option<serde_json::Result<(E, Self)>> {
                match kind {
                    $(EventKind::$kind => {
                        Some(read(payload).map(|(envelope, body)| (envelope, Self::$kind(body))))
                    })*
                    _ => None,
                }
            }
        }

        $(impl From<$body> for $name {
            fn from(body: $body) -> Self {
                Self::$kind(body)
            }
        })*
    };
}

events! {
    /// What a tracker says.
    TrackerEvent {
        TrackerHello(TrackerHello),
        TrackerGoodbye(TrackerGoodbye),
        ClientJoinAccepted(ClientJoinAccepted),
        ClientJoinDenied(ClientJoinDenied),
        ClientRegistered(ClientRegistered),
        ClientUnregistered(ClientUnregistered),
        FileInfoPublished(FileInfoPublished),
        FileRemoved(FileRemoved),
        FragmentDistributionStarted(FragmentDistributionStarted),
        FragmentDistributionDelivered(FragmentDistributionDelivered),
        FragmentDistributionEnded(FragmentDistributionEnded),
    }
}

events! {
    /// What a torrent says.
    TorrentEvent {
        ClientJoinRequested(ClientJoinRequested),
        ClientJoinSucceeded(ClientJoinSucceeded),
        ClientJoinFailed(ClientJoinFailed),
        ClientGoodbye(ClientGoodbye),
        ClientHeartbeat(ClientHeartbeat),
        FragmentDistributionRequested(FragmentDistributionRequested),
        FragmentDistributionObtained(FragmentDistributionObtained),
        FragmentDistributionFailed(FragmentDistributionFailed),
    }
}
