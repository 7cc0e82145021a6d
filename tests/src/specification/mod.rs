//! Whether what was said on the bus is an event as the specification has it. Stricter than a daemon may be: a property
//! that neither the specification nor `docs/protocol.md` names is an error here.

mod tables;

use serde_json::{Map, Value};

pub use tables::EVENTS;

/// Who may say an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// The one tracker.
    Tracker,
    /// One of the torrents.
    Torrent,
}

/// One row of the specification's list of events, with the table of its parameters.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: &'static str,
    /// Its shared topic, without prefix.
    pub topic: &'static str,
    /// Who says it.
    pub issuer: Issuer,
    /// Whether it has a topic for each torrent, too.
    pub has_direct_topic: bool,
    properties: &'static [Property],
}

/// One row of a table of parameters.
#[derive(Debug)]
pub struct Property {
    name: &'static str,
    kind: Kind,
    is_required: bool,
}

/// What a value must look like in JSON.
#[derive(Debug)]
pub enum Kind {
    /// 8-4-4-4-12 hex digits.
    Guid,
    /// A whole number.
    Int64,
    /// A whole number that counts something.
    Count,
    /// Any text.
    Text,
    /// 1 to 64 of `a`-`z`, `0`-`9`, `_`, `-`.
    Identifier,
    /// 64 hex digits.
    Hash,
    /// `scheme:…`.
    Uri,
    /// Padded standard base64.
    Bytes,
    /// One of the numbers of *ClientJoinDeniedCode*.
    Code,
    /// An array in which nothing is twice.
    Set(&'static Kind),
    /// An array.
    Sequence(&'static Kind),
    /// An object with such keys, and such objects as values.
    Dictionary(&'static Kind, &'static [Property]),
    /// An object with these properties.
    Object(&'static [Property]),
}

/// The event that is said on `topic`, and the client that a direct topic names. None if nothing is.
#[must_use]
pub fn event_on<'a>(topic: &'a str, prefix: Option<&str>) -> Option<(&'static Event, Option<&'a str>)> {
    let topic = match prefix {
        Some(prefix) => topic.strip_prefix(prefix)?.strip_prefix('/')?,
        None => topic,
    };
    EVENTS.iter().find_map(|event| match topic.strip_prefix(event.topic)? {
        "" => Some((event, None)),
        rest if event.has_direct_topic => Some((event, Some(rest.strip_prefix('/')?))),
        _ => None,
    })
}

/// Reads a payload.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(event: &Event, payload: &[u8]) -> Result<Map<String, Value>, Vec<String>> {
    let value = serde_json::from_slice(payload).map_err(|error| vec![format!("no JSON: {error}")])?;
    let Value::Object(properties) = value else { return Err(vec!["no JSON object".to_owned()]) };
    let mut problems = Vec::new();
    let envelope = match event.issuer {
        Issuer::Tracker => tables::OF_A_TRACKER,
        Issuer::Torrent => tables::OF_A_TORRENT,
    };
    let rows: Vec<&Property> = envelope.iter().chain(event.properties).collect();
    check_object(event.name, &properties, &rows, &mut problems);
    if problems.is_empty() { Ok(properties) } else { Err(problems) }
}

fn check_object(at: &str, object: &Map<String, Value>, rows: &[&Property], problems: &mut Vec<String>) {
    for row in rows {
        let at = format!("{at}.{}", row.name);
        match object.get(row.name) {
            None | Some(Value::Null) if row.is_required => problems.push(format!("{at} is missing")),
            None | Some(Value::Null) => {}
            Some(value) => check(&at, value, &row.kind, problems),
        }
    }
    let is_known = |name: &String| rows.iter().any(|row| row.name == name);
    problems
        .extend(object.keys().filter(|name| !is_known(name)).map(|name| format!("{at}.{name} is unknown")));
}

fn check(at: &str, value: &Value, kind: &Kind, problems: &mut Vec<String>) {
    let is_good = match kind {
        Kind::Guid => value.as_str().is_some_and(is_guid),
        Kind::Int64 => value.as_i64().is_some(),
        Kind::Count => value.as_i64().is_some_and(|number| number >= 0),
        Kind::Text => value.is_string(),
        Kind::Identifier => value.as_str().is_some_and(is_identifier),
        Kind::Hash => value.as_str().is_some_and(is_hash),
        Kind::Uri => value.as_str().is_some_and(is_uri),
        Kind::Bytes => value.as_str().is_some_and(|text| decode_base64(text).is_some()),
        Kind::Code => value.as_i64().is_some_and(|code| [1, 2, 4, 128].contains(&code)),
        Kind::Set(of) => value.as_array().is_some_and(|members| {
            let mut texts: Vec<String> = members.iter().map(Value::to_string).collect();
            texts.sort_unstable();
            texts.dedup();
            members.iter().for_each(|member| check(at, member, of, problems));
            texts.len() == members.len()
        }),
        Kind::Sequence(of) => value.as_array().is_some_and(|members| {
            members.iter().for_each(|member| check(at, member, of, problems));
            true
        }),
        Kind::Dictionary(key, rows) => value.as_object().is_some_and(|entries| {
            let rows: Vec<&Property> = rows.iter().collect();
            for (name, entry) in entries {
                check(&format!("{at} (key)"), &Value::String(name.clone()), key, problems);
                match entry.as_object() {
                    Some(object) => check_object(&format!("{at}.{name}"), object, &rows, problems),
                    None => problems.push(format!("{at}.{name} is no object")),
                }
            }
            true
        }),
        Kind::Object(rows) => value.as_object().is_some_and(|object| {
            check_object(at, object, &rows.iter().collect::<Vec<_>>(), problems);
            true
        }),
    };
    if !is_good {
        let text: String = value.to_string().chars().take(100).collect();
        problems.push(format!("{at} = {text} is not of kind {kind:?}"));
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_identifier(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// In lower case: that is how hashes are written.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic()) && scheme.bytes().all(is_allowed)
}

/// Reads padded standard base64.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(text).ok()
}

/// Writes padded standard base64.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// The SHA-256 of the bytes in hex, as `sha256sum` prints it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}

/// Bytes as hex digits in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5b0c6f1e-8a94-4c3b-9d7e-2f4a1b3c0001";

    fn problems(topic: &str, payload: &str) -> Vec<String> {
        let (event, _) = event_on(topic, None).unwrap();
        read(event, payload.as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn what_the_specification_says_and_nothing_more_is_valid() {
        let hash = sha256(b"");
        let bare = format!(r#"{{"EventId":"{ID}","Hash":"{hash}","Size":0,"FragmentSequence":[]}}"#);
        assert_eq!(problems("files/info", &bare), Vec::<String>::new());
        assert_eq!(problems("tracker/hello", &format!(r#"{{"EventId":"{ID}"}}"#)), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_mistake_is_found() {
        let bad = [
            ("tracker/hello", "{}".to_owned()),
            ("tracker/hello", "[]".to_owned()),
            ("tracker/hello", r#"{"EventId":"5b0c"}"#.to_owned()),
            ("tracker/hello", format!(r#"{{"EventId":"{ID}","epoch":1}}"#)),
            ("clients/goodbye", format!(r#"{{"EventId":"{ID}","ClientIdentifier":"A"}}"#)),
            ("files/removed", format!(r#"{{"EventId":"{ID}","Hash":"{}"}}"#, "A".repeat(64))),
            ("clients/join/denied", format!(r#"{{"EventId":"{ID}","ClientIdentifier":"a","ReasonCode":3}}"#)),
            (
                "fragments/distribution/ended",
                format!(r#"{{"EventId":"{ID}","Hash":"{}","Size":-1,"Receivers":["a","a"]}}"#, sha256(b"")),
            ),
        ];
        for (topic, payload) in bad {
            assert_ne!(problems(topic, &payload), Vec::<String>::new(), "{topic}: {payload}");
        }
    }

    #[test]
    fn topics_are_told_apart() {
        let event = |topic| event_on(topic, None).map(|(event, client)| (event.name, client));
        assert_eq!(event("clients/join/requested"), Some(("ClientJoinRequested", None)));
        assert_eq!(event("clients/join/requested/t1"), Some(("ClientJoinRequested", Some("t1"))));
        assert_eq!(event("clients/registered/t1"), None);
        assert_eq!(event("clients/join"), None);
        assert_eq!(event_on("a/b/files/info", Some("a/b")).unwrap().0.name, "FileInfoPublished");
        assert!(event_on("files/info", Some("a/b")).is_none());
    }
}
