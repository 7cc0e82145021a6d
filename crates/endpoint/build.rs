//! Compiles `proto/` with protox: no `protoc` is needed. The descriptors are kept for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 5] = [
    "google/bytestream/bytestream.proto",
    "mds/v1/error_reason.proto",
    "mds/v1/resources.proto",
    "mds/v1/endpoint_service.proto",
    "mds/v1/tracker_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(FILES, [&proto])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // `bytes` fields as `Bytes`: a chunk is a slice of its fragment, not a copy of it.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
