//! The command line.

mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use protocol::{ClientId, EndpointUri};

use crate::exit::{Code, Failure};

pub use values::{ByteRange, Wait};

const DEFAULT_ENDPOINT: &str = "grpc://127.0.0.1:7401";

/// Put files into the network, get them from several torrents at once, and see where they are.
#[derive(Debug, Parser)]
#[command(name = "mds", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Any daemon of the network; repeat it or separate several by commas. All others are learnt from it.
    #[arg(
        long = "endpoint",
        value_name = "URI",
        env = "MDS_ENDPOINT",
        global = true,
        value_delimiter = ',',
        default_value = DEFAULT_ENDPOINT
    )]
    endpoints: Vec<String>,
    /// Answer in JSON, for programs; failures are one object on stderr.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
REF is a SHA-256 digest of 64 hex digits, with or without 'sha256:' before it; at least 8 first
digits of it; or the file's name. Digits and names must be unique.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 unreachable, 5 timed out, 6 digest mismatch,
7 partly done, 8 no space, 9 not allowed, 130 interrupted.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put files into the network; prints digest and name of each, like sha256sum.
    #[command(visible_alias = "upload")]
    Put(Put),
    /// Get a file, from all torrents that have it at once; each fragment and the whole are verified.
    #[command(visible_alias = "download")]
    Get(Get),
    /// List files: digest, size, state, copies, name.
    #[command(name = "ls", visible_alias = "list")]
    List(List),
    /// Show a file: its size, its fragments, who holds them.
    #[command(visible_alias = "stat")]
    Info(Info),
    /// Delete files, with the fragments that no other file uses. It cannot be undone.
    #[command(name = "rm", visible_alias = "delete")]
    Remove(Remove),
    /// List torrents: state, zone, used and capacity, fragments, last seen.
    Peers(Peers),
    /// Empty a torrent before it leaves for good: others get what it holds, and it is given nothing more.
    Drain(Drain),
    /// Say in one line whether all is well; exit code 0 ok, 1 degraded, 2 data unavailable.
    Status,
    /// Have all daemons verify what is on their disks; exit code 0 all good, 1 damage found, 4 a daemon was not reached.
    Verify(Verify),
    /// Follow what changes in the network, one line each, until Ctrl-C.
    Events(Events),
    /// Put whatever settles in a directory, until Ctrl-C.
    Watch(Watch),
    /// Run a broker, a tracker and three torrents, put a file, kill a torrent, get the file. Needs nothing installed.
    Demo(Demo),
    /// Print what a shell needs to complete command lines.
    Completions(Completions),
    /// Write the manual pages of all three programs into a directory.
    Man(Man),
    /// A tracker in this process; for the demo.
    #[command(hide = true)]
    Tracker(ChildTracker),
    /// A torrent in this process; for the demo.
    #[command(hide = true)]
    Torrent(ChildTorrent),
}

/// `mds put`.
#[derive(Debug, Args)]
pub struct Put {
    /// Files, directories with all files below them, or '-' for standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The name to give; only if there is one file. What comes from standard input has none otherwise.
    #[arg(long)]
    pub name: Option<String>,
    /// Wait until there are that many durable copies of every file; 'all' are as many as the network makes, see the tracker's --copies.
    #[arg(long, value_name = "N|all")]
    pub wait: Option<Wait>,
    /// How long --wait waits for one file before it gives up with exit code 5.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// `mds get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The file: digest, at least 8 first digits of it, or name.
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Where to write: a file, a directory, or '-' for standard output, which then has the bytes and no answer. By default the last part of the file's name.
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Overwrite what is there.
    #[arg(short, long)]
    pub force: bool,
    /// Only these bytes, as far as the file has them.
    #[arg(long, value_name = "OFFSET+LENGTH")]
    pub range: Option<ByteRange>,
}

/// `mds ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Only files whose name contains this.
    pub filter: Option<String>,
}

/// `mds info`.
#[derive(Debug, Args)]
pub struct Info {
    /// The file: digest, at least 8 first digits of it, or name.
    #[arg(value_name = "REF")]
    pub reference: String,
}

/// `mds peers`.
#[derive(Debug, Args)]
pub struct Peers {
    /// Only the torrents that hold fragments of this file.
    #[arg(value_name = "REF")]
    pub reference: Option<String>,
}

/// `mds verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Only these files: digest, at least 8 first digits of it, or name. By default everything that is on the disks.
    #[arg(value_name = "REF")]
    pub references: Vec<String>,
}

