//! Following the network at one daemon, and at the next when that one ends.

use futures::Stream;
use futures::stream::try_unfold;
use protocol::EndpointUri;
use tonic::Streaming;

use crate::proto::{WatchRequest, WatchResponse};

use super::{CallError, ClientError, Cluster};

struct Following {
    cluster: Cluster,
    /// The daemon that was followed last, and up to where.
    place: Option<(EndpointUri, String)>,
    stream: Option<Streaming<WatchResponse>>,
    /// Daemons that did not answer since the last message.
    errors: Vec<CallError>,
}

pub fn following(
    cluster: Cluster,
) -> impl Stream<Item = Result<(EndpointUri, WatchResponse), ClientError>> + Send {
    let following = Following { cluster, place: None, stream: None, errors: Vec::new() };
    try_unfold(following, |mut following| async move {
        let message = following.next().await?;
        Ok(Some((message, following)))
    })
}

impl Following {
    async fn next(&mut self) -> Result<(EndpointUri, WatchResponse), ClientError> {
        loop {
            if let (Some(stream), Some((endpoint, cursor))) = (&mut self.stream, &mut self.place) {
                match stream.message().await {
                    Ok(Some(message)) => {
                        self.errors.clear();
                        if !message.cursor.is_empty() {
                            cursor.clone_from(&message.cursor);
                        }
                        return Ok((endpoint.clone(), message));
                    }
                    Ok(None) => {}
                    Err(status) => self.errors.push(CallError::new(endpoint, &status)),
                }
                self.stream = None;
            }
            self.open().await?;
        }
    }

    /// Goes on where the last message was received; if that daemon has failed since, begins anew at another one.
    async fn open(&mut self) -> Result<(), ClientError> {
        let failed =
            |endpoint: &EndpointUri| self.errors.iter().filter(|error| error.endpoint == *endpoint).count();
        let again = self.place.take().filter(|(endpoint, _)| failed(endpoint) <= 1);
        let (endpoint, cursor) = match again {
            Some(place) => place,
            None => {
                let next = self.cluster.endpoints().into_iter().find(|endpoint| failed(endpoint) == 0);
                let Some(next) = next else {
                    return Err(ClientError::Unreachable(std::mem::take(&mut self.errors)));
                };
                (next, String::new())
            }
        };
        let opened = match self.cluster.reader(&endpoint) {
            Ok(mut client) => client.watch(WatchRequest { cursor: cursor.clone() }).await,
            Err(error) => Err(tonic::Status::invalid_argument(error.to_string())),
        };
        match opened {
            Ok(response) => self.stream = Some(response.into_inner()),
            Err(status) => self.errors.push(CallError::new(&endpoint, &status)),
        }
        self.place = Some((endpoint, cursor));
        Ok(())
    }
}
