//! The rules of encoding, tried on every property of every event: what must be there, what may be absent or null, what is ill-typed,
//! what is given twice.

use protocol::{EventKind, Heard, Limits, Topics, decode};
use serde_json::Value;

use crate::samples;
use crate::specification::{Property, Type, nested, properties};

/// An object as text, so that it can be what no JSON library writes.
type Object = Vec<(String, String)>;

fn object(value: &Value) -> Object {
    let members = value.as_object().expect("an object");
    members.iter().map(|(key, value)| (Value::from(key.as_str()).to_string(), value.to_string())).collect()
}

fn text(object: &Object) -> String {
    let members: Vec<_> = object.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn key(name: &str) -> String {
    format!("\"{name}\"")
}

fn without(object: &Object, name: &str) -> Object {
    object.iter().filter(|(each, _)| *each != key(name)).cloned().collect()
}

fn with(object: &Object, name: &str, value: &str) -> Object {
    let mut object = without(object, name);
    object.push((key(name), value.to_owned()));
    object
}

/// A changed event, and what must come of it.
struct Case {
    what: String,
    payload: String,
    expected: Expected,
}

enum Expected {
    Refused,
    /// The same as of this payload.
    SameAs(String),
}

/// Every change of `whole`, an object with these properties, that the rules speak of.
fn cases(whole: &Value, table: &[Property]) -> Vec<Case> {
    let good = object(whole);
    let mut cases = Vec::new();
    let mut refused = |what: String, object: &Object| {
        cases.push(Case { what, payload: text(object), expected: Expected::Refused });
    };

    for property in table {
        let name = property.name;
        if property.required {
            refused(format!("{name} is missing"), &without(&good, name));
            refused(format!("{name} is null"), &with(&good, name, "null"));
            let mut lower_case = without(&good, name);
            lower_case.push((key(&name.to_lowercase()), whole[name].to_string()));
            refused(format!("{name} in lower case"), &lower_case);
        }
        for wrong in wrong(property.data) {
            refused(format!("{name} is {wrong:.40}"), &with(&good, name, wrong));
        }
        let value = whole.get(name).map_or("null".to_owned(), Value::to_string);
        let escaped = format!("\"{}\\u00{:02x}\"", &name[..name.len() - 1], name.as_bytes()[name.len() - 1]);
        for again in [key(name), escaped] {
            for first in [&value, "null"] {
                let mut twice = with(&good, name, first);
                twice.push((again.clone(), value.clone()));
                refused(format!("{name} is given twice"), &twice);
            }
        }
    }
    for (what, array) in [
        (
            "an array of the values",
            format!("[{}]", good.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join(",")),
        ),
        ("an array around it", format!("[{}]", text(&good))),
        ("a text", Value::from(text(&good)).to_string()),
        ("null", "null".to_owned()),
        ("true", "true".to_owned()),
        ("a number", "7".to_owned()),
    ] {
        cases.push(Case { what: what.to_owned(), payload: array, expected: Expected::Refused });
    }

    for property in table.iter().filter(|property| !property.required) {
        let what = format!("{} is null", property.name);
        let payload = text(&with(&good, property.name, "null"));
        cases.push(Case { what, payload, expected: Expected::SameAs(text(&without(&good, property.name))) });
    }
    for unknown in ["null", "true", "-1.5e300", "\"\\ud800\"", "[[],{\"EventId\":7}]", "{\"\":{\"\":[null]}}"]
    {
        for at in [0, good.len()] {
            let mut more = good.clone();
            more.insert(at, (key("Unheard"), unknown.to_owned()));
            let what = format!("an unknown property with {unknown} at {at}");
            cases.push(Case { what, payload: text(&more), expected: Expected::SameAs(text(&good)) });
        }
    }
    for property in table {
        if let (Some(inner_table), Some(value)) = (nested(property.data), whole.get(property.name)) {
            cases.extend(nested_cases(&good, property, value, &inner_table));
        }
    }
    cases
}

/// Puts an object, as text, back where it came from.
type Embed<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// The same, one object further in.
fn nested_cases(good: &Object, property: &Property, value: &Value, table: &[Property]) -> Vec<Case> {
    let (inner, put): (&Value, Embed<'_>) = if property.data == Type::ClientInfo {
        (value, Box::new(str::to_owned))
    } else {
        let (first, inner) = value.as_object().and_then(|entries| entries.iter().next()).expect("an entry");
        (inner, Box::new(move |raw: &str| text(&with(&object(value), first, raw))))
    };
    let around = |raw: &str| text(&with(good, property.name, &put(raw)));
    cases(inner, table)
        .into_iter()
        .map(|case| Case {
            what: format!("in {}: {}", property.name, case.what),
            payload: around(&case.payload),
            expected: match case.expected {
                Expected::Refused => Expected::Refused,
                Expected::SameAs(other) => Expected::SameAs(around(&other)),
            },
        })
        .collect()
}

const ZEROES: &str = "\"0000000000000000000000000000000000000000000000000000000000000000\"";

/// What is not a value of the type.
fn wrong(data: Type) -> Vec<&'static str> {
    let own: &[&str] = match data {
        Type::Guid => &[
            "1",
            "[]",
            "{}",
            "\"\"",
            "\"x\"",
            "\"67e5504410b1426f9247bb680e5fe0c8\"",
            "\"{67e55044-10b1-426f-9247-bb680e5fe0c8}\"",
            "\"urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8\"",
            "\"67e55044-10b1-426f-9247-bb680e5fe0c8 \"",
            "\"67e55044-10b1-426f-9247-bb680e5fe0cg\"",
        ],
        Type::Text => &[
            "1",
            "[]",
            "{}",
            "\"\\ud800\"",
            "\"\\udc00x\"",
            "\"\\ud800\\u0041\"",
            "\"a\nb\"",
            "\"\\x\"",
            "'x'",
        ],
        Type::Client => {
            &["1", "[]", "{}", "\"\"", "\"A\"", "\"a.b\"", "\"a/b\"", "\"+\"", "\"#\"", "\"a\\u0000\""]
        }
        Type::Zone => &["1", "[]", "{}", "\"\"", "\"a\\u0000\"", "\"a\\nb\""],
        Type::Name => &[
            "1",
            "[]",
            "{}",
            "\"\"",
            "\"/a\"",
            "\"../a\"",
            "\"a/./b\"",
            "\"a\\\\b\"",
            "\"a\\u0000\"",
            "\"a\\u202eb\"",
        ],
        Type::HashName => &[
            "1",
            "[]",
            "{}",
            "\"\"",
            "\"x\"",
            "\"000000000000000000000000000000000000000000000000000000000000000\"",
            "\"00000000000000000000000000000000000000000000000000000000000000000\"",
            "\"000000000000000000000000000000000000000000000000000000000000000g\"",
            "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
        ],
        Type::Int64 => &[
            "-1",
            "1.0",
            "1.5",
            "1e3",
            "-0",
            "9223372036854775808",
            "18446744073709551616",
            "-9223372036854775809",
            "1e400",
            "1e999999999999",
            "NaN",
            "Infinity",
            "-Infinity",
            "0x10",
            "01",
            "+1",
            "1.",
            ".5",
            "\"1\"",
            "[]",
            "[1]",
            "{}",
            "1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        ],
        Type::Bytes => &[
            "1",
            "[]",
            "[1,2]",
            "{}",
            "\"QQ\"",
            "\"QQ=\"",
            "\"QQ===\"",
            "\"=\"",
            "\"Q Q==\"",
            "\"QQ==\\n\"",
            "\" QQ==\"",
            "\"QR==\"",
            "\"-_8=\"",
            "\"QQ==QQ==\"",
            "\"\\u00e4AAA\"",
        ],
        Type::Code => &["\"4\"", "\"EndpointConflict\"", "4.0", "9223372036854775808", "[]", "[4]", "{}"],
        Type::HashSet | Type::HashSequence => {
            &["1", "\"x\"", ZEROES, "{}", "[1]", "[null]", "[\"x\"]", "[[]]"]
        }
        Type::ClientSet => &["1", "\"a\"", "{}", "[1]", "[null]", "[\"A\"]", "[\"\"]", "[[]]"],
        Type::EndpointSet => &[
            "1",
            "\"grpc://a:1\"",
            "{}",
            "[1]",
            "[null]",
            "[\"a:1\"]",
            "[\"grpc://a\"]",
            "[\"grpc://a:0\"]",
            "[[]]",
        ],
        Type::FeatureWords => &["1", "\"log\"", "{}", "[1]", "[null]", "[[]]"],
        Type::FileInfos | Type::FragmentInfos => &[
            "1",
            "\"x\"",
            "[]",
            "[[]]",
            "{\"x\":{\"Size\":1,\"FragmentSequence\":[]}}",
            "{\"0000000000000000000000000000000000000000000000000000000000000000\":null}",
            "{\"0000000000000000000000000000000000000000000000000000000000000000\":1}",
            "{\"0000000000000000000000000000000000000000000000000000000000000000\":[1,[]]}",
            "{\"0000000000000000000000000000000000000000000000000000000000000000\":[1]}",
        ],
        Type::Clients => &[
            "1",
            "\"x\"",
            "[]",
            "{\"A\":{\"Endpoints\":[],\"StoredFragments\":[]}}",
            "{\"a\":[[],[]]}",
            "{\"a\":null}",
        ],
        Type::ClientInfo => &["1", "\"x\"", "[]", "[[],[]]"],
    };
    [&["true", "nul", ""], own].concat()
}

fn hear(kind: EventKind, payload: &str) -> Option<Heard> {
    let topics = Topics::new("").unwrap();
    // On a direct topic, where there is one: there an event needs no ClientIdentifier.
    let topic =
        if kind.has_direct_topic() { topics.direct(kind, &samples::speaker()) } else { topics.shared(kind) };
    decode(&topics, &Limits::default(), &topic, payload.as_bytes()).ok()
}

#[test]
fn every_property_of_every_event_is_read_by_the_rules() {
    let mut tried = 0;
    for &kind in EventKind::ALL {
        let golden: Value = serde_json::from_slice(&samples::full(kind).encode()).unwrap();
        for Case { what, payload, expected } in cases(&golden, &properties(kind)) {
            tried += 1;
            let heard = hear(kind, &payload);
            match expected {
                Expected::Refused => assert_eq!(heard, None, "{kind}, {what}: {payload}"),
                Expected::SameAs(other) => {
                    let other = hear(kind, &other).expect("an event");
                    assert_eq!(heard, Some(other), "{kind}, {what}: {payload}");
                }
            }
        }
    }
    assert!(tried > 4_000, "{tried}");
}

#[test]
fn the_golden_files_have_exactly_the_properties_of_the_tables() {
    /// Only the tracker's probe of itself has it.
    const NOT_SHOWN: &str = "Probe";
    /// Which events have them depends on what they change and answer, and on whether their torrent is registered.
    const NOT_ALWAYS: [&str; 3] = ["Revision", "InReplyTo", "Registration"];

    fn check(whole: &Value, table: &[Property], expect: &dyn Fn(&Property) -> bool, what: &str) {
        let has: Vec<_> = whole.as_object().unwrap().keys().map(String::as_str).collect();
        let mut should: Vec<_> = table.iter().filter(|property| expect(property)).map(|p| p.name).collect();
        should.sort_unstable();
        let mut sorted = has.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, should, "{what}");
        for property in table {
            let Some((inner_table, value)) = nested(property.data).zip(whole.get(property.name)) else {
                continue;
            };
            let entries: Vec<&Value> = if property.data == Type::ClientInfo {
                vec![value]
            } else {
                value.as_object().unwrap().values().collect()
            };
            assert!(!entries.is_empty(), "{what}: {} shows nothing", property.name);
            entries.into_iter().for_each(|entry| check(entry, &inner_table, expect, what));
        }
    }

    for &kind in EventKind::ALL {
        let full: Value = serde_json::from_slice(&samples::full(kind).encode()).unwrap();
        let in_full = |property: &Property| {
            property.name != NOT_SHOWN
                && (full.get(property.name).is_some() || !NOT_ALWAYS.contains(&property.name))
        };
        check(&full, &properties(kind), &in_full, kind.name());
        if kind.is_specified() {
            let minimal: Value = serde_json::from_slice(&samples::spec_only(kind).encode()).unwrap();
            check(
                &minimal,
                &properties(kind),
                &|property| property.required && property.specified,
                kind.name(),
            );
        }
    }
}

