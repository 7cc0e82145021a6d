//! Trackers and torrents as processes: started, watched, ended. What one has logged is printed if its test fails.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, fs, thread};

use distribution::rules::Rule;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::loopback::own_address;
use crate::wait::eventually;
use crate::{binaries, wait};

/// The variable that names the rules which a `sabotaged_tracker` does not keep, separated by commas.
pub const SWITCHED_OFF: &str = "SWITCHED_OFF";

/// Where the daemons of one test live: their broker, their directories, and what stands before their topics.
#[derive(Debug)]
pub struct Site {
    brokers: Vec<String>,
    started: AtomicUsize,
    topic_prefix: Option<String>,
    with_http: bool,
    directory: TempDir,
}

impl Site {
    /// A site at the broker with this URL.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn new(broker: String) -> Self {
        Self::at_nodes(vec![broker])
    }

    /// A site at a broker of several nodes: the first daemon connects to the first of these URLs, the next to the next, and so on
    /// around.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn at_nodes(brokers: Vec<String>) -> Self {
        let directory = TempDir::with_prefix("daemons-").expect("a temporary directory can be made");
        Self { brokers, started: AtomicUsize::new(0), topic_prefix: None, with_http: false, directory }
    }

    /// The same with a prefix before every topic.
    #[must_use]
    pub fn with_topic_prefix(mut self, prefix: &str) -> Self {
        self.topic_prefix = Some(prefix.to_owned());
        self
    }

    /// The same where every daemon serves HTTP, too: [`Daemon::http`] says where.
    #[must_use]
    pub fn with_http(mut self) -> Self {
        self.with_http = true;
        self
    }

    /// The data directory of the daemon with this name.
    #[must_use]
    pub fn data_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Flips a bit of these bytes on the disk of the daemon with this name, wherever its store has put them.
    ///
    /// # Panics
    /// If they are not there, or not in one place only.
    pub fn flip_a_bit(&self, name: &str, content: &[u8]) {
        let mut flipped = 0;
        for entry in fs::read_dir(self.data_directory(name).join("segments")).expect("there is a store") {
            let path = entry.expect("readable").path();
            let stored = fs::read(&path).expect("readable");
            for (at, _) in stored.windows(content.len()).enumerate().filter(|(_, window)| *window == content)
            {
                let file = fs::OpenOptions::new().write(true).open(&path).expect("writable");
                let middle = at + content.len() / 2;
                file.write_all_at(&[stored[middle] ^ 1], middle as u64).expect("writable");
                flipped += 1;
            }
        }
        assert_eq!(flipped, 1, "the bytes are in so many places of {name}");
    }

    /// Starts a tracker whose data directory is called `name`.
    ///
    /// # Panics
    /// If the program cannot be built or started.
    #[must_use]
    pub fn tracker(&self, name: &str, arguments: &[&str]) -> Daemon {
        self.start(binaries::tracker(), name, arguments)
    }

    /// The same where `program` is a `sabotaged_tracker`, which does not keep these rules.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn tracker_without(&self, rules: &[Rule], program: &Path, name: &str, arguments: &[&str]) -> Daemon {
        let names: Vec<String> = rules.iter().map(|rule| format!("{rule:?}")).collect();
        let data_directory = self.data_directory(name);
        let mut command = self.command(program, &data_directory);
        command.env(SWITCHED_OFF, names.join(",")).args(arguments);
        Daemon::start(name, &mut command, data_directory)
    }

    /// Starts a torrent with this identifier; its data directory is called the same.
    ///
    /// # Panics
    /// If the program cannot be built or started.
    #[must_use]
    pub fn torrent(&self, id: &str, arguments: &[&str]) -> Daemon {
        self.torrent_in(&self.data_directory(id), id, arguments)
    }

    /// The same as [`tracker`](Self::tracker) with its data elsewhere.
    ///
    /// # Panics
    /// If the program cannot be built or started.
    #[must_use]
    pub fn tracker_in(&self, data_directory: &Path, name: &str, arguments: &[&str]) -> Daemon {
        self.start_in(binaries::tracker(), data_directory.to_owned(), name, arguments)
    }

    /// The same as [`torrent`](Self::torrent) with its data elsewhere.
    ///
    /// # Panics
    /// If the program cannot be built or started.
    #[must_use]
    pub fn torrent_in(&self, data_directory: &Path, id: &str, arguments: &[&str]) -> Daemon {
        let all = [&["--id", id], arguments].concat();
        self.start_in(binaries::torrent(), data_directory.to_owned(), id, &all)
    }

    fn start(&self, program: &Path, name: &str, arguments: &[&str]) -> Daemon {
        self.start_in(program, self.data_directory(name), name, arguments)
    }

    fn start_in(&self, program: &Path, data_directory: PathBuf, name: &str, arguments: &[&str]) -> Daemon {
        let mut command = self.command(program, &data_directory);
        Daemon::start(name, command.args(arguments), data_directory)
    }

    fn command(&self, program: &Path, data_directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(data_directory);
        let listen = format!("{}:0", own_address());
        let node = self.started.fetch_add(1, Ordering::Relaxed) % self.brokers.len();
        let http = if self.with_http { &listen } else { "off" };
        command.args(["--broker", &self.brokers[node], "--listen", &listen, "--http", http]);
        if let Some(prefix) = &self.topic_prefix {
            command.args(["--topic-prefix", prefix]);
        }
        command
    }
}

