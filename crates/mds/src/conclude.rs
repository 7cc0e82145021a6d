//! How a command ends that does several things, some of which may fail.

use crate::exit::{Code, Failure};
use crate::output::{Output, count, printable};

/// One failure is told as it is; of several each is told, and then how many there were. `done` things went well; `what` is one of them.
///
/// # Errors
/// With the failure's own code if nothing went well and all failures have the same, else with 7.
pub fn conclude(mut failures: Vec<Failure>, done: usize, what: &str, output: Output) -> Result<(), Failure> {
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
    let message = format!("{} failed, {done} succeeded{shown}", count(number, what));
    Err(Failure::new(code, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failures: &[Code], done: usize) -> Option<Failure> {
        let named = failures.iter().enumerate();
        let failures =
            named.map(|(at, code)| Failure::new(*code, "REASON", format!("message {at}"))).collect();
        conclude(failures, done, "file", Output { json: true }).err()
    }

    fn code(failures: &[Code], done: usize) -> Option<Code> {
        failed(failures, done).map(|failure| failure.code)
    }

    #[test]
    fn one_of_several_is_partly_done() {
        assert_eq!(code(&[], 2), None);
        assert_eq!(code(&[Code::NotAllowed], 0), Some(Code::NotAllowed));
        assert_eq!(code(&[Code::NotAllowed, Code::NotAllowed], 0), Some(Code::NotAllowed));
        assert_eq!(code(&[Code::NotAllowed], 1), Some(Code::PartlyDone));
        assert_eq!(code(&[Code::NotAllowed, Code::Unreachable], 0), Some(Code::PartlyDone));
    }

    #[test]
    fn missing_copies_are_a_timeout_although_the_file_is_there() {
        assert_eq!(code(&[Code::TimedOut], 1), Some(Code::TimedOut));
        assert_eq!(code(&[Code::TimedOut, Code::TimedOut], 2), Some(Code::TimedOut));
        assert_eq!(code(&[Code::TimedOut, Code::NotAllowed], 2), Some(Code::PartlyDone));
    }

    #[test]
    fn every_failure_is_told() {
        let failure = failed(&[Code::NotFound, Code::NotFound, Code::Usage], 1).unwrap();
        assert_eq!(failure.message, "3 files failed, 1 succeeded: message 0; message 1; message 2");
    }
}
