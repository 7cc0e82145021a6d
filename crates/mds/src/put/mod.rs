//! `mds put`: files, directories and standard input, one after the other.

mod content;
mod sources;
mod upload;
mod wait;

use endpoint::client::Cluster;

use crate::cli::Put;
use crate::describe::FileView;
use crate::exit::{Code, Failure};
use crate::output::{Output, count, printable};

pub use sources::Source;
pub use upload::Uploads;
pub use wait::Copies;

/// Puts everything; goes on with the rest if one thing fails.
pub async fn run(cluster: &Cluster, put: &Put, output: Output) -> Result<(), Failure> {
    let (sources, mut failures) = sources::find(put)?;
    let copies = match put.wait {
        Some(wait) => Some(Copies::wanted(cluster, wait, put.timeout).await?),
        None => None,
    };
    let mut uploads = Uploads::at_tracker(cluster, output.json).await?;
    let mut done: Vec<FileView> = Vec::new();
    for source in sources {
        let what = source.to_string();
        let outcome = put_one(cluster, &mut uploads, copies.as_ref(), source, output, &mut done).await;
        match outcome {
            Ok(()) => {}
            Err(failure) if failure.is_closed_output() => return Err(failure),
            Err(failure) => failures.push(failure.about(&what)),
        }
    }
    if output.json {
        output.value(&done)?;
    }
    conclude(failures, done.len(), output)
}

async fn put_one(
    cluster: &Cluster,
    uploads: &mut Uploads,
    copies: Option<&Copies>,
    source: Source,
    output: Output,
    done: &mut Vec<FileView>,
) -> Result<(), Failure> {
    let file = uploads.put(source).await?;
    let view = FileView::of(&file);
    // The digest first: the file is in the network, whatever comes of the copies.
    if !output.json {
        output.line(&view.sum_line())?;
    }
    done.push(view);
    if let Some(copies) = copies {
        let file = copies.wait_for(cluster, &file, output.json).await?;
        if let Some(last) = done.last_mut() {
            *last = FileView::of(&file);
        }
    }
    Ok(())
}

/// One failure is told as it is; of several each is told, and then how many there were.
fn conclude(mut failures: Vec<Failure>, done: usize, output: Output) -> Result<(), Failure> {
    if failures.len() == 1 && done == 0 {
        return failures.pop().map_or(Ok(()), Err);
    }
    let Some(first) = failures.first() else { return Ok(()) };
    // A file whose copies are missing is there all the same: then the failure counts, not that something was done.
    let same = failures.iter().all(|failure| failure.code == first.code);
    let code =
        if same && (done == 0 || first.code == Code::TimedOut) { first.code } else { Code::PartlyDone };
    let reason = if code == Code::PartlyDone { "PARTLY_DONE" } else { &first.reason };
    let number = failures.len() as u64;
    if number == 1 && code != Code::PartlyDone {
        return failures.pop().map_or(Ok(()), Err);
    }
    let messages: Vec<String> = failures.iter().map(|failure| failure.message.clone()).collect();
    let shown = if output.json {
        format!(": {}", messages.join("; "))
    } else {
        messages.iter().for_each(|message| output.warn(&printable(message)));
        String::new()
    };
    let message = format!("{} failed, {done} succeeded{shown}", count(number, "file"));
    Err(Failure::new(code, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failures: &[Code], done: usize) -> Option<Code> {
        let failures = failures.iter().map(|code| Failure::new(*code, "REASON", "message")).collect();
        conclude(failures, done, Output { json: true }).err().map(|failure| failure.code)
    }

    #[test]
    fn one_of_several_is_partly_done() {
        assert_eq!(failed(&[], 2), None);
        assert_eq!(failed(&[Code::NotAllowed], 0), Some(Code::NotAllowed));
        assert_eq!(failed(&[Code::NotAllowed, Code::NotAllowed], 0), Some(Code::NotAllowed));
        assert_eq!(failed(&[Code::NotAllowed], 1), Some(Code::PartlyDone));
        assert_eq!(failed(&[Code::NotAllowed, Code::Unreachable], 0), Some(Code::PartlyDone));
    }

    #[test]
    fn missing_copies_are_a_timeout_although_the_file_is_there() {
        assert_eq!(failed(&[Code::TimedOut], 1), Some(Code::TimedOut));
        assert_eq!(failed(&[Code::TimedOut, Code::TimedOut], 2), Some(Code::TimedOut));
        assert_eq!(failed(&[Code::TimedOut, Code::NotAllowed], 2), Some(Code::PartlyDone));
    }
}
