//! Real brokers that are Debian packages, each started from the configuration that this project recommends for it.
//!
//! A test says `needs_program!(…)` first: where the package is not installed it is skipped aloud, or, with `MDS_REQUIRE_BROKERS` set, fails.

pub mod nats;
mod process;
pub mod rabbitmq;
pub mod shared;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;

/// Where Debian installs servers; not on the `PATH` of every user.
const DEBIAN_DIRECTORY: &str = "/usr/sbin";

/// Debian's RabbitMQ itself; what has the same name on the `PATH` starts it as another user.
const RABBITMQ_DIRECTORY: &str = "/usr/lib/rabbitmq/bin";

/// A program of others that tests may ask for, most often a broker: how it is called, its program, the package that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// How it calls itself.
    pub name: &'static str,
    /// Its program.
    pub program: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

impl Package {
    /// The program's path, if it is installed.
    #[must_use]
    pub fn find(&self) -> Option<PathBuf> {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        std::iter::once(PathBuf::from(RABBITMQ_DIRECTORY))
            .chain(std::env::split_paths(&on_path))
            .chain([PathBuf::from(DEBIAN_DIRECTORY)])
            .map(|directory| directory.join(self.program))
            .find(|candidate| candidate.is_file())
    }

    /// Whether it is installed. If not, says on standard error that the calling test is skipped, past the capturing of the test
    /// harness; with `MDS_REQUIRE_BROKERS` set, as in CI, it panics instead. See [`needs_program`](crate::needs_program).
    ///
    /// # Panics
    /// If it is missing and may not be.
    #[must_use]
    pub fn is_installed_or_skip(&self) -> bool {
        if self.find().is_some() {
            return true;
        }
        let Self { name, package, .. } = self;
        let test = thread::current().name().unwrap_or("a test").to_owned();
        assert!(
            std::env::var_os("MDS_REQUIRE_BROKERS").is_none(),
            "{test} needs {name}, which is not installed: run `apt-get install {package}`"
        );
        let notice = format!("SKIPPED {test}: {name} is not installed (apt-get install {package})\n");
        // Nothing to be done about a standard error that is closed.
        let _ = io::stderr().write_all(notice.as_bytes());
        false
    }
}

/// Ends a test here, aloud, where this [`Package`](crate::brokers::Package) is not installed.
#[macro_export]
macro_rules! needs_program {
    ($package:expr) => {
        if !$package.is_installed_or_skip() {
            return;
        }
    };
}

/// What a restart does to what the broker knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It ends as an administrator ends it, and finds everything again that it keeps.
    Kept,
    /// It dies, and its data are deleted.
    Lost,
}

/// A file of `config/`, as it is shipped.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn shipped(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The configuration with other values: a line that begins (after spaces) with a key is replaced by the line beside it, which may be empty.
///
/// # Panics
/// If a key is not there: then the test would not run what is shipped.
#[must_use]
pub fn with_lines(configuration: &str, replaced: &[(&str, String)]) -> String {
    let mut lines: Vec<String> = configuration.lines().map(str::to_owned).collect();
    for (key, with) in replaced {
        let line = lines.iter_mut().find(|line| line.trim_start().starts_with(key));
        with.clone_into(line.unwrap_or_else(|| panic!("no line begins with {key:?} in:\n{configuration}")));
    }
    lines.join("\n") + "\n"
}

fn free_port(ip: Ipv4Addr) -> u16 {
    let address = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
    address.unwrap_or_else(|error| panic!("there is no free port on the loopback interface: {error}")).port()
}
