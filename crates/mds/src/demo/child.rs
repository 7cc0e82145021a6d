//! What a child process of the demo does besides its work: it ends when its parent is gone.

use std::io::Read;
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// How long an orderly end may take once the parent is gone.
const GRACE: Duration = Duration::from_secs(5);

/// Ends this process, in good order if that does not take long, when standard input ends.
///
/// The parent holds the other end of that pipe and never writes to it. The system closes it when the parent ends, even by `kill -9`.
pub fn end_with_stdin() {
    thread::spawn(|| {
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        // An error is as good as the end: there is nobody to listen to.
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        // The daemon hears it as if it came from outside. Before it listens, the signal ends the process by itself.
        let _ = kill_process(getpid(), Signal::TERM);
        thread::sleep(GRACE);
        process::exit(1);
    });
}
