//! A network of real daemons, and the tool run against it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mds_tests::binaries;
use mds_tests::client::Client;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::wait::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

/// So small that a small file has many fragments.
pub const FRAGMENT_BYTES: usize = 64 << 10;

/// What they may store is not what happens to be free on the disk.
const OF_TORRENTS: [&str; 2] = ["--capacity", "1073741824"];

/// A tracker and torrents that have joined. Dropping it ends them.
pub struct Network {
    pub tracker: Daemon,
    pub torrents: Vec<Daemon>,
    /// Of the tracker, `host:port`.
    pub endpoint: String,
    pub directory: TempDir,
    pub site: Site,
    of_tracker: Vec<String>,
    _broker: Mosquitto,
}

impl Network {
    /// Starts them with two copies.
    pub async fn start(torrents: usize) -> Self {
        Self::start_with(torrents, &[]).await
    }

    /// The same, with further arguments for the tracker.
    pub async fn start_with(torrents: usize, arguments: &[&str]) -> Self {
        let broker = Mosquitto::start();
        let site = Site::new(broker.url());
        let fragment_size = FRAGMENT_BYTES.to_string();
        let mut all = vec!["--copies", "2", "--fragment-size", &fragment_size];
        all.extend(arguments);
        let mut tracker = site.tracker("tracker", &all);
        let endpoint = tracker.endpoint().await;
        let torrents: Vec<Daemon> =
            (1..=torrents).map(|number| site.torrent(&format!("t{number}"), &OF_TORRENTS)).collect();
        Client::of(&endpoint).counts_torrents(torrents.len() as i32).await;
        let directory = TempDir::with_prefix("mds-").expect("a temporary directory can be made");
        let of_tracker = all.into_iter().map(str::to_owned).collect();
        Self { tracker, torrents, endpoint, directory, site, of_tracker, _broker: broker }
    }

    /// Starts the tracker again, which has ended, on what it has; it listens elsewhere now.
    pub fn restart_tracker(&mut self) {
        let arguments: Vec<&str> = self.of_tracker.iter().map(String::as_str).collect();
        self.tracker = self.site.tracker("tracker", &arguments);
    }

    /// Starts a torrent again that has ended, on what it has.
    pub fn restart_torrent(&mut self, place: usize) {
        self.torrents[place] = self.site.torrent(&format!("t{}", place + 1), &OF_TORRENTS);
    }

    /// A place for a file of the user.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the user.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("there is room");
        std::fs::write(&path, content).expect("there is room");
        path
    }

    /// Puts a file of the user and waits for its copies; gives its digest.
    pub async fn put(&self, path: &Path) -> String {
        let put = self.mds().args(["put", "--wait", "2"]).arg(path).run().await;
        put.succeeded().split_whitespace().next().expect("a digest").to_owned()
    }

    /// The tool, told to begin with the tracker, in the user's directory.
    pub fn mds(&self) -> Mds {
        Mds::new(self.directory.path()).env("MDS_ENDPOINT", &self.endpoint)
    }
}

/// A command line of the tool.
pub struct Mds {
    command: Command,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Mds {
    pub fn new(directory: &Path) -> Self {
        let mut command = Command::new(binaries::mds());
        command
            .current_dir(directory)
            .env_remove("MDS_ENDPOINT")
            .env_remove("NO_COLOR")
            .env("LC_ALL", "C.UTF-8");
        command.kill_on_drop(true);
        Self { command, input: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args<I: IntoIterator<Item = impl AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    /// What it reads from standard input.
    pub fn input(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }

    /// Where its standard output goes.
    pub fn output_to(mut self, path: &str) -> Self {
        let file = std::fs::File::options().write(true).open(path).expect("it is there");
        self.command.stdout(file);
        self
    }

    /// The command itself, for those who want to watch it.
    pub fn into_command(self) -> Command {
        self.command
    }

    pub async fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.stdout(Stdio::piped()).spawn().expect("the tool can be started");
        finish(&mut child, self.input).await;
        ran(child).await
    }

    /// The same with the standard output of [`output_to`](Self::output_to).
    pub async fn run_elsewhere(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the tool can be started");
        finish(&mut child, self.input).await;
        ran(child).await
    }
}

async fn finish(child: &mut tokio::process::Child, input: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that does not want its input may have ended already.
        let _ = stdin.write_all(&input).await;
    }
}

async fn ran(child: tokio::process::Child) -> Ran {
    let output = child.wait_with_output().await.expect("the tool can be waited for");
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Its standard output, after exit code 0.
    #[track_caller]
    pub fn succeeded(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        std::str::from_utf8(&self.stdout).expect("UTF-8")
    }

    /// Its JSON answer, after exit code 0.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.succeeded()).expect("JSON")
    }

    /// The reason in its JSON failure, whose code is its exit code.
    #[track_caller]
    pub fn failed(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        let failure: Value = serde_json::from_str(&self.stderr).expect("one JSON object");
        assert_eq!(failure["code"], code);
        assert!(failure["message"].as_str().is_some_and(|message| message.len() > 10), "{failure}");
        failure["reason"].as_str().expect("a reason").to_owned()
    }
}

/// The tool while it runs, read line by line.
pub struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    pub fn start(mds: Mds) -> Self {
        let mut command = mds.into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool can be started");
        let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, stdout, stderr }
    }

    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        let read = timeout(DEADLINE, self.stdout.next_line()).await;
        let line = read.expect("it says something in time").expect("UTF-8");
        match line {
            Some(line) => line,
            None => panic!("it has ended: {:?}", self.stderr.next_line().await),
        }
    }

    /// Reads its standard error until a line says this; gives that line.
    pub async fn complains(&mut self, text: &str) -> String {
        loop {
            let read = timeout(DEADLINE, self.stderr.next_line()).await;
            let line = read.unwrap_or_else(|_| panic!("it does not say {text:?}")).expect("UTF-8");
            let line = line.unwrap_or_else(|| panic!("it has ended without {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Ctrl-C; gives the exit code, and what it has said on standard output since the last line that was read.
    pub async fn interrupt(mut self) -> (Option<i32>, Vec<String>) {
        let id = self.child.id().expect("it runs");
        kill_process(Pid::from_raw(id.cast_signed()).expect("a pid"), Signal::INT)
            .expect("a child can be signalled");
        let mut rest = Vec::new();
        while let Some(line) = self.stdout.next_line().await.expect("UTF-8") {
            rest.push(line);
        }
        (self.child.wait().await.expect("a child can be waited for").code(), rest)
    }
}
