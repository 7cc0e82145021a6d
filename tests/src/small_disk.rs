//! A disk that is soon full: a tmpfs of its own, which only root may mount.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

/// A file system of a few MiB. It is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many bytes. None where that is not allowed: then it says on standard error that the calling test is skipped; with
    /// `MDS_REQUIRE_MOUNTS` set it panics instead.
    ///
    /// # Panics
    /// If it may not be mounted and must be.
    #[must_use]
    pub fn mount_or_skip(size_bytes: u64) -> Option<Self> {
        let directory = TempDir::with_prefix("small-disk-").expect("a temporary directory can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "tmpfs"]).arg(directory.path());
        let why = match mount.output() {
            Ok(output) if output.status.success() => return Some(Self { directory }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let test = thread::current().name().unwrap_or("a test").to_owned();
        assert!(
            std::env::var_os("MDS_REQUIRE_MOUNTS").is_none(),
            "{test} needs a small disk, and a tmpfs cannot be mounted: {why}"
        );
        let notice = format!("SKIPPED {test}: a tmpfs cannot be mounted here: {why}\n");
        // Nothing to be done about a standard error that is closed.
        let _ = io::stderr().write_all(notice.as_bytes());
        None
    }

    /// A data directory on it, not there yet.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }

    /// Somebody else takes all space that is left.
    ///
    /// # Panics
    /// If it does not become full.
    pub fn fill(&self) {
        let mut file =
            File::options().append(true).create(true).open(self.ballast()).expect("a file can be made");
        for block in [1 << 20, 4096] {
            let zeros = vec![0; block];
            while file.write_all(&zeros).is_ok() {}
        }
        assert!(
            fs::metadata(self.ballast()).is_ok_and(|ballast| ballast.len() > 0),
            "there was no space left"
        );
    }

    /// Somebody else's file goes away.
    ///
    /// # Panics
    /// If it cannot be removed.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast is there");
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon that is just being killed may have a file open.
        let unmounted = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.directory.path().display());
        }
    }
}
