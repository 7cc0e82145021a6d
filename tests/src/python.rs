//! The Python environment that `tests/python/prepare` makes, for tests of generated clients.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Its interpreter: `MDS_PYTHON`, or where `tests/python/prepare` makes it. None, and a notice, where there is none; with
/// `MDS_REQUIRE_PYTHON` set, as in CI, the calling test fails instead.
///
/// # Panics
/// If it is missing and may not be.
#[must_use]
pub fn interpreter_or_skip() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let prepared = || root.join(target).join("python/bin/python");
    let python = env::var_os("MDS_PYTHON").map_or_else(prepared, PathBuf::from);
    if python.exists() {
        return Some(python);
    }
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        env::var_os("MDS_REQUIRE_PYTHON").is_none(),
        "{test} needs the Python environment {}: run tests/python/prepare",
        python.display()
    );
    // Nothing to be done about a standard error that is closed.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: no Python environment (run tests/python/prepare)");
    None
}
