//! What a download does on the network, so that it can be tried without one.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::{EndpointUri, Hash};

use crate::client::{
    Cluster, FetchFailure, FileMap, Metered, ReceivedBytes, WantedFragment, fetch_fragment, fetch_through,
};

/// A fragment asked of one daemon.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whom; none if it told no endpoint that can be dialled.
    pub endpoint: Option<EndpointUri>,
    /// The file and the offset in it in bytes, if it is asked for that part of the file and not for a fragment that it has.
    pub through: Option<(Hash, u64)>,
    pub fragment: WantedFragment,
    /// How long it may send nothing.
    pub patience: Duration,
}

/// The daemons that a download asks.
pub trait Network: Send + Sync {
    /// Gets a fragment, checked, in parts that are not empty. Whatever comes is counted in `received`, also if the future is dropped.
    fn fetch(
        &self,
        request: Request,
        received: ReceivedBytes,
    ) -> BoxFuture<'static, Result<Vec<Bytes>, FetchFailure>>;

    /// Asks anew who holds the fragments of a file; none if nobody answers.
    fn file_map<'a>(&'a self, file: &'a Hash) -> BoxFuture<'a, Option<FileMap>>;

    /// Asks every daemon which of the fragments it has.
    fn who_has<'a>(&'a self, fragments: &'a [Hash]) -> BoxFuture<'a, Vec<(EndpointUri, Vec<Hash>)>>;
}

impl Network for Cluster {
    fn fetch(
        &self,
        request: Request,
        received: ReceivedBytes,
    ) -> BoxFuture<'static, Result<Vec<Bytes>, FetchFailure>> {
        let Request { endpoint, through, fragment, patience } = request;
        let channel = endpoint.and_then(|endpoint| self.channels().channel(&endpoint).ok());
        async move {
            let connection = Metered::new(channel.ok_or(FetchFailure::NotDialable)?, received);
            match through {
                Some((file, offset)) => fetch_through(connection, file, offset, fragment, patience).await,
                None => fetch_fragment(connection, fragment, patience).await,
            }
        }
        .boxed()
    }

    fn file_map<'a>(&'a self, file: &'a Hash) -> BoxFuture<'a, Option<FileMap>> {
        self.file_map(file).map(Result::ok).boxed()
    }

    fn who_has<'a>(&'a self, fragments: &'a [Hash]) -> BoxFuture<'a, Vec<(EndpointUri, Vec<Hash>)>> {
        self.who_has(fragments).boxed()
    }
}
