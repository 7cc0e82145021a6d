//! `mds put`: files, directories and standard input, one after the other.

mod content;
mod sources;
mod upload;
mod wait;

use endpoint::client::Cluster;

use crate::cli::Put;
use crate::conclude::conclude;
use crate::describe::PutView;
use crate::exit::{Code, Failure};
use crate::output::{Output, printable};
use crate::signals::Signals;

use sources::Found;
pub use sources::{Source, last_component, name_within};
pub use upload::{CHANGED, Uploads, pause};
pub use wait::Copies;

/// Puts everything; goes on with the rest if one thing fails. A signal ends it, and cancels the upload that is under way.
pub async fn run(cluster: &Cluster, put: &Put, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    let Found { sources, failures, skipped } = sources::find(put)?;
    skipped.iter().for_each(|what| output.warn(&printable(what)));
    let begin = async {
        let copies = match put.wait {
            Some(wait) => Some(Copies::wanted(cluster, wait, put.timeout).await?),
            None => None,
        };
        Ok::<_, Failure>((copies, Uploads::at_tracker(cluster, output.json).await?))
    };
    let (copies, mut uploads) = tokio::select! {
        begun = begin => begun?,
        () = signals.next() => return Err(Failure::interrupted()),
    };
    let ended = tokio::select! {
        ended = put_all(cluster, &mut uploads, copies.as_ref(), sources, failures, output) => Some(ended),
        () = signals.next() => None,
    };
    match ended {
        Some(ended) => ended,
        None => {
            uploads.cancel().await;
            Err(Failure::interrupted())
        }
    }
}

async fn put_all(
    cluster: &Cluster,
    uploads: &mut Uploads,
    copies: Option<&Copies>,
    sources: Vec<Source>,
    mut failures: Vec<Failure>,
    output: Output,
) -> Result<(), Failure> {
    let mut done: Vec<PutView> = Vec::new();
    // A tracker that does not answer takes long each time.
    let mut is_tracker_silent = false;
    for source in sources {
        let what = source.to_string();
        if is_tracker_silent {
            let why = "not tried, since the tracker does not answer: put it again later";
            failures.push(Failure::new(Code::Unreachable, "NOT_TRIED", why).about(&what));
            continue;
        }
        let before = done.len();
        let outcome = put_one(cluster, uploads, copies, source, output, &mut done).await;
        match outcome {
            Ok(()) => {}
            Err(failure) if failure.is_closed_output() => return Err(failure),
            Err(failure) => {
                is_tracker_silent = done.len() == before && failure.reason == "UNREACHABLE";
                failures.push(failure.about(&what));
            }
        }
    }
    if output.json {
        output.value(&done)?;
    }
    conclude(failures, done.len(), "file", output)
}

async fn put_one(
    cluster: &Cluster,
    uploads: &mut Uploads,
    copies: Option<&Copies>,
    source: Source,
    output: Output,
    done: &mut Vec<PutView>,
) -> Result<(), Failure> {
    let name = source.name().cloned();
    let file = uploads.put(source, None).await?;
    let view = PutView::of(&file, name.as_ref());
    // The digest first: the file is in the network, whatever comes of the copies.
    if !output.json {
        output.line(&view.file.sum_line())?;
    }
    if let Some(warning) = view.warning() {
        output.warn(&printable(&warning));
    }
    done.push(view);
    if let Some(copies) = copies {
        let file = copies.wait_for(cluster, &file, output.json).await?;
        if let Some(last) = done.last_mut() {
            *last = PutView::of(&file, name.as_ref());
        }
    }
    Ok(())
}
