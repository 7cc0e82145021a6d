//! What is generated from `proto/` is checked in, so that nobody who builds the programs builds a compiler for it first
//! (`docs/decisions/generated-code.md`). Here it is compared with `proto/`; with `MDS_UPDATE_GOLDEN=1` it is written anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use tempfile::TempDir;

const FILES: [&str; 5] = [
    "google/bytestream/bytestream.proto",
    "mds/v1/error_reason.proto",
    "mds/v1/resources.proto",
    "mds/v1/endpoint_service.proto",
    "mds/v1/tracker_service.proto",
];

#[test]
fn the_generated_code_is_that_of_the_proto_files() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = TempDir::new().unwrap();
    generate(&crate_directory.join("../../proto"), made.path());
    let kept = crate_directory.join("src/generated");
    let is_to_be_updated = env::var_os("MDS_UPDATE_GOLDEN").is_some();
    for (name, content) in contents(made.path()) {
        if is_to_be_updated {
            fs::write(kept.join(name), content).unwrap();
        }
    }
    let (made, kept) = (contents(made.path()), contents(&kept));
    let names = |of: &BTreeMap<OsString, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kept), names(&made), "the files of src/generated");
    let other = made.iter().find(|(name, content)| kept[*name] != **content).map(|(name, _)| name);
    assert_eq!(other, None, "it is not what proto/ says: run again with MDS_UPDATE_GOLDEN=1");
}

#[test]
fn every_proto_file_is_compiled() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut found = Vec::new();
    gather(&proto, &mut found);
    found.sort();
    let mut compiled = FILES.map(|file| proto.join(file));
    compiled.sort();
    assert_eq!(found, compiled);
}

fn contents(directory: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

/// Compiles `proto` with protox, for which no `protoc` is needed. The descriptors are kept for reflection.
fn generate(proto: &Path, out: &Path) {
    let descriptors = protox::compile(FILES, [proto]).unwrap();
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).unwrap();
    // `bytes` fields as `Bytes`: a chunk is a slice of its fragment, not a copy of it.
    tonic_prost_build::configure().bytes(".").out_dir(out).compile_fds(descriptors).unwrap();
}

fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
}
