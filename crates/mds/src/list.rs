//! `mds ls`.

use endpoint::client::{Cluster, FileFilter};
use futures::TryStreamExt;

use crate::cli::List;
use crate::describe::FileView;
use crate::exit::Failure;
use crate::output::{Output, shown_digest, size};
use crate::terminal::{Colour, coloured};

/// Lists the files whose name contains the filter, ordered by digest.
pub async fn run(cluster: &Cluster, list: &List, output: Output) -> Result<(), Failure> {
    let filter =
        FileFilter { name_contains: list.filter.clone().unwrap_or_default(), ..FileFilter::default() };
    let files: Vec<FileView> = cluster.files(filter).map_ok(|file| FileView::of(&file)).try_collect().await?;
    if output.json {
        return output.value(&files);
    }
    let rows: Vec<Vec<String>> = files
        .iter()
        .map(|file| {
            vec![
                shown_digest(&file.digest),
                size(file.size_bytes),
                coloured(file.state, Colour::of_state(file.state)),
                format!("{}/{}", file.copies, file.target_copies),
                file.shown_name(),
            ]
        })
        .collect();
    output.table(&["DIGEST", "SIZE", "STATE", "COPIES", "NAME"], &rows)
}