#[test]
fn a_count_reaches_from_zero_to_the_largest_int64() {
    let golden: Value =
        serde_json::from_slice(&samples::full(EventKind::FragmentDistributionEnded).encode()).unwrap();
    for good in ["0", "9223372036854775807"] {
        let payload = text(&with(&object(&golden), "Size", good));
        assert!(hear(EventKind::FragmentDistributionEnded, &payload).is_some(), "{good}");
    }
}

#[test]
fn a_hash_in_capitals_is_the_same_hash() {
    for &kind in EventKind::ALL {
        let payload = String::from_utf8(samples::full(kind).encode().to_vec()).unwrap();
        let capitals: String = hashes_in_capitals(&payload);
        assert_eq!(hear(kind, &capitals), hear(kind, &payload), "{kind}");
    }
}

/// Every text of 64 hex digits in capitals, as a key, too.
fn hashes_in_capitals(payload: &str) -> String {
    let is_hash = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts =
        payload.split('"').map(|part| if is_hash(part) { part.to_uppercase() } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("\"")
}

#[test]
fn a_key_of_a_dictionary_given_twice_is_refused_in_whatever_case() {
    let mut tried = 0;
    for &kind in EventKind::ALL {
        let golden: Value = serde_json::from_slice(&samples::full(kind).encode()).unwrap();
        for property in properties(kind) {
            if !matches!(property.data, Type::FileInfos | Type::FragmentInfos | Type::Clients) {
                continue;
            }
            let entries = object(&golden[property.name]);
            let (first, value) = entries[0].clone();
            let capitals = if property.data == Type::Clients { first.clone() } else { first.to_uppercase() };
            for again in [first, capitals] {
                let mut twice = entries.clone();
                twice.push((again, value.clone()));
                let payload = text(&with(&object(&golden), property.name, &text(&twice)));
                assert_eq!(hear(kind, &payload), None, "{kind}: {payload}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 2 * 7);
}

#[test]
fn what_comes_after_the_event_is_refused_unless_it_is_white_space() {
    for &kind in EventKind::ALL {
        let payload = String::from_utf8(samples::full(kind).encode().to_vec()).unwrap();
        assert_eq!(hear(kind, &format!("\n \t{payload}\r\n ")), hear(kind, &payload), "{kind}");
        for rest in ["x", "{}", "null", ",", "}", "]", "\0", &payload] {
            assert_eq!(hear(kind, &format!("{payload}{rest}")), None, "{kind}: {rest}");
        }
        assert_eq!(hear(kind, &format!("\u{feff}{payload}")), None, "{kind}: byte order mark");
    }
}

#[test]
fn a_payload_that_is_not_utf_8_is_refused_even_where_it_would_be_ignored() {
    let topics = Topics::new("").unwrap();
    for &kind in EventKind::ALL {
        let golden = samples::full(kind).encode();
        for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
            let mut payload = b"{\"Unheard\":\"".to_vec();
            payload.extend_from_slice(bytes);
            payload.extend_from_slice(b"\",");
            payload.extend_from_slice(&golden[1..]);
            let heard = decode(&topics, &Limits::default(), &topics.shared(kind), &payload);
            assert!(heard.is_err(), "{kind}: {bytes:x?}");
        }
    }
}

#[test]
fn nesting_does_not_exhaust_the_stack() {
    for &kind in EventKind::ALL {
        let golden = String::from_utf8(samples::full(kind).encode().to_vec()).unwrap();
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for depth in [10_000, 4_000] {
                let (deep, closed) = (open.repeat(depth), close.repeat(depth));
                assert_eq!(hear(kind, &deep), None, "{kind}");
                let payload = format!("{{\"Unheard\":{deep}null{closed},{}", &golden[1..]);
                // Whether it is ignored or refused: it ends.
                let _ = hear(kind, &payload);
                for property in properties(kind) {
                    let payload =
                        text(&with(&object(&serde_json::from_str(&golden).unwrap()), property.name, &deep));
                    assert_eq!(hear(kind, &payload), None, "{kind}: {}", property.name);
                }
            }
        }
    }
}
