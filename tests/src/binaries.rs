//! The project's programs, built once for each run of a test binary.
//!
//! Cargo builds the programs of a package for that package's own tests only. So the first test that needs one asks
//! cargo for all three, into the target directory and with the profile that the test itself was built with: where
//! they are up to date already that takes a fraction of a second.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The programs, and the packages that they are in.
const PROGRAMS: [&str; 3] = ["tracker", "torrent", "mds"];

/// The `tracker` daemon.
///
/// # Panics
/// If the programs cannot be built; the message holds what the compiler says.
#[must_use]
pub fn tracker() -> &'static Path {
    program("tracker")
}

/// The `torrent` daemon.
///
/// # Panics
/// As [`tracker()`].
#[must_use]
pub fn torrent() -> &'static Path {
    program("torrent")
}

/// The `mds` tool.
///
/// # Panics
/// As [`tracker()`].
#[must_use]
pub fn mds() -> &'static Path {
    program("mds")
}

fn program(name: &str) -> &'static Path {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(build)
        .iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
        .unwrap_or_else(|| panic!("cargo built no program {name:?}"))
}

/// Builds all of them and gives their paths.
fn build() -> Vec<PathBuf> {
    let place = Place::of_this_test();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--bins", "--locked"]);
    // Fetches what is missing: a test that runs alone was compiled without what the programs need besides.
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.arg("--profile").arg(&place.profile).arg("--target-dir").arg(&place.target_directory);
    if let Some(triple) = &place.triple {
        cargo.arg("--target").arg(triple);
    }
    for package in PROGRAMS {
        cargo.args(["--package", package]);
    }
    forget_the_test(&mut cargo);
    let output = cargo
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{cargo:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs cannot be built ({cargo:?}):\n{said}");
    String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect()
}

/// What cargo tells a test of itself is not about the packages that a command of the test builds: with it all would be built anew.
pub fn forget_the_test(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
}

/// The program that a message of cargo is about.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}

/// Where and how the running test was built.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    target_directory: PathBuf,
    triple: Option<String>,
    profile: String,
}

impl Place {
    fn of_this_test() -> Self {
        let executable = env::current_exe().expect("a running test knows its own path");
        Self::of(&executable, |directory| directory.join("CACHEDIR.TAG").is_file())
    }

    /// `TARGET/[TRIPLE/]PROFILE/[deps/]PROGRAM`; cargo puts a tag into the target directory.
    fn of(executable: &Path, is_target_directory: impl Fn(&Path) -> bool) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let directory = executable.parent();
        let is_test = directory.is_some_and(|directory| directory.ends_with("deps"));
        let profile_directory = if is_test { directory.and_then(Path::parent) } else { directory };
        let outside = profile_directory.and_then(Path::parent);
        let (Some(profile_directory), Some(outside)) = (profile_directory, outside) else {
            panic!("{} is not where cargo puts tests", executable.display());
        };
        let (target_directory, triple) = match outside.parent() {
            Some(target_directory)
                if !is_target_directory(outside) && is_target_directory(target_directory) =>
            {
                (target_directory, name(outside))
            }
            _ => (outside, None),
        };
        let profile = name(profile_directory).unwrap_or_default();
        // The one profile whose directory has another name.
        let profile = if profile == "debug" { "dev".to_owned() } else { profile };
        Self { target_directory: target_directory.to_owned(), triple, profile }
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the test kit is a member of the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(executable: &str) -> (String, Option<String>, String) {
        let Place { target_directory, triple, profile } =
            Place::of(Path::new(executable), |directory| directory == Path::new("/x/target"));
        (target_directory.display().to_string(), triple, profile)
    }

    #[test]
    fn profile_target_and_target_directory_are_those_of_the_test() {
        let target = || "/x/target".to_owned();
        assert_eq!(place("/x/target/debug/deps/daemons-1"), (target(), None, "dev".to_owned()));
        assert_eq!(place("/x/target/release/deps/daemons-1"), (target(), None, "release".to_owned()));
        assert_eq!(place("/x/target/debug/soak"), (target(), None, "dev".to_owned()));
        let triple = Some("x86_64-unknown-linux-gnu".to_owned());
        let cross = place("/x/target/x86_64-unknown-linux-gnu/debug/deps/daemons-1");
        assert_eq!(cross, (target(), triple, "dev".to_owned()));
    }
}