/// `mds events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Begin with what is there: every torrent and every file.
    #[arg(long)]
    pub state: bool,
}

/// `mds watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The directory. Files below it are named as 'put' names them; those that begin with a dot or end with .part are left out.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// How long size and time of a file must stand still before it is put.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// How often everything is looked through, for what the system did not tell.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    pub rescan: Duration,
    /// Where is kept what was put already; by default .mds-watch in the directory. Use another one for another network.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// `mds completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
    /// Of which program.
    #[arg(long, value_name = "PROGRAM", default_value = "mds")]
    pub program: Program,
    /// The daemons have the names that the Debian packages give them: mds-tracker and mds-torrent.
    #[arg(long)]
    pub packaged: bool,
}

/// The three programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The tool.
    Mds,
    /// The daemon that takes files.
    Tracker,
    /// The daemon that holds fragments.
    Torrent,
}

/// `mds man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; it is made if it is not there.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The daemons have the names that the Debian packages give them: mds-tracker and mds-torrent.
    #[arg(long)]
    pub packaged: bool,
}

/// `mds demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The file to put; by default one of 32 MiB is made.
    pub file: Option<PathBuf>,
    /// Keep everything in this directory; by default it is a temporary one that goes away.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// How many torrents.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub torrents: u32,
    /// End after the last step instead of leaving everything running; the exit code tells whether all went well.
    #[arg(long)]
    pub once: bool,
}

/// `mds rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The files: digest, at least 8 first digits of it, or name.
    #[arg(required = true, value_name = "REF")]
    pub references: Vec<String>,
}

/// `mds drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// The torrent's identifier, as 'mds peers' shows it.
    pub id: ClientId,
    /// Put it back into service instead.
    #[arg(long)]
    pub undo: bool,
    /// Do not wait until it is empty.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait before giving up with exit code 5; the tracker goes on.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// `mds tracker`.
#[derive(Debug, Args)]
pub struct ChildTracker {
    #[command(flatten)]
    pub child: Child,
    #[command(flatten)]
    pub arguments: tracker::config::Arguments,
}

/// `mds torrent`.
#[derive(Debug, Args)]
pub struct ChildTorrent {
    #[command(flatten)]
    pub child: Child,
    #[command(flatten)]
    pub arguments: torrent::config::Arguments,
}

/// What a daemon that is a child of the demo is told besides.
#[derive(Debug, Args)]
pub struct Child {
    /// End when standard input ends: then the parent is gone, however it went.
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
}

impl Cli {
    /// Reads the arguments of the process. Help and version come as a failure, too.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(only_shown_commands)
    }

    /// The endpoints to begin with.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn endpoints(&self) -> Result<Vec<EndpointUri>, Failure> {
        let told = self.endpoints.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        let endpoints: Vec<EndpointUri> = told.map(endpoint).collect::<Result<_, _>>()?;
        if endpoints.is_empty() { Ok(vec![endpoint(DEFAULT_ENDPOINT)?]) } else { Ok(endpoints) }
    }
}

/// The error without the commands that are not for users, which clap lists, too.
fn only_shown_commands(mut error: clap::Error) -> clap::Error {
    let command = Cli::command();
    let is_shown = |name: &String| command.find_subcommand(name).is_none_or(|command| !command.is_hide_set());
    for kind in [ContextKind::ValidSubcommand, ContextKind::SuggestedSubcommand] {
        if let Some(ContextValue::Strings(names)) = error.remove(kind) {
            let shown: Vec<String> = names.into_iter().filter(is_shown).collect();
            if !shown.is_empty() {
                error.insert(kind, ContextValue::Strings(shown));
            }
        }
    }
    error
}

/// Reads `grpc://host:port`; `host:port` alone will do.
fn endpoint(text: &str) -> Result<EndpointUri, Failure> {
    let parsed = if text.contains("://") { text.parse() } else { format!("grpc://{text}").parse() };
    let authority = |uri: &EndpointUri| uri.authority().map(|(_, with_tls)| with_tls);
    let why = match parsed.ok().map(|uri: EndpointUri| (authority(&uri), uri)) {
        Some((Some(false), uri)) => return Ok(uri),
        Some((Some(true), _)) => "wants TLS, which is not supported yet",
        Some((None, _)) | None => "cannot be dialled",
    };
    let shown: String = text.chars().take(100).collect();
    let message = format!("--endpoint {shown:?} {why}: use grpc://host:port");
    Err(Failure::new(Code::Usage, "INVALID_ENDPOINT", message))
}

#[cfg(test)]
mod tests;
