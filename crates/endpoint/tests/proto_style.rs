//! The rules of buf's STANDARD and COMMENTS categories that `proto/` could break, looked up in the compiled descriptors: so that they hold
//! also where `buf` cannot be had.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use endpoint::Refusal;
use endpoint::proto::{DESCRIPTORS, ErrorReason, UploadState};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use protocol::Hash;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn our_files() -> Vec<FileDescriptorProto> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let ours: Vec<_> = all.file.into_iter().filter(|file| file.package() == "mds.v1").collect();
    assert_eq!(ours.len(), 4);
    ours
}

fn is_snake_case(name: &str) -> bool {
    !name.starts_with('_')
        && !name.ends_with('_')
        && !name.contains("__")
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn is_pascal_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `FileState` as `FILE_STATE`.
fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// All elements of a file by their path, as `SourceCodeInfo` counts, and their names.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let index = |at: usize| i32::try_from(at).unwrap();
    let mut elements = Vec::new();
    for (at, message) in file.message_type.iter().enumerate() {
        elements.push((vec![4, index(at)], message.name().to_owned()));
        for (field_at, field) in message.field.iter().enumerate() {
            let name = format!("{}.{}", message.name(), field.name());
            elements.push((vec![4, index(at), 2, index(field_at)], name));
        }
    }
    for (at, enumeration) in file.enum_type.iter().enumerate() {
        elements.push((vec![5, index(at)], enumeration.name().to_owned()));
        for (value_at, value) in enumeration.value.iter().enumerate() {
            elements.push((vec![5, index(at), 2, index(value_at)], value.name().to_owned()));
        }
    }
    for (at, service) in file.service.iter().enumerate() {
        elements.push((vec![6, index(at)], service.name().to_owned()));
        for (method_at, method) in service.method.iter().enumerate() {
            elements.push((vec![6, index(at), 2, index(method_at)], method.name().to_owned()));
        }
    }
    elements
}

#[test]
fn everything_is_commented() {
    for file in our_files() {
        let locations = &file.source_code_info.as_ref().unwrap().location;
        let commented: HashSet<&[i32]> = locations
            .iter()
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path.as_slice())
            .collect();
        for (path, name) in elements(&file) {
            assert!(commented.contains(path.as_slice()), "{}: {name} has no comment", file.name());
        }
    }
}

#[test]
fn names_follow_the_style() {
    for file in our_files() {
        assert!(file.name().starts_with("mds/v1/"), "the directory is the package");
        for message in &file.message_type {
            assert!(is_pascal_case(message.name()), "{}", message.name());
            for field in &message.field {
                assert!(is_snake_case(field.name()), "{}.{}", message.name(), field.name());
            }
        }
        for enumeration in &file.enum_type {
            let prefix = format!("{}_", upper_snake(enumeration.name()));
            assert!(enumeration.value.iter().all(|value| value.name().starts_with(&prefix)), "{prefix}");
            let zero = enumeration.value.iter().find(|value| value.number() == 0).unwrap();
            assert_eq!(zero.name(), format!("{prefix}UNSPECIFIED"));
        }
    }
}

#[test]
fn every_method_has_its_own_request_and_response() {
    let files = our_files();
    let messages: HashMap<String, &DescriptorProto> = files
        .iter()
        .flat_map(|file| &file.message_type)
        .map(|message| (format!(".mds.v1.{}", message.name()), message))
        .collect();
    let mut used = HashSet::new();
    for service in files.iter().flat_map(|file| &file.service) {
        assert!(service.name().ends_with("Service"), "{}", service.name());
        for method in &service.method {
            assert_eq!(method.input_type(), format!(".mds.v1.{}Request", method.name()));
            assert_eq!(method.output_type(), format!(".mds.v1.{}Response", method.name()));
            for name in [method.input_type(), method.output_type()] {
                assert!(messages.contains_key(name) && used.insert(name.to_owned()), "{name} is used twice");
            }
        }
    }
}

/// The status codes as the comments of the reasons write them.
fn code_name(code: Code) -> String {
    upper_snake(&format!("{code:?}"))
}

fn one_refusal_of_each_kind() -> Vec<Refusal> {
    let hash = Hash::of(b"x");
    vec![
        Refusal::InvalidField { field: "name", problem: "is bad".into() },
        Refusal::invalid_digest("name", "bad"),
        Refusal::InvalidPageToken,
        Refusal::InvalidCursor,
        Refusal::NegativeLimit { read_limit: -1 },
        Refusal::OffsetOutOfRange { read_offset: 1, size_bytes: 0 },
        Refusal::TooMany { field: "digests", number: 2, limit: 1 },
        Refusal::FileNotFound(hash),
        Refusal::ServerNotFound("t1".parse().unwrap()),
        Refusal::FragmentNotHeld(hash),
        Refusal::NoReachableHolder { file: hash, fragments: vec![hash] },
        Refusal::StoredBytesDamaged(hash),
        Refusal::StoreFailed(hash),
        Refusal::StoreUnusable,
        Refusal::ShuttingDown,
        Refusal::Busy { retry_after: Duration::from_secs(1) },
        Refusal::UploadNotFound("uploads/x".into()),
        Refusal::UploadClosed { upload: "uploads/x".into(), state: UploadState::Complete },
        Refusal::DigestMismatch { expected: hash, actual: hash },
        Refusal::SizeMismatch { expected_bytes: 1, actual_bytes: 2 },
        Refusal::WrongFragmentSize { expected_bytes: 1, actual_bytes: 2 },
        Refusal::FragmentsMissing(vec![hash]),
        Refusal::WrongWriteOffset { expected: 1, actual: 2 },
        Refusal::NoSpace,
        Refusal::TooManyUploads { limit: 1 },
        Refusal::TooFewTorrents { registered: 1, wanted: 2 },
        Refusal::NoBroker,
        Refusal::RequestIdReused("x".into()),
    ]
}

#[test]
fn every_reason_comes_with_the_status_that_its_comment_says() {
    let files = our_files();
    let file = files.iter().find(|file| file.name() == "mds/v1/error_reason.proto").unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let refusals = one_refusal_of_each_kind();
    for (at, value) in file.enum_type[0].value.iter().enumerate().skip(1) {
        let reason = ErrorReason::from_str_name(value.name()).unwrap();
        let path = [5, 0, 2, i32::try_from(at).unwrap()];
        let comment = locations.iter().find(|location| location.path == path).unwrap().leading_comments();
        let documented = comment.trim().split('.').next().unwrap();
        let mut codes = refusals.iter().filter(|refusal| refusal.reason() == reason).map(Refusal::code);
        let code = codes.next().unwrap_or_else(|| panic!("{} is never given", value.name()));
        assert_eq!(code_name(code), documented, "{}", value.name());
        assert!(codes.all(|other| other == code));
        // What the comment calls metadata is there.
        let status =
            Status::from(refusals.iter().find(|refusal| refusal.reason() == reason).unwrap().clone());
        let info = status.get_details_error_info().unwrap();
        for key in info.metadata.keys() {
            assert!(comment.contains(&format!("`{key}`")), "{}: {key} is not documented", value.name());
        }
    }
}
