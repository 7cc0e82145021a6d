//! Every event has a committed example of what stands on the bus, in full and as one who knows only the specification writes it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use protocol::{DecodeError, EventKind, Limits, Role, Topics, decode};
use serde_json::Value;

use crate::samples::{self, Said};

fn golden(file: &str) -> String {
    let path = directory().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Decodes to `said` on the shared topic (if somebody is named) and on the direct one (if there is one), and is what `said` encodes to.
fn check(kind: EventKind, text: &str, said: &Said) {
    let topics = Topics::new("").unwrap();
    let limits = Limits::default();
    let anonymous = matches!(said, Said::Torrent(envelope, _) if envelope.client_identifier.is_none());

    let heard = decode(&topics, &limits, &topics.shared(kind), text.as_bytes());
    if anonymous {
        assert!(matches!(heard, Err(DecodeError::Unattributed { .. })), "{kind}: {heard:?}");
    } else {
        assert_eq!(heard.unwrap(), said.heard(None), "{kind}");
    }
    if kind.has_direct_topic() {
        let owner = samples::speaker();
        let heard = decode(&topics, &limits, &topics.direct(kind, &owner), text.as_bytes());
        assert_eq!(heard.unwrap(), said.heard(Some(&owner)), "{kind}");
    }

    let written: Value = serde_json::from_slice(&said.encode()).unwrap();
    let expected: Value = serde_json::from_str(text).unwrap();
    assert_eq!(written, expected, "{kind}: written (left) is not the golden file (right)");
}

#[test]
fn every_event_reads_and_writes_as_its_golden_file() {
    for &kind in EventKind::ALL {
        check(kind, &golden(&format!("{kind}.json")), &samples::full(kind));
    }
}

#[test]
fn every_event_of_one_who_knows_only_the_specification_reads_and_writes_as_its_golden_file() {
    for &kind in EventKind::ALL.iter().filter(|kind| kind.is_specified()) {
        check(kind, &golden(&format!("{kind}.spec-only.json")), &samples::spec_only(kind));
    }
}

#[test]
fn one_who_knows_only_the_specification_is_attributed_by_its_client_identifier() {
    let topics = Topics::new("").unwrap();
    let from_torrents = EventKind::ALL.iter().filter(|kind| kind.issuer() == Role::Torrent);
    for &kind in from_torrents.filter(|kind| kind.is_specified()) {
        let mut event: Value = serde_json::from_str(&golden(&format!("{kind}.spec-only.json"))).unwrap();
        event["ClientIdentifier"] = "torrent-3".into();
        let heard = decode(&topics, &Limits::default(), &topics.shared(kind), event.to_string().as_bytes());
        let mut said = samples::spec_only(kind);
        if let Said::Torrent(envelope, _) = &mut said {
            envelope.client_identifier = Some(samples::speaker());
        }
        assert_eq!(heard.unwrap(), said.heard(None), "{kind}");
    }
}

#[test]
fn there_is_a_golden_file_for_every_event_and_no_other() {
    let files: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let specified = EventKind::ALL.iter().filter(|kind| kind.is_specified());
    let expected: BTreeSet<String> = EventKind::ALL
        .iter()
        .map(|kind| format!("{kind}.json"))
        .chain(specified.map(|kind| format!("{kind}.spec-only.json")))
        .collect();
    assert_eq!(files, expected);
    assert_eq!(files.len(), 19 + 16);
}

#[test]
fn a_fragment_is_named_by_the_sha_256_of_its_bytes() {
    let published: Value = serde_json::from_str(&golden("FileInfoPublished.json")).unwrap();
    // (head -c 262144 /dev/zero; echo the end) | sha256sum
    assert_eq!(published["Hash"], "b3e87f78c0a2d24a7f14ede22dc893fd6bbb92cefec50a5aedfa5804233f036b");
    let delivered: Value = serde_json::from_str(&golden("FragmentDistributionDelivered.json")).unwrap();
    // echo the end | base64; echo the end | sha256sum
    assert_eq!(delivered["Data"], "dGhlIGVuZAo=");
    assert_eq!(delivered["Hash"], "00df70a2ec5a8bfe4e68d00aba75792b839ea84aa70aa1dd4dfe0e7116e253cc");
}
