//! `mds get`: from all holders at once, each fragment verified, and the whole file, too.
//!
//! The bytes go to `NAME.part`, which gets its name only when it is complete. What an interrupted attempt left in it is verified fragment
//! by fragment, never trusted. It is not flushed to the disk before it is renamed: whoever loses power may have to get it again.

mod part;
mod sink;

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use endpoint::client::{Cluster, FileMap};
use endpoint::download::plan::Dropped;
use endpoint::download::{Download, DownloadOptions, Finished, InOrderSink, Sink};
use indicatif::ProgressBar;
use protocol::{FileName, Hash};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::cli::Get;
use crate::describe::FileView;
use crate::exit::{Code, Failure, download_failure};
use crate::output::{Output, count, printable};
use crate::progress;
use crate::reference::resolve;

use part::Part;
use sink::RangeSink;

/// How far ahead of what was written a download to standard output may keep in memory, in bytes.
const STREAM_WINDOW_BYTES: u64 = 32 << 20;

/// What `get --json` answers.
#[derive(Debug, Serialize)]
struct GotView {
    #[serde(flatten)]
    file: FileView,
    /// Where it was written.
    path: String,
    /// How much of the file was wanted, in bytes.
    range_bytes: u64,
    /// How much of it came over the network, in bytes; the rest was there already.
    fetched_bytes: u64,
    /// Bytes of all answers to requests for fragments: those of `fetched_bytes`, and what came for nothing.
    received_bytes: u64,
    /// Who delivered.
    sources: Vec<SourceView>,
}

#[derive(Debug, Serialize)]
struct SourceView {
    id: String,
    fragments: u64,
    bytes: u64,
    received_bytes: u64,
    failures: u64,
    /// Why it was asked no more, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'static str>,
}

/// Gets the file.
pub async fn run(cluster: &Cluster, get: &Get, output: Output) -> Result<(), Failure> {
    let hash = resolve(cluster, &get.reference).await?;
    let map = cluster.file_map(&hash).await?;
    let range = wanted(get.range.as_ref().map(|range| &range.0), map.size_bytes)?;
    if get.output.as_deref() == Some(Path::new("-")) {
        return to_standard_output(cluster, map, range, output).await;
    }
    let target = target(get.output.as_deref(), &map.file.display_name, &hash);
    let file = FileView::of(&map.file);
    let range_bytes = range.end - range.start;
    let finished = to_file(cluster, map, range, &target, get.force, output).await?;
    warn_of_liars(&finished, output);
    if output.json {
        let sources = finished.holders.into_iter().map(|holder| SourceView {
            id: holder.name,
            fragments: holder.fragments,
            bytes: holder.bytes,
            received_bytes: holder.received_bytes,
            failures: holder.failures,
            dropped: holder.dropped.map(|dropped| match dropped {
                Dropped::Lied => "lied",
                Dropped::Lost => "lost",
            }),
        });
        return output.value(&GotView {
            file,
            path: target.display().to_string(),
            range_bytes,
            fetched_bytes: finished.fetched_bytes,
            received_bytes: finished.received_bytes,
            sources: sources.collect(),
        });
    }
    // A part of a file does not have the file's digest.
    let digest = if get.range.is_some() { String::new() } else { format!("{hash}  ") };
    output.line(&format!("{digest}{}", target.display()))
}

/// Gets `range` of a file into `target`.
pub async fn to_file(
    cluster: &Cluster,
    map: FileMap,
    range: Range<u64>,
    target: &Path,
    overwrite: bool,
    output: Output,
) -> Result<Finished<RangeSink>, Failure> {
    let opened = {
        let (target, range, fragments) = (target.to_owned(), range.clone(), map.fragments.clone());
        spawn_blocking(move || {
            let part = Part::open(&target, overwrite, range.end - range.start)?;
            let have = part.verified(&fragments, &range)?;
            Ok::<_, Failure>((part, have))
        })
    };
    let (part, have) = opened.await.map_err(|error| Failure::new(Code::Failed, "PANIC", error))??;
    let sink = RangeSink::new(part.file()?, range.start);
    let bar = progress::bytes(&target.display().to_string(), Some(range.end - range.start), output.json);
    let download = Download::new(cluster.clone(), map).range(range).resume(have);
    let finished = drive(download, sink, &bar, part.path(), output).await?;
    part.finish(target, overwrite)?;
    Ok(finished)
}

