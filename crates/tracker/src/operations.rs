//! What operators order over gRPC: a file is deleted, a torrent is emptied.

use endpoint::Refusal;
use endpoint::names::{parse_file_name, server_id};
use endpoint::proto;
use protocol::ClientId;
use tokio::sync::{mpsc, oneshot};

use crate::requests::{Refused, Request};

/// Deletes a file. When this returns it is deleted durably, and everybody was told.
pub async fn delete_file(
    requests: &mpsc::Sender<Request>,
    request: &proto::DeleteFileRequest,
) -> Result<(), Refusal> {
    let hash = parse_file_name("name", &request.name)?;
    let (reply, replied) = oneshot::channel();
    send(requests, Request::Remove { hash, reply }).await?;
    match replied.await.map_err(|_| Refusal::ShuttingDown)? {
        Ok(()) => Ok(()),
        Err(Refused::NotFound) if request.allow_missing => Ok(()),
        Err(Refused::NotFound | Refused::Missing(_)) => Err(Refusal::FileNotFound(hash)),
        Err(Refused::NoBroker) => Err(Refusal::NoBroker),
        Err(Refused::Unfit(problem) | Refused::TooLarge(problem)) => {
            Err(Refusal::InvalidField { field: "name", problem })
        }
    }
}

/// Has a torrent emptied, or put back into service. Returns how many fragments would lack a copy if it went now.
pub async fn drain_server(
    requests: &mpsc::Sender<Request>,
    request: &proto::DrainServerRequest,
) -> Result<u64, Refusal> {
    let client = server_of_name(&request.name)?;
    let (reply, replied) = oneshot::channel();
    let is_draining = !request.undo;
    send(requests, Request::Drain { client: client.clone(), is_draining, reply }).await?;
    match replied.await.map_err(|_| Refusal::ShuttingDown)? {
        Ok(remaining) => Ok(remaining),
        Err(Refused::NoBroker) => Err(Refusal::NoBroker),
        Err(Refused::NotFound | Refused::Missing(_) | Refused::TooLarge(_) | Refused::Unfit(_)) => {
            Err(Refusal::ServerNotFound(client))
        }
    }
}

async fn send(requests: &mpsc::Sender<Request>, request: Request) -> Result<(), Refusal> {
    requests.send(request).await.map_err(|_| Refusal::ShuttingDown)
}

fn server_of_name(name: &str) -> Result<ClientId, Refusal> {
    let problem = "use servers/ and the identifier of a torrent";
    server_id(name).ok_or_else(|| Refusal::InvalidField { field: "name", problem: problem.to_owned() })
}
