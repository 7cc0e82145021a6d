//! A server as a child process: started with its output in a file, ended as asked or as a crash would.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long one may take to start or to end; far too long in the good case.
const PATIENCE: Duration = Duration::from_secs(120);

const INTERVAL: Duration = Duration::from_millis(20);

/// A running server. It and what it has started are killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it in a process group of its own; what it writes goes to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command, log: &Path) -> Self {
        let output = File::create(log).expect("the log can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Waits until it accepts connections there, and `is_ready` finds in its log what it looks for.
    ///
    /// # Errors
    /// Its log, if it ends before or does not come up.
    pub fn listens(&mut self, on: SocketAddr, is_ready: impl Fn(&str) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child's state can be asked for") {
                return Err(format!("the broker ended with {status}:\n{}", self.log()));
            }
            if TcpStream::connect_timeout(&on, Duration::from_secs(1)).is_ok() && is_ready(&self.log()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the broker did not come up within {PATIENCE:?}:\n{}", self.log()));
            }
            thread::sleep(INTERVAL);
        }
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        // A log that cannot be read shows as an empty one: it only helps to understand a failure.
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn terminate(&mut self) {
        if self.child.try_wait().expect("a child's state can be asked for").is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a child can be signalled");
        }
    }

    /// Waits for its end; one that does not end is killed.
    ///
    /// # Panics
    /// If the system does not say whether it runs.
    pub fn ended(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("a child's state can be asked for").is_none() {
            assert!(Instant::now() < deadline, "the broker does not end:\n{}", self.log());
            thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children are in its group; that it may have ended by itself is as well.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