/// A running daemon. It is killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    data_directory: PathBuf,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Starts `command`, which uses `data_directory`. Settings in the environment of the test do not reach it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, data_directory: PathBuf) -> Self {
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("MDS_") {
                command.env_remove(variable);
            }
        }
        // An earlier run's addresses would be taken for this one's.
        for file in ["endpoint", "http"] {
            let _ = fs::remove_file(data_directory.join(file));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let readers = pipes.into_iter().flatten().map(|pipe| gather(pipe, output.clone())).collect();
        Self { name: name.to_owned(), data_directory, child, output, readers, ended: None }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far: its log, and what a person at the terminal would see.
    #[must_use]
    pub fn output(&self) -> String {
        locked(&self.output).clone()
    }

    /// How often it has written this.
    #[must_use]
    pub fn count_in_output(&self, text: &str) -> usize {
        locked(&self.output).matches(text).count()
    }

    /// Waits until it has written this. For what cannot be seen anywhere else.
    ///
    /// # Panics
    /// If it does not, or ends.
    pub async fn says(&mut self, text: &str) {
        let what = format!("{} says {text:?}", self.name);
        eventually(&what, async || {
            let is_said = self.count_in_output(text) > 0;
            assert!(is_said || self.is_running(), "{} ended:\n{}", self.name, self.output());
            is_said.then_some(())
        })
        .await;
    }

    /// Its Endpoint, `host:port`, as soon as it listens.
    ///
    /// # Panics
    /// If it ends before, or does not come up.
    pub async fn endpoint(&mut self) -> String {
        self.address("endpoint").await
    }

    /// Where it serves HTTP, `host:port`, as soon as it does.
    ///
    /// # Panics
    /// As [`Daemon::endpoint`].
    pub async fn http(&mut self) -> String {
        self.address("http").await
    }

    async fn address(&mut self, file: &str) -> String {
        let file = self.data_directory.join(file);
        let what = format!("{} writes where it listens", self.name);
        eventually(&what, async || {
            assert!(self.is_running(), "{} ended:\n{}", self.name, self.output());
            Some(fs::read_to_string(&file).ok()?.trim().to_owned())
        })
        .await
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child's state can be asked for");
        }
        self.ended.is_none()
    }

    /// Halts it (SIGSTOP): it does nothing, and its connections stand. It can be killed as it is.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        }
    }

    /// Ends it as a crash would (SIGKILL), and waits for its end.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn kill(&mut self) {
        // It may have ended by itself; that is as dead.
        let _ = self.child.kill();
        self.ended = Some(self.child.wait().expect("a child can be waited for"));
    }

    /// Waits for its end and gives the exit code; none if a signal ended it.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let what = format!("{} ends", self.name);
        wait::until(&what, async || !self.is_running()).await;
        for reader in self.readers.drain(..) {
            reader.join().expect("reading the output does not panic");
        }
        self.ended.and_then(|status| status.code())
    }

    /// Asks it to end, and waits until it has with exit code 0.
    ///
    /// # Panics
    /// If it ends with another code.
    pub async fn stop(&mut self) {
        self.terminate();
        let code = self.exit_code().await;
        assert_eq!(code, Some(0), "{} did not end well:\n{}", self.name, self.output());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
        if thread::panicking() {
            eprintln!("--- {} ({:?}):\n{}", self.name, self.ended, self.output());
        }
    }
}

fn gather(pipe: Box<dyn Read + Send>, output: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            locked(&output).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

fn locked(output: &Mutex<String>) -> MutexGuard<'_, String> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
