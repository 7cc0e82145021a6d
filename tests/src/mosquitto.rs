//! A real Mosquitto for one test: its own port, its own directory, gone when dropped.
//!
//! A test that starts one says `needs_mosquitto!()` first: where Mosquitto is not installed it is skipped aloud, or, with
//! `MDS_REQUIRE_BROKERS` set, fails.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::brokers::Package;
use crate::loopback::own_address;

/// How long it may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Somebody else may take the free port between our looking for it and Mosquitto's binding it.
const ATTEMPTS: u32 = 5;

/// A running Mosquitto on a free port of the loopback interface.
///
/// Anybody may connect; nothing is kept on disk; the queue for one subscriber holds 100 000 messages, so that
/// the broker's default of 1000 does not decide the outcome of a test on a busy machine.
#[derive(Debug)]
pub struct Mosquitto {
    directory: TempDir,
    binary: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one on a loopback address of its own and waits until it accepts connections.
    ///
    /// # Panics
    /// If it is not installed or does not start; the message says what to do and holds Mosquitto's log.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(own_address(), "allow_anonymous true\nmax_queued_messages 100000\n")
    }

    /// Starts one on 127.0.0.1 whose configuration file holds `settings` besides what names the listener and the log, and
    /// waits until it accepts connections. Files that the settings name must be readable.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(settings: &str) -> Self {
        Self::launch(Ipv4Addr::LOCALHOST, settings)
    }

    /// Starts one that keeps sessions, queues and retained messages on disk: at the latest a second after a change, so that
    /// what a crash takes from it is little.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_memory() -> Self {
        let settings =
            "allow_anonymous true\nmax_queued_messages 100000\npersistence true\nautosave_interval 1\n";
        Self::launch(own_address(), settings)
    }

    /// Deletes what it keeps on disk. To be called while it does not run.
    ///
    /// # Panics
    /// If the disk does not let it.
    pub fn forget(&self) {
        match fs::remove_file(self.directory.path().join("mosquitto.db")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("the broker's memory: {error}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Halts it (SIGSTOP): it does nothing, and its connections stand. It can be killed as it is.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).expect("a child can be signalled");
        }
    }

    fn launch(ip: Ipv4Addr, settings: &str) -> Self {
        let binary = PACKAGE.find().expect("Mosquitto is installed: the test said that it needs it");
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let directory = TempDir::with_prefix("mosquitto-").expect("a temporary directory can be made");
            let address = free_address(ip);
            write_configuration(directory.path(), address, settings);
            let mut broker = Self { directory, binary: binary.clone(), address, child: None };
            match broker.spawn() {
                Ok(()) => return broker,
                Err(reason) => failure = reason,
            }
        }
        panic!("{failure}");
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as the daemons want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Its directory: for files that its settings name.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let mut log = Vec::new();
        if let Ok(mut file) = File::open(self.directory.path().join("log")) {
            // A log that cannot be read shows as an empty one: it only helps to understand a failure.
            let _ = file.read_to_end(&mut log);
        }
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; that is as dead.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM), and waits until it has: what it keeps is on disk then.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::TERM).expect("a child can be signalled");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Starts it again on the same port, after killing it if it still runs. It remembers what its settings let it keep: nothing, unless they say so.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(reason) = self.spawn() {
            panic!("{reason}");
        }
    }

    fn spawn(&mut self) -> Result<(), String> {
        let log = File::create(self.directory.path().join("log")).expect("the log can be written");
        let mut child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.directory.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.binary.display()));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = child.try_wait().expect("a child's state can be asked for") {
                return Err(format!("Mosquitto ended with {}:\n{}", describe(status), self.log()));
            }
            if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("Mosquitto did not listen within {START_TIMEOUT:?}:\n{}", self.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The package to ask for.
pub const PACKAGE: Package = Package { name: "Mosquitto", program: "mosquitto", package: "mosquitto" };

/// Ends a test here, aloud, where Mosquitto is not installed.
#[macro_export]
macro_rules! needs_mosquitto {
    () => {
        $crate::needs_program!($crate::mosquitto::PACKAGE);
    };
}

fn free_address(ip: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((ip, 0))
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|error: io::Error| panic!("there is no free port on the loopback interface: {error}"))
}

fn write_configuration(directory: &Path, address: SocketAddr, settings: &str) {
    // `user root` has an effect only when root starts it: then it keeps the right to read the test's files.
    let persistence = if settings.contains("persistence true") {
        format!("persistence_location {}/\n", directory.display())
    } else {
        "persistence false\n".to_owned()
    };
    let configuration = format!(
        "listener {} {}\nuser root\n{persistence}log_dest stderr\nlog_type all\n{settings}",
        address.port(),
        address.ip()
    );
    fs::write(directory.join("mosquitto.conf"), configuration).expect("the configuration can be written");
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}
