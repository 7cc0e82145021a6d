//! A whole file, or a range of it, through one daemon at a time; what breaks off at one goes on at the next.

use futures::Stream;
use futures::stream::try_unfold;
use protocol::{EndpointUri, Hash};
use tonic::Streaming;

use crate::names::file_name;
use crate::proto::{ReadFileRequest, ReadFileResponse};

use super::{CallError, ClientError, Cluster};

struct Reading {
    cluster: Cluster,
    name: String,
    /// The next byte wanted, and the one behind the last; none means the end of the file.
    at: u64,
    end: Option<u64>,
    /// Daemons not asked yet since the last byte came.
    left: Vec<EndpointUri>,
    stream: Option<(EndpointUri, Streaming<ReadFileResponse>)>,
    errors: Vec<CallError>,
}

pub fn resuming(
    cluster: Cluster,
    file: Hash,
    read_offset: u64,
    read_limit: u64,
) -> impl Stream<Item = Result<ReadFileResponse, ClientError>> + Send {
    let reading = Reading {
        left: cluster.endpoints(),
        cluster,
        name: file_name(&file),
        at: read_offset,
        end: (read_limit > 0).then(|| read_offset.saturating_add(read_limit)),
        stream: None,
        errors: Vec::new(),
    };
    try_unfold(reading, |mut reading| async move {
        let message = reading.next().await?;
        Ok(message.map(|message| (message, reading)))
    })
}

impl Reading {
    async fn next(&mut self) -> Result<Option<ReadFileResponse>, ClientError> {
        loop {
            if self.end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let status = match &mut self.stream {
                Some((endpoint, stream)) => match stream.message().await {
                    Ok(Some(message)) if u64::try_from(message.offset) == Ok(self.at) => {
                        self.at += message.data.len() as u64;
                        return Ok(Some(message));
                    }
                    Ok(Some(_)) => {
                        return Err(ClientError::InvalidAnswer {
                            endpoint: endpoint.clone(),
                            what: "offset",
                        });
                    }
                    Ok(None) => return Ok(None),
                    Err(status) => {
                        let error = CallError::new(endpoint, &status);
                        self.stream = None;
                        error
                    }
                },
                None => match self.open().await? {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            // A daemon that cannot reach a holder says so; another daemon may have the bytes itself.
            self.errors.push(status);
        }
    }

    /// Opens a stream at the next daemon.
    async fn open(&mut self) -> Result<Result<(), CallError>, ClientError> {
        if self.left.is_empty() {
            return Err(self.give_up());
        }
        let endpoint = self.left.remove(0);
        let Ok(mut client) = self.cluster.reader(&endpoint) else { return Ok(Ok(())) };
        let request = ReadFileRequest {
            name: self.name.clone(),
            read_offset: i64::try_from(self.at).unwrap_or(i64::MAX),
            read_limit: self.end.map_or(0, |end| i64::try_from(end - self.at).unwrap_or(i64::MAX)),
        };
        match client.read_file(request).await {
            Ok(response) => {
                self.stream = Some((endpoint, response.into_inner()));
                Ok(Ok(()))
            }
            Err(status) => Ok(Err(CallError::new(&endpoint, &status))),
        }
    }

    /// What to say when no daemon is left: the most telling of their answers.
    fn give_up(&mut self) -> ClientError {
        let errors = std::mem::take(&mut self.errors);
        match errors.iter().find(|error| error.reason.is_some()) {
            Some(error) => ClientError::Refused(error.clone()),
            None => ClientError::Unreachable(errors),
        }
    }
}
