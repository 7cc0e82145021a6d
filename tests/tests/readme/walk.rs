//! A walk through a page. The README's own commands start the daemons, and those of the page use them. What they name is exchanged for what
//! is here, and for nothing else; the table is in [`Walk::here`].

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mds_tests::binaries;
use mds_tests::client::Client;
use mds_tests::daemons::Daemon;
use mds_tests::loopback::own_address;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::python::interpreter_or_skip;
use mds_tests::wait::{DEADLINE, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::blocks::{Block, root};
use crate::examples::{EXAMPLES, Example, Ran, example};

/// The file of the examples.
pub const FILE: &str = "map.tiles";

/// What comes from standard input.
pub const INPUT: &[u8] = b"what comes from standard input";

/// How many machines have a torrent: one more than there are copies, so that one can be drained.
const TORRENTS: usize = 3;

/// The SHA-256 as hex digits.
pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One of the machines that the README speaks of: an address of its own, so that the ports are those of the README.
struct Machine {
    address: Ipv4Addr,
    /// In place of `/var/lib/mds`.
    data: PathBuf,
}

pub struct Walk {
    /// What is in [`FILE`].
    pub content: Vec<u8>,
    pub digest: String,
    /// The identifiers of the torrents.
    pub torrents: Vec<String>,
    broker: Mosquitto,
    tracker: Machine,
    /// Where one of the torrents is.
    torrent: Ipv4Addr,
    daemons: Vec<Daemon>,
    /// What was exported: lines for the shell.
    settings: Vec<String>,
    /// Where the user is: below `directory`.
    place: PathBuf,
    directory: TempDir,
}

impl Walk {
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("readme-").expect("a temporary directory can be made");
        let content: Vec<u8> =
            (0..750_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let place = directory.path().join("user");
        for (name, content) in [
            (FILE, &content[..]),
            ("maps/north", b"the north"),
            ("maps/south/east", b"the south-east"),
            ("incoming/new.tiles", b"what has come in"),
        ] {
            let path = place.join(name);
            fs::create_dir_all(path.parent().expect("it is below the directory")).expect("there is room");
            fs::write(path, content).expect("there is room");
        }
        // As after `git clone`, for what is run there.
        fs::create_dir(directory.path().join("clone")).expect("there is room");
        for part in ["proto", "examples"] {
            symlink(root().join(part), directory.path().join("clone").join(part)).expect("there is room");
        }
        fs::create_dir(directory.path().join("downloads")).expect("there is room");
        let tracker = Machine { address: own_address(), data: directory.path().join("tracker") };
        let digest = digest(&content);
        let (torrents, daemons, settings) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            content,
            digest,
            torrents,
            broker: Mosquitto::start(),
            tracker,
            torrent: own_address(),
            daemons,
            settings,
            place,
            directory,
        }
    }

    /// At the daemons that the README's commands start.
    pub async fn with_daemons() -> Self {
        let mut walk = Self::new();
        for (command, how) in EXAMPLES.iter().filter(|(_, how)| how.begins()) {
            walk.run(command, *how).await;
        }
        walk
    }

    /// What stands on the page, and what stands here in its place.
    fn here(&self, machine: &Machine) -> Vec<(&'static str, String)> {
        vec![
            ("mqtt://broker:1883", self.broker.url()),
            ("/var/lib/mds", machine.data.display().to_string()),
            ("0.0.0.0", machine.address.to_string()),
            ("this-host", machine.address.to_string()),
            ("tracker-host", self.tracker.address.to_string()),
            ("127.0.0.1:7481", format!("{}:7481", self.tracker.address)),
            ("127.0.0.1:7482", format!("{}:7482", self.torrent)),
            ("SHA256", self.digest.clone()),
            ("torrent-id", self.torrents.first().cloned().unwrap_or_default()),
            ("DIR", "manual".to_owned()),
        ]
    }

    fn adapted(&self, command: &str, machine: &Machine) -> String {
        self.here(machine).iter().fold(command.to_owned(), |line, (told, here)| line.replace(told, here))
    }

    /// Runs the commands of a block, one after the other.
    pub async fn through(&mut self, block: &Block) {
        self.place = self.directory.path().join(match block.heading.as_str() {
            "From a browser, with curl" | "Contents" => "downloads",
            "For programs" | "A client in another language" => "clone",
            _ => "user",
        });
        self.has_the_file();
        for (number, command) in block.commands() {
            let known = example(command);
            let how = known.unwrap_or_else(|| panic!("{}:{number}: not known here: {command}", block.page));
            if how.is_run_here() {
                println!("{}:{number}: {command}", block.page);
                self.run(command, how).await;
            }
        }
    }

    async fn run(&mut self, command: &str, how: Example) {
        match how {
            Example::Ends(check) => {
                let ran = self.to_the_end(command, None).await;
                check(self, &ran);
            }
            Example::Python(check) => {
                if let Some(python) = interpreter_or_skip() {
                    let ran = self.to_the_end(command, python.parent()).await;
                    check(self, &ran);
                }
            }
            Example::Setting => self.settings.push(self.adapted(command, &self.tracker)),
            Example::Tracker => {
                let daemon = self.daemon("tracker", command, &self.tracker, 7481);
                self.daemons.push(daemon);
                let tracker = self.daemons.last_mut().expect("it was pushed").endpoint().await;
                assert_eq!(tracker, format!("{}:7401", self.tracker.address));
            }
            Example::Torrent => self.torrents_join(command).await,
            Example::Events => self.events(command).await,
            Example::Watch => self.watch(command).await,
            Example::Ci(_) | Example::Compose | Example::Build | Example::Prepare => {}
        }
    }

    /// A shell where the user is. Settings in the environment of the test do not reach it.
    fn shell(&self, script: &str, first_on_path: Option<&Path>) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(&self.place).env("PYTHONDONTWRITEBYTECODE", "1");
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("MDS_") {
                command.env_remove(variable);
            }
        }
        command.env("PATH", path(first_on_path)).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The command for a shell, behind what was exported.
    fn script(&self, prefix: &str, command: &str) -> String {
        format!("{}\n{prefix}{}", self.settings.join("\n"), self.adapted(command, &self.tracker))
    }

    async fn to_the_end(&self, command: &str, first_on_path: Option<&Path>) -> Ran {
        let mut child =
            self.shell(&self.script("", command), first_on_path).spawn().expect("a shell can be started");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not want its input may have ended already.
        let _ = stdin.write_all(INPUT).await;
        drop(stdin);
        let output = timeout(DEADLINE, child.wait_with_output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("it does not end: {command}")).expect("it can be waited for");
        let [said, complained] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{command}: {}\n{said}\n{complained}", output.status);
        Ran { stdout: output.stdout }
    }

    fn daemon(&self, name: &str, command: &str, machine: &Machine, http_port: u16) -> Daemon {
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &format!("exec {}", self.adapted(command, machine))]).env("PATH", path(None));
        // On one machine they would all be at 127.0.0.1.
        shell.env("MDS_HTTP", format!("{}:{http_port}", machine.address));
        Daemon::start(name, &mut shell, machine.data.join(name))
    }

    async fn torrents_join(&mut self, command: &str) {
        for number in 1..=TORRENTS {
            let data = self.directory.path().join(format!("machine-{number}"));
            let address = if number == 1 { self.torrent } else { own_address() };
            let machine = Machine { address, data };
            let daemon = self.daemon("torrent", command, &machine, 7482);
            self.daemons.push(daemon);
        }
        let tracker = format!("{}:7401", self.tracker.address);
        Client::of(&tracker).counts_torrents(TORRENTS as i32).await;
        let peers = self.asks(&["peers"]);
        let ids = peers.as_array().expect("an array").iter().filter_map(|peer| peer["id"].as_str());
        self.torrents = ids.map(str::to_owned).collect();
        assert_eq!(self.torrents.len(), TORRENTS);
    }

    /// What the tool answers to something that the page does not ask.
    pub fn asks(&self, arguments: &[&str]) -> Value {
        let mut mds = std::process::Command::new(binaries::mds());
        mds.current_dir(&self.place).arg("--json").args(arguments);
        let output = mds
            .env("MDS_ENDPOINT", format!("{}:7401", self.tracker.address))
            .output()
            .expect("the tool can be started");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mds {arguments:?}: {}\n{complained}", output.status);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Puts the file again if an example has removed it.
    fn has_the_file(&self) {
        if !self.settings.is_empty() && !self.asks(&["ls"]).to_string().contains(&self.digest) {
            let path = self.directory.path().join("user").join(FILE);
            self.asks(&["put", "--wait", "2", path.to_str().expect("UTF-8")]);
        }
    }

    /// A file of the user.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Fails unless this file has the content of [`FILE`].
    #[track_caller]
    pub fn is_the_file(&self, name: &str) {
        let copy = fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(copy == self.content, "{name} has {} other bytes", copy.len());
    }

    /// Half of the content, and not its bytes.
    pub fn half_marked(&self) -> Vec<u8> {
        vec![b'x'; self.content.len() / 2]
    }

    async fn events(&self, command: &str) {
        let mut child =
            self.shell(&self.script("exec ", command), None).spawn().expect("a shell can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut number = 0;
        eventually("a file is told of", async || {
            // It may not have listened yet when the last one was put.
            number += 1;
            let name = format!("news-{number}");
            fs::write(self.path(&name), &name).expect("there is room");
            self.asks(&["put", &name]);
            while let Ok(read) = timeout(std::time::Duration::from_secs(1), lines.next_line()).await {
                let line = read.expect("UTF-8").unwrap_or_else(|| panic!("{command} has ended"));
                if line.contains("  news-") {
                    return Some(());
                }
            }
            None
        })
        .await;
        assert_eq!(interrupt(child).await, Some(130));
    }

    async fn watch(&self, command: &str) {
        let mut child =
            self.shell(&self.script("exec ", command), None).spawn().expect("a shell can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let read = timeout(DEADLINE, lines.next_line()).await.expect("what lies there is put in time");
        let name = "incoming/new.tiles";
        let content = fs::read(self.path(name)).expect("it is there");
        assert_eq!(read.expect("UTF-8"), Some(format!("{}  {name}", digest(&content))));
        assert_eq!(interrupt(child).await, Some(0));
    }
}

/// The programs of this project first, as after an installation.
fn path(first: Option<&Path>) -> OsString {
    let ours = binaries::mds().parent().expect("a program is in a directory");
    let before = env::var_os("PATH").unwrap_or_default();
    let all = first.into_iter().map(Path::to_owned).chain([ours.to_owned()]).chain(env::split_paths(&before));
    env::join_paths(all).expect("no directory has a colon in its name")
}

/// Ctrl-C; gives the exit code.
async fn interrupt(mut child: Child) -> Option<i32> {
    let id = child.id().expect("it runs");
    kill_process(Pid::from_raw(id.cast_signed()).expect("a pid"), Signal::INT)
        .expect("a child can be signalled");
    timeout(DEADLINE, child.wait()).await.expect("it ends in time").expect("it can be waited for").code()
}
