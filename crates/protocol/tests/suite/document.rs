//! `docs/protocol.md` says what the code does: its tables, its limits and its examples.

use std::collections::BTreeSet;
use std::path::PathBuf;

use protocol::endpoint_uri::MAX_ENDPOINT_BYTES;
use protocol::file_name::MAX_FILE_NAME_BYTES;
use protocol::ids::MAX_CLIENT_ID_BYTES;
use protocol::limits::{
    DEFAULT_FRAGMENT_SIZE_BYTES, MAX_FRAGMENT_SIZE_BYTES, MAX_SHORT_EVENT_BYTES, MAX_TEXT_BYTES,
    MIN_FRAGMENT_SIZE_BYTES,
};
use protocol::zone::MAX_ZONE_BYTES;
use protocol::{ClientId, EventKind, Feature, Limits, Role, Topics};
use serde_json::Value;

use crate::specification::{Property, Type, body, envelope, nested};

fn file(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document() -> String {
    file("../../docs/protocol.md")
}

/// The text under `heading`, up to the next one.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no section {heading:?}"));
    let text = &document[start + heading.len() + 2..];
    let end = ["\n## ", "\n### "].iter().filter_map(|next| text.find(next)).min();
    &text[..end.unwrap_or(text.len())]
}

/// The rows of the tables in `text`, without headers, cell by cell.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(line) = line.strip_prefix('|') else { continue };
        if line.starts_with("---") || lines.peek().is_some_and(|next| next.starts_with("|---")) {
            continue;
        }
        rows.push(line.trim_end_matches('|').split('|').map(str::trim).collect());
    }
    rows
}

fn name(data: Type) -> &'static str {
    match data {
        Type::Guid => "GUID",
        Type::Text | Type::Name | Type::Zone => "String",
        Type::Client => "Identifier",
        Type::HashName => "Hash",
        Type::Int64 => "Int64",
        Type::Bytes => "byte[]",
        Type::Code => "ClientJoinDeniedCode",
        Type::HashSet => "set of Hash",
        Type::HashSequence => "sequence of Hash",
        Type::ClientSet => "set of Identifier",
        Type::EndpointSet => "set of Uri",
        Type::FeatureWords => "set of String",
        Type::FileInfos => "dictionary Hash → FileMetadata",
        Type::FragmentInfos => "dictionary Hash → FragmentMetadata",
        Type::Clients => "dictionary Identifier → ClientMetadata",
        Type::ClientInfo => "ClientMetadata",
    }
}

/// The first three cells of the row that describes the property.
fn described(property: &Property) -> [String; 3] {
    let origin = if property.specified { "spec" } else { "ours" };
    let optional = if property.required { "" } else { ", optional" };
    [format!("`{}`", property.name), name(property.data).to_owned(), format!("{origin}{optional}")]
}

fn check_properties(what: &str, text: &str, table: &[Property]) {
    let expected: Vec<_> = table.iter().map(described).collect();
    let rows = rows(text);
    for row in &rows {
        assert!(row.len() == 4 && !row[3].is_empty(), "{what}: {row:?}");
    }
    let written: Vec<_> = rows.iter().map(|row| [row[0], row[1], row[2]].map(str::to_owned)).collect();
    assert_eq!(written, expected, "{what}: the table (left) is not what the code has (right)");
}

#[test]
fn the_events_of_the_document_are_those_of_the_code() {
    let document = document();
    let expected: Vec<_> = EventKind::ALL
        .iter()
        .map(|kind| {
            let issuer = if kind.issuer() == Role::Tracker { "tracker" } else { "torrent" };
            let direct =
                if kind.has_direct_topic() { format!("`{}/<torrent>`", kind.topic()) } else { String::new() };
            [
                format!("[{kind}](#{})", kind.name().to_lowercase()),
                issuer.to_owned(),
                format!("`{}`", kind.topic()),
                direct,
                if kind.is_specified() { "spec" } else { "ours" }.to_owned(),
            ]
        })
        .collect();
    let written: Vec<_> = rows(section(&document, "## The events")).iter().map(|row| row.join("|")).collect();
    assert_eq!(written, expected.iter().map(|row| row.join("|")).collect::<Vec<_>>());
}