async fn to_standard_output(
    cluster: &Cluster,
    map: FileMap,
    range: Range<u64>,
    output: Output,
) -> Result<(), Failure> {
    let bar = progress::bytes("-", Some(range.end - range.start), output.json);
    // Not `Stdout`, which looks for line ends in whatever it gets.
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
    let sink = InOrderSink::new(File::from(stdout), range.start);
    let options = DownloadOptions { window_bytes: Some(STREAM_WINDOW_BYTES), ..DownloadOptions::default() };
    let download = Download::new(cluster.clone(), map).range(range).options(options);
    let finished = drive(download, sink, &bar, Path::new("-"), output).await?;
    warn_of_liars(&finished, output);
    Ok(())
}

async fn drive<S: Sink>(
    download: Download,
    sink: S,
    bar: &ProgressBar,
    target: &Path,
    output: Output,
) -> Result<Finished<S>, Failure> {
    let (shown, interrupted) = (bar.clone(), bar.clone());
    let download = download.on_progress(move |progress| shown.set_position(progress.done_bytes));
    let download = download.on_silence(move |silent| {
        let who = if silent.is_empty() { "nobody".to_owned() } else { printable(&silent.join(", ")) };
        let message =
            format!("nothing has come for a while; it is still tried; asked and not answering: {who}");
        interrupted.suspend(|| output.warn(&message));
    });
    let finished = download.run(sink).await;
    bar.finish_and_clear();
    finished.map_err(|error| download_failure(error, target))
}

fn warn_of_liars<S>(finished: &Finished<S>, output: Output) {
    for holder in finished.holders.iter().filter(|holder| holder.dropped == Some(Dropped::Lied)) {
        output.warn(&format!(
            "{} delivered bytes that are not the fragment it was asked for ({} before that were good); others delivered instead",
            printable(&holder.name),
            count(holder.fragments, "fragment"),
        ));
    }
}

/// The bytes to get: of a range what there is of it, as with gRPC and HTTP.
fn wanted(range: Option<&Range<u64>>, size_bytes: u64) -> Result<Range<u64>, Failure> {
    match range {
        None => Ok(0..size_bytes),
        Some(range) if range.start <= size_bytes => Ok(range.start..range.end.min(size_bytes)),
        Some(range) => {
            let message = format!(
                "--range: {} is beyond the end of the file, which has {size_bytes} bytes",
                range.start
            );
            Err(Failure::new(Code::Usage, "OUT_OF_RANGE", message))
        }
    }
}

/// Where to write. The name that a file has in the network is data: only its last component is used, and only if it is a name.
fn target(told: Option<&Path>, display_name: &str, hash: &Hash) -> PathBuf {
    let name = || {
        let valid = display_name.parse::<FileName>().ok();
        let last = valid.as_ref().and_then(|name| name.as_str().rsplit('/').next());
        last.map_or_else(|| hash.to_string(), str::to_owned)
    };
    match told {
        None => name().into(),
        Some(directory) if directory.is_dir() || is_meant_as_directory(directory) => directory.join(name()),
        Some(file) => file.to_owned(),
    }
}

/// Whether it ends as only directories do, although there may be none.
fn is_meant_as_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_range_there_is_what_lies_before_the_end() {
        for (range, of_it) in
            [(0..4, 0..4), (3..10, 3..10), (3..11, 3..10), (10..12, 10..10), (10..10, 10..10)]
        {
            assert_eq!(wanted(Some(&range), 10), Ok(of_it));
        }
        assert_eq!(wanted(Some(&(11..12)), 10).map_err(|failure| failure.reason), Err("OUT_OF_RANGE".into()));
        assert_eq!(wanted(None, 10), Ok(0..10));
    }

    #[test]
    fn a_name_from_the_network_never_leaves_the_directory() {
        let hash = Hash::of(b"x");
        let plain = |name: &str| target(None, name, &hash);
        assert_eq!(plain("maps/berlin.tiles"), Path::new("berlin.tiles"));
        for bad in ["", "..", "a/..", "/", "a/../", "a\\b", "a\nb"] {
            assert_eq!(plain(bad), Path::new(&hash.to_string()), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_gets_the_name_and_a_file_is_taken_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let hash = Hash::of(b"x");
        assert_eq!(target(Some(directory.path()), "a/b", &hash), directory.path().join("b"));
        assert_eq!(target(Some(Path::new("some/where")), "a/b", &hash), Path::new("some/where"));
        assert_eq!(target(Some(Path::new("no/where/")), "a/b", &hash), Path::new("no/where/b"));
    }
}
