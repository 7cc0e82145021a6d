//! The Debian packages: that their descriptions say what is there and belongs together, which needs nothing installed, and, where
//! `MDS_REQUIRE_PACKAGES` asks for it, that they are what they should be when they have been built.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod built;
mod manifest;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mds_tests::binaries;
use tempfile::TempDir;

use manifest::{Package, root};

/// What `packaging/documents` makes.
fn documents() -> TempDir {
    let made = TempDir::with_prefix("packages-").unwrap();
    output(Command::new(root().join("packaging/documents")).arg(binaries::mds()).arg(made.path()));
    made
}

/// What a command prints, which has to end well.
fn output(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let complained = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command:?}: {}\n{complained}", ran.status);
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn what_is_made_for_the_packages_is_what_they_install() {
    let made = documents();
    let mut installed = BTreeSet::new();
    for package in Package::all() {
        for (path, file) in package.installs(made.path()) {
            assert!(!path.starts_with('/'), "{path}");
            assert_eq!(file.mode, if path.starts_with("usr/bin/") { 0o755 } else { 0o644 }, "{path}");
            installed.insert(file.source);
        }
    }
    for package in fs::read_dir(made.path()).unwrap() {
        let package = package.unwrap().path();
        for directory in [package.clone(), package.join("man")] {
            for file in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                assert!(file.is_dir() || installed.contains(&file), "no package has {}", file.display());
            }
        }
    }
}

#[test]
fn no_file_is_in_two_packages() {
    let made = documents();
    let mut all = BTreeSet::new();
    for package in Package::all() {
        for path in package.installs(made.path()).into_keys() {
            assert!(all.insert(path.clone()), "another package has {path} besides {}", package.name);
        }
    }
}

#[test]
fn every_program_has_a_page_and_completions_of_its_name() {
    let made = documents();
    for package in Package::all() {
        let installed = package.installs(made.path());
        assert_eq!(package.programs().collect::<Vec<_>>(), [package.name.as_str()]);
        let name = &package.name;
        let source = |path: String| -> &Path {
            &installed.get(&path).unwrap_or_else(|| panic!("{name} does not install {path}")).source
        };
        let page =
            output(Command::new("gzip").arg("-dc").arg(source(format!("usr/share/man/man1/{name}.1.gz"))));
        let title = format!(".TH {name} 1");
        assert!(page.lines().any(|line| line.starts_with(&title)), "{name}:\n{page}");
        let bash = source(format!("usr/share/bash-completion/completions/{name}"));
        let completes = format!(". '{}' && complete -p {name}", bash.display());
        output(Command::new("bash").args(["-c", &completes]));
        let zsh = fs::read_to_string(source(format!("usr/share/zsh/vendor-completions/_{name}"))).unwrap();
        assert_eq!(zsh.lines().next(), Some(format!("#compdef {name}").as_str()));
        let fish = source(format!("usr/share/fish/vendor_completions.d/{name}.fish"));
        let fish = fs::read_to_string(fish).unwrap();
        assert!(fish.contains(&format!("complete -c {name} ")), "{fish}");
    }
}

#[test]
fn settings_are_the_administrators() {
    let made = documents();
    for package in Package::all() {
        let installed = package.installs(made.path());
        let settings = installed.keys().filter(|path| path.starts_with("etc/"));
        let settings: Vec<String> = settings.map(|path| format!("/{path}")).collect();
        assert_eq!(settings, package.conf_files, "{}", package.name);
    }
}

#[test]
fn a_unit_starts_what_its_package_installs() {
    let mut units = 0;
    let made = documents();
    for package in Package::all() {
        let Some(unit) = &package.unit else { continue };
        units += 1;
        assert_eq!(unit.file_stem().unwrap().to_str(), Some(package.name.as_str()));
        let unit = fs::read_to_string(unit).unwrap_or_else(|error| panic!("{}: {error}", unit.display()));
        let value = |key: &str| {
            let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("{}: the unit has no {key}", package.name))
        };
        let settings = format!("/etc/{}", value("ConfigurationDirectory"));
        let start = value("ExecStart").replace("${CONFIGURATION_DIRECTORY}", &settings);
        let [program, "--config", settings] = start.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{}: {start}", package.name)
        };
        let installed = package.installs(made.path());
        for path in [program, settings] {
            let path = path.strip_prefix('/').unwrap();
            assert!(installed.contains_key(path), "{} does not install {path}", package.name);
        }
    }
    assert_eq!(units, 2, "one for each daemon");
}
