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
fn nothing_is_used_that_the_rules_forbid() {
    for file in our_files() {
        assert_eq!(file.syntax(), "proto3");
        assert!(file.public_dependency.is_empty() && file.weak_dependency.is_empty());
        let stem = file.name().rsplit('/').next().unwrap().strip_suffix(".proto").unwrap().to_owned();
        assert!(is_snake_case(&stem), "{stem}");
        for message in &file.message_type {
            assert!(message.nested_type.is_empty() && message.enum_type.is_empty(), "{}", message.name());
            assert!(
                message.oneof_decl.iter().all(|oneof| is_snake_case(oneof.name().trim_start_matches('_')))
            );
        }
        for enumeration in &file.enum_type {
            assert!(is_pascal_case(enumeration.name()), "{}", enumeration.name());
            assert_eq!(enumeration.value[0].number(), 0, "{}", enumeration.name());
            let numbers: HashSet<i32> = enumeration.value.iter().map(|value| value.number()).collect();
            assert_eq!(
                numbers.len(),
                enumeration.value.len(),
                "{} has two names for one",
                enumeration.name()
            );
            for value in &enumeration.value {
                assert!(is_snake_case(&value.name().to_ascii_lowercase()), "{}", value.name());
                assert_eq!(value.name(), value.name().to_ascii_uppercase());
            }
        }
        for service in &file.service {
            assert!(is_pascal_case(service.name()), "{}", service.name());
            assert!(service.method.iter().all(|method| is_pascal_case(method.name())), "{}", service.name());
        }
        // Every import is used.
        let types: HashSet<String> = file
            .message_type
            .iter()
            .flat_map(|message| &message.field)
            .map(|field| field.type_name().to_owned())
            .collect();
        let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        for import in &file.dependency {
            let imported = all.file.iter().find(|file| file.name() == import).unwrap();
            let names = imported.message_type.iter().map(|message| message.name());
            let names = names.chain(imported.enum_type.iter().map(|enumeration| enumeration.name()));
            let mut names = names.map(|name| format!(".{}.{name}", imported.package()));
            assert!(names.any(|name| types.contains(&name)), "{} does not use {import}", file.name());
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
        Refusal::BlobNotFound { digest: hash, size_bytes: 1 },
        Refusal::FileDoesNotFit { needed_bytes: 2, free_bytes: 1, place: "the tracker" },
        Refusal::FileTooLarge("too large".into()),
        Refusal::ServerNotFound("t1".parse().unwrap()),
        Refusal::FragmentNotHeld(hash),
        Refusal::NoReachableHolder { file: hash, fragments: vec![hash] },
        Refusal::StoredBytesDamaged(hash),
        Refusal::StoreFailed(hash),
        Refusal::StoreUnusable,
        Refusal::MessageTooLarge("too large".into()),
        Refusal::MalformedMessage("malformed".into()),
        Refusal::UnknownMethod,
        Refusal::UnknownEncoding("compressed".into()),
        Refusal::OnlyAtTracker { tracker_endpoints: vec!["grpc://tracker:7401".parse().unwrap()] },
        Refusal::ShuttingDown,
        Refusal::Busy { retry_after: Duration::from_secs(1) },
        Refusal::UploadNotFound("uploads/x".into()),
        Refusal::UploadClosed { upload: "uploads/x".into(), state: UploadState::Complete },
        Refusal::DigestMismatch { expected: hash, actual: hash },
        Refusal::SizeMismatch { expected_bytes: 1, actual_bytes: 2 },
        Refusal::WrongFragmentSize { expected_bytes: 1, actual_bytes: 2 },
        Refusal::FragmentsMissing(vec![hash]),
        Refusal::BytesMissing { first_missing_offset: 1 },
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
        for refusal in refusals.iter().filter(|refusal| refusal.reason() == reason) {
            let status = Status::from(refusal.clone());
            let info = status.get_details_error_info().unwrap();
            for key in info.metadata.keys() {
                assert!(comment.contains(&format!("`{key}`")), "{}: {key} is not documented", value.name());
            }
        }
    }
}

/// The kinds of details that a status carries beside `ErrorInfo`.
fn kinds_of_details(status: &Status) -> Vec<&'static str> {
    let details = status.get_error_details();
    let kinds = [
        ("BadRequest", details.bad_request().is_some()),
        ("PreconditionFailure", details.precondition_failure().is_some()),
        ("QuotaFailure", details.quota_failure().is_some()),
        ("ResourceInfo", details.resource_info().is_some()),
        ("RetryInfo", details.retry_info().is_some()),
    ];
    kinds.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect()
}

#[test]
fn the_page_on_grpc_lists_every_reason_with_its_code_and_details() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grpc.md");
    let page = std::fs::read_to_string(page).unwrap();
    let refusals = one_refusal_of_each_kind();
    let mut missing = Vec::new();
    for refusal in &refusals {
        // One reason may come with a resource and without.
        let same = refusals.iter().filter(|other| other.reason() == refusal.reason());
        let kinds: std::collections::BTreeSet<&str> =
            same.flat_map(|refusal| kinds_of_details(&Status::from(refusal.clone()))).collect();
        let kinds: Vec<&str> = if kinds.is_empty() { vec!["none"] } else { kinds.into_iter().collect() };
        let reason = endpoint::errors::reason_text(refusal.reason());
        let row = format!("| `{reason}` | `{}` | {} |", code_name(refusal.code()), kinds.join(", "));
        if !page.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/grpc.md lacks:\n{}", missing.join("\n"));
}
