//! What the gRPC services want from the event loop, which alone may change the view and what the tracker owns.

use distribution::RequestRefused;
use distribution::view::FileInfo;
use protocol::{ClientId, Hash};
use tokio::sync::oneshot;

/// A request to the event loop.
#[derive(Debug)]
pub enum Request {
    /// All fragments of this file were stored: take it over.
    Publish {
        /// Hash of the whole content.
        hash: Hash,
        /// What is known of it.
        file: FileInfo,
        /// Whether it is published.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// An upload came to nothing: delete these fragments unless a file needs them.
    Discard {
        /// The fragments.
        fragments: Vec<Hash>,
    },
    /// Delete this file.
    Remove {
        /// Hash of the whole content.
        hash: Hash,
        /// Whether it is deleted.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Empty this torrent before it leaves for good, or put it back into service.
    Drain {
        /// The torrent.
        client: ClientId,
        /// Whether its copies count no more.
        is_draining: bool,
        /// How many fragments would lack a copy if it went now.
        reply: oneshot::Sender<Result<u64, Refused>>,
    },
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// These fragments are not here any more: they have to be written again.
    Missing(Vec<Hash>),
    /// There is no bus, or another tracker may be in charge: nobody could be told of it.
    NoBroker,
    /// There is no such file, or no such torrent.
    NotFound,
    /// It would not fit into an event: why, for people.
    TooLarge(String),
    /// It cannot be part of the view: why, for people.
    Unfit(String),
}

impl From<RequestRefused> for Refused {
    fn from(refused: RequestRefused) -> Self {
        match refused {
            RequestRefused::NotInCharge => Self::NoBroker,
            RequestRefused::NotFound => Self::NotFound,
            RequestRefused::TooLarge(why) => Self::TooLarge(why),
            RequestRefused::Unfit(error) => Self::Unfit(error.to_string()),
        }
    }
}

/// Whoever waits for what becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// Whether it is done.
    Done(oneshot::Sender<Result<(), Refused>>),
    /// How far the torrent is emptied.
    Drained(ClientId, oneshot::Sender<Result<u64, Refused>>),
}

impl Reply {
    /// It will not be done. Whoever asked may have gone away.
    pub fn refuse(self, refused: Refused) {
        match self {
            Self::Done(reply) => drop(reply.send(Err(refused))),
            Self::Drained(_, reply) => drop(reply.send(Err(refused))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_that_may_not_be_in_charge_blames_the_broker_and_not_the_request() {
        assert_eq!(Refused::from(RequestRefused::NotInCharge), Refused::NoBroker);
        assert_eq!(Refused::from(RequestRefused::NotFound), Refused::NotFound);
    }
}
