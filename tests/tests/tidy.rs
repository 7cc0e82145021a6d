//! The house rules that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that is longer holds more than one conversation.
const MAX_LINES: usize = 600;

/// What the pure crates may stand on, directly or not: words, numbers, hashes and encodings, and what generates code for them.
const PURE: &[&str] = &[
    "base64-simd",
    "block-buffer",
    "bytes",
    "cfg-if",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "digest",
    "distribution",
    "hybrid-array",
    "itoa",
    "libc",
    "memchr",
    "outref",
    "proc-macro2",
    "protocol",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "sha2",
    "smallvec",
    "syn",
    "thiserror",
    "thiserror-impl",
    "typenum",
    "unicode-ident",
    "uuid",
    "vsimd",
    "zmij",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|has| has == extension) {
            found.push(path);
        }
    }
}

fn sources(extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), extension, &mut found);
    assert!(!found.is_empty());
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("UTF-8"))).collect()
}

#[test]
fn no_file_holds_more_than_one_conversation() {
    // What is generated is for nobody to read.
    let long: Vec<String> = sources("rs")
        .iter()
        .filter(|(path, _)| !path.components().any(|component| component.as_os_str() == "generated"))
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "split these by conversation (at most {MAX_LINES} lines):\n{}", long.join("\n"));
}

#[test]
fn the_pure_crates_depend_on_no_io() {
    for pure in ["protocol", "distribution"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--prefix", "none", "--edges", "normal", "--package", pure])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("UTF-8");
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let impure: Vec<_> = names.iter().filter(|name| !PURE.contains(name)).collect();
        assert!(names.contains(pure) && impure.is_empty(), "{pure} must not depend on {impure:?}");
    }
}

#[test]
fn dependencies_point_down_only() {
    let layers = [
        ("protocol", vec![]),
        ("distribution", vec!["protocol"]),
        ("bus", vec![]),
        ("broker", vec![]),
        ("malloc", vec![]),
        ("storage", vec!["distribution", "protocol"]),
        ("endpoint", vec!["distribution", "protocol"]),
        ("daemon", vec!["bus", "distribution", "endpoint", "protocol", "storage"]),
        ("torrent", vec!["bus", "daemon", "distribution", "endpoint", "malloc", "protocol", "storage"]),
        ("tracker", vec!["bus", "daemon", "distribution", "endpoint", "malloc", "protocol", "storage"]),
        ("mds", vec!["broker", "daemon", "endpoint", "malloc", "protocol", "torrent", "tracker"]),
    ];
    let ours: BTreeSet<&str> = layers.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in &layers {
        let manifest =
            fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = toml::from_str(&manifest).expect("TOML");
        let none = toml::Table::new();
        let dependencies =
            manifest.get("dependencies").map_or(&none, |table| table.as_table().expect("a table"));
        let used: Vec<&String> = dependencies.keys().filter(|key| ours.contains(key.as_str())).collect();
        let wrong: Vec<_> = used.iter().filter(|key| !allowed.contains(&key.as_str())).collect();
        assert!(
            wrong.is_empty(),
            "a new arrow between crates is a design change: {name} -> {wrong:?}; see ARCHITECTURE.md"
        );
    }
}

#[test]
fn only_storage_names_the_engine_and_only_bus_the_client() {
    for (path, text) in sources("toml") {
        let owner =
            path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let uses = |name: &str| {
            let table: toml::Table = toml::from_str(&text).expect("TOML");
            let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
            dependencies.is_some_and(|dependencies| dependencies.contains_key(name))
        };
        assert!(owner == "storage" || !uses("sled"), "{} depends on sled", path.display());
        assert!(
            owner == "bus" || owner == "tests" || !uses("rumqttc"),
            "{} depends on rumqttc",
            path.display()
        );
    }
}

#[test]
fn ci_runs_the_two_commands_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    for (told, run) in [
        ("cargo run -p mds -- demo", "cargo run --locked -p mds -- demo --once"),
        ("cargo test --workspace", "cargo test --workspace --locked"),
    ] {
        assert!(readme.contains(told), "README.md does not tell `{told}`");
        assert!(ci.lines().any(|line| line == run), ".ci/run does not run `{run}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (path, text) in sources("md") {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let place = path.parent().expect("a file is in a directory").join(target);
            assert!(place.exists(), "{}: the link to {link} leads nowhere", path.display());
        }
    }
}