#[test]
fn the_properties_of_the_document_are_those_of_the_code() {
    let document = document();
    for &kind in EventKind::ALL {
        let text = section(&document, &format!("### {kind}"));
        check_properties(kind.name(), text, &body(kind));
        assert!(text.contains(&format!("on `{}`", kind.topic())), "{kind}: its topic");
        let issuer = if kind.issuer() == Role::Tracker { "**Tracker →" } else { "**Torrent →" };
        assert!(text.trim_start().starts_with(issuer), "{kind}: who says it");
    }
    let both = [envelope(Role::Tracker), envelope(Role::Torrent)].concat();
    check_properties("envelope", section(&document, "## The envelope"), &both);
    for (heading, data) in [
        ("### FileMetadata", Type::FileInfos),
        ("### FragmentMetadata", Type::FragmentInfos),
        ("### ClientMetadata", Type::ClientInfo),
    ] {
        check_properties(heading, section(&document, heading), &nested(data).unwrap());
    }
}

#[test]
fn the_examples_of_the_document_are_the_golden_files() {
    let document = document();
    for &kind in EventKind::ALL {
        let text = section(&document, &format!("### {kind}"));
        let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let example: Value =
            serde_json::from_str(example.unwrap_or_else(|| panic!("{kind}: no example"))).unwrap();
        let golden: Value = serde_json::from_str(&file(&format!("golden/{kind}.json"))).unwrap();
        assert_eq!(example, golden, "{kind}: the example (left) is not the golden file (right)");
    }
    assert_eq!(document.matches("```json").count(), EventKind::ALL.len());
}

#[test]
fn the_limits_of_the_document_are_those_of_the_code() {
    let document = document();
    let text = section(&document, "## Limits");
    let Limits { max_event_bytes, max_entries, max_endpoints } = Limits::default();
    let expected = [
        ("`max_event_bytes`", max_event_bytes),
        ("short event", MAX_SHORT_EVENT_BYTES),
        ("`max_entries`", max_entries),
        ("`max_endpoints`", max_endpoints),
        ("text", MAX_TEXT_BYTES),
        ("file name", MAX_FILE_NAME_BYTES),
        ("endpoint", MAX_ENDPOINT_BYTES),
        ("identifier", MAX_CLIENT_ID_BYTES),
        ("zone", MAX_ZONE_BYTES),
    ];
    let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_string())).to_vec();
    let rows = rows(text);
    let written: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    assert_eq!(written, expected);

    for size in [MIN_FRAGMENT_SIZE_BYTES, DEFAULT_FRAGMENT_SIZE_BYTES, MAX_FRAGMENT_SIZE_BYTES] {
        assert!(text.contains(&format!("{size}")), "fragment size {size}");
    }
    let limits = Limits::default();
    let short = rows.iter().find(|row| row[0] == "short event").unwrap();
    for &kind in EventKind::ALL {
        let may_be_long = limits.event_bytes(kind) > MAX_SHORT_EVENT_BYTES;
        assert_eq!(short[2].contains(&format!("`{kind}`")), may_be_long, "{kind}");
    }
}

#[test]
fn the_features_of_the_document_are_those_of_the_code() {
    let document = document();
    let rows = rows(section(&document, "## Features"));
    let written: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(written, Feature::ALL.into_iter().map(Feature::word).collect());
}

/// A broker with the access list of the document, as far as it concerns one torrent.
#[test]
fn the_access_list_of_the_document_lets_through_what_a_torrent_says_and_hears() {
    let document = document();
    let me: ClientId = "torrent-7".parse().unwrap();
    let allowed = |action: &str| -> BTreeSet<String> {
        let lines = section(&document, "## Topics").lines();
        let rules = lines.filter_map(|line| line.strip_prefix(&format!("pattern {action} ")));
        rules.map(|rule| rule.replace("%u", me.as_str())).collect()
    };
    let topics = Topics::default();
    let says = EventKind::ALL.iter().filter(|kind| kind.issuer() == Role::Torrent);
    assert_eq!(allowed("write"), says.map(|kind| topics.direct(*kind, &me)).collect());
    assert_eq!(allowed("read"), topics.torrent_subscriptions(&me).into_iter().collect());
}
