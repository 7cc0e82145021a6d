//! What `[package.metadata.deb]` of the three programs says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mds_tests::binaries;
use toml::{Table, Value};

/// Where, for cargo-deb, cargo has put what it builds, wherever that really is.
const BUILT: &str = "target/release/";

/// What `packaging/documents` makes, as the assets name it.
const MADE: &str = "packaging/";

/// A Debian package.
pub struct Package {
    pub name: String,
    assets: Vec<Asset>,
    /// The settings that belong to the administrator: absolute paths.
    pub conf_files: Vec<String>,
    /// The file of the unit, where there is one.
    pub unit: Option<PathBuf>,
}

struct Asset {
    source: Source,
    /// Without the slash before it; with one behind it, it is a directory.
    destination: String,
    mode: u32,
}

enum Source {
    /// A program that cargo builds.
    Program(String),
    /// Below what `packaging/documents` makes.
    Made(String),
    /// In the repository.
    There(PathBuf),
}

/// A file that a package installs.
#[derive(Debug)]
pub struct Installed {
    pub source: PathBuf,
    pub mode: u32,
}

impl Package {
    /// The three packages.
    pub fn all() -> [Self; 3] {
        ["mds", "tracker", "torrent"].map(Self::of)
    }

    fn of(program: &str) -> Self {
        let crate_directory = root().join("crates").join(program);
        let manifest = fs::read_to_string(crate_directory.join("Cargo.toml")).unwrap();
        let manifest: Table = toml::from_str(&manifest).unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        let assets = deb["assets"].as_array().unwrap();
        Self {
            name: text(&deb["name"]),
            assets: assets.iter().map(|asset| Asset::of(asset, &crate_directory)).collect(),
            conf_files: deb
                .get("conf-files")
                .map_or_else(Vec::new, |files| files.as_array().unwrap().iter().map(text).collect()),
            unit: deb.get("systemd-units").map(|units| {
                let directory = crate_directory.join(text(&deb["maintainer-scripts"]));
                directory.join(format!("{}.service", text(&units["unit-name"])))
            }),
        }
    }

    /// What it installs, by path without the slash before it. `made` is where `packaging/documents` has put what it makes.
    pub fn installs(&self, made: &Path) -> BTreeMap<String, Installed> {
        let mut installed = BTreeMap::new();
        for asset in &self.assets {
            let sources = asset.source.files(made);
            assert!(!sources.is_empty(), "{}: nothing is there for {}", self.name, asset.destination);
            for source in sources {
                let name = source.file_name().unwrap().to_str().unwrap();
                let mut path = asset.destination.clone();
                if path.ends_with('/') {
                    path.push_str(name);
                }
                let before = installed.insert(path, Installed { source, mode: asset.mode });
                assert!(before.is_none(), "{}: two files for {}", self.name, asset.destination);
            }
        }
        installed
    }

    /// The names of its programs.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.assets.iter().filter_map(|asset| asset.destination.strip_prefix("usr/bin/"))
    }
}

impl Asset {
    fn of(asset: &Value, crate_directory: &Path) -> Self {
        let source = text(&asset["source"]);
        let source = match source.strip_prefix(BUILT) {
            Some(built) => match built.strip_prefix(MADE) {
                Some(made) => Source::Made(made.to_owned()),
                None => Source::Program(built.to_owned()),
            },
            None => Source::There(crate_directory.join(source)),
        };
        let mode = u32::from_str_radix(&text(&asset["mode"]), 8).unwrap();
        Self { source, destination: text(&asset["dest"]), mode }
    }
}

impl Source {
    fn files(&self, made: &Path) -> Vec<PathBuf> {
        match self {
            Self::Program(name) => {
                let built = [binaries::mds(), binaries::tracker(), binaries::torrent()];
                built.into_iter().filter(|path| path.ends_with(name)).map(Path::to_owned).collect()
            }
            Self::Made(pattern) => matching(&made.join(pattern)),
            Self::There(pattern) => matching(pattern),
        }
    }
}

/// The files that a pattern stands for, which may have one `*` in its last component.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap().to_str().unwrap();
    let (begin, end) = name.split_once('*').map_or((name, None), |(begin, end)| (begin, Some(end)));
    let entries = fs::read_dir(pattern.parent().unwrap()).into_iter().flatten();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix(begin)
                .is_some_and(|rest| end.map_or(rest.is_empty(), |end| rest.ends_with(end)))
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Where the repository is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
