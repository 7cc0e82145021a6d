//! A server as a child process: started with its output in a file, ended as asked or as a crash would.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long one may take to start or to end; far too long in the good case.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it may take to answer who connects, before somebody else asks.
const ANSWER: Duration = Duration::from_secs(20);

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

    /// Waits until it takes an MQTT session: one that listens may still have to agree with its peers.
    ///
    /// # Errors
    /// Its log, if it does not.
    pub fn takes_sessions(&mut self, on: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !takes_session(on).unwrap_or(false) {
            if self.child.try_wait().expect("a child's state can be asked for").is_some() {
                return Err(format!("the broker has ended:\n{}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("the broker takes no session within {PATIENCE:?}:\n{}", self.log()));
            }
            thread::sleep(10 * INTERVAL);
        }
        Ok(())
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

/// Whether an MQTT 3.1.1 client called `ready` is let in with a clean session. It leaves at once.
fn takes_session(on: SocketAddr) -> io::Result<bool> {
    let mut connection = TcpStream::connect_timeout(&on, ANSWER)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.write_all(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready")?;
    let mut answer = [0; 4];
    connection.read_exact(&mut answer)?;
    connection.write_all(b"\xe0\x00")?;
    Ok(answer == *b"\x20\x02\x00\x00")
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children are in its group; that it may have ended by itself is as well.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
