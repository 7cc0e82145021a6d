//! `mds rm`: files are deleted from the network.

use endpoint::client::{CallError, Cluster};
use endpoint::names::file_name;
use endpoint::proto::DeleteFileRequest;
use endpoint::proto::tracker_service_client::TrackerServiceClient;
use protocol::{EndpointUri, Hash};
use tonic::transport::Channel;

use crate::cli::Remove;
use crate::conclude::conclude;
use crate::describe::FileView;
use crate::exit::Failure;
use crate::output::Output;
use crate::reference::resolve;

/// Deletes the files, each durably when its line is printed. What cannot be deleted does not keep the others from it.
pub async fn run(cluster: &Cluster, remove: &Remove, output: Output) -> Result<(), Failure> {
    let (endpoint, mut tracker) = cluster.tracker().await?;
    let mut removed = Vec::new();
    let mut failures = Vec::new();
    for reference in &remove.references {
        match remove_one(cluster, &endpoint, &mut tracker, reference).await {
            Ok(file) => {
                if !output.json {
                    output.line(&file.sum_line())?;
                }
                removed.push(file);
            }
            Err(failure) => failures.push(failure.about(reference)),
        }
    }
    if output.json {
        output.value(&removed)?;
    }
    conclude(failures, removed.len(), "file", output)
}

async fn remove_one(
    cluster: &Cluster,
    endpoint: &EndpointUri,
    tracker: &mut TrackerServiceClient<Channel>,
    reference: &str,
) -> Result<FileView, Failure> {
    let hash: Hash = resolve(cluster, reference).await?;
    let file = cluster.file(&hash).await?;
    let request = DeleteFileRequest { name: file_name(&hash), allow_missing: false };
    let deleted = tracker.delete_file(request).await;
    deleted.map_err(|status| Failure::refused_by_tracker(&CallError::new(endpoint, &status)))?;
    Ok(FileView::of(&file))
}
