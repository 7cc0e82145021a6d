//! The packages as `packaging/deb` builds them. That takes minutes and needs cargo-deb, so it is done where `MDS_REQUIRE_PACKAGES` is set.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mds_tests::binaries;
use tempfile::TempDir;

use crate::manifest::{Package, root};
use crate::{documents, output};

/// What a package has besides what its description says: cargo-deb adds it.
fn added(package: &Package) -> Vec<String> {
    let name = &package.name;
    let unit = package.unit.as_ref().map(|_| format!("usr/lib/systemd/system/{name}.service"));
    unit.into_iter().chain([format!("usr/share/doc/{name}/copyright")]).collect()
}

#[test]
fn a_built_package_installs_what_its_description_says() {
    if env::var_os("MDS_REQUIRE_PACKAGES").is_none() {
        let text = "SKIPPED a_built_package_installs_what_its_description_says: MDS_REQUIRE_PACKAGES=1 builds the packages";
        // Nothing to be done about a standard error that is closed.
        let _ = writeln!(io::stderr(), "{text}");
        return;
    }
    let mut build = Command::new(root().join("packaging/deb"));
    binaries::forget_the_test(&mut build);
    let built = output(build.current_dir(root()));
    let built: BTreeMap<String, PathBuf> = built.lines().map(named).collect();
    let made = documents();
    for package in Package::all() {
        let deb = built.get(&package.name).unwrap_or_else(|| panic!("{} was not built", package.name));
        let unpacked = TempDir::with_prefix("package-").unwrap();
        output(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(unpacked.path()));
        holds_what_it_should(&package, unpacked.path(), made.path());
        its_settings_are_asked_about(&package, unpacked.path());
        its_programs_run(&package, unpacked.path());
    }
}

/// A package's name and its file.
fn named(deb: &str) -> (String, PathBuf) {
    let name = output(Command::new("dpkg-deb").args(["--field", deb, "Package"]).current_dir(root()));
    (name.trim().to_owned(), root().join(deb))
}

fn holds_what_it_should(package: &Package, unpacked: &Path, made: &Path) {
    let installed = package.installs(made);
    let wanted: BTreeSet<String> = installed.keys().cloned().chain(added(package)).collect();
    let mut there = BTreeSet::new();
    files(unpacked, unpacked, &mut there);
    assert_eq!(there, wanted, "{}", package.name);
    for (path, file) in installed {
        let mode = fs::metadata(unpacked.join(&path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, file.mode, "{path}");
    }
    if let Some(unit) = &package.unit {
        let packed = unpacked.join("usr/lib/systemd/system").join(unit.file_name().unwrap());
        assert_eq!(fs::read_to_string(packed).unwrap(), fs::read_to_string(unit).unwrap());
    }
}

/// The paths of the files below a directory, but for what is for dpkg.
fn files(directory: &Path, top: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path == top.join("DEBIAN") {
            continue;
        } else if path.is_dir() {
            files(&path, top, found);
        } else {
            found.insert(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn its_settings_are_asked_about(package: &Package, unpacked: &Path) {
    let conf_files = unpacked.join("DEBIAN/conffiles");
    let conf_files =
        if conf_files.exists() { fs::read_to_string(conf_files).unwrap() } else { String::new() };
    assert_eq!(conf_files.lines().collect::<Vec<_>>(), package.conf_files, "{}", package.name);
}

fn its_programs_run(package: &Package, unpacked: &Path) {
    for program in package.programs() {
        let version = output(Command::new(unpacked.join("usr/bin").join(program)).arg("--version"));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{program}: {version}");
    }
}
