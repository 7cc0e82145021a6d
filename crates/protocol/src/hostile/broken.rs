//! What is no event: garbage, damaged events, events in the wrong place.

use serde_json::{Map, Value};

use super::{Payload, golden};
use crate::limits::MAX_SHORT_EVENT_BYTES;
use crate::{ClientId, EventKind, Limits, Role, Topics, decode};

/// Payloads that no daemon takes for an event: on every topic, shared and direct.
///
/// Each of them is a [`DecodeError`](crate::DecodeError) under the default limits.
#[must_use]
pub fn broken() -> Vec<Payload> {
    let (topics, limits) = (Topics::default(), Limits::default());
    let somebody: ClientId = "stranger-0".parse().expect("a topic segment");
    let mut payloads = Vec::new();
    for &kind in EventKind::ALL {
        let event = Event::of(kind);
        let here = |payload| (topics.shared(kind), payload);
        payloads.extend(event.garbage().into_iter().map(here));
        payloads.extend(event.damaged().into_iter().map(here));
        payloads.extend(event.ill_typed().into_iter().map(here));
        payloads.extend(event.out_of_bounds().into_iter().map(here));
        payloads.push(here(event.anonymous()));
        let direct = topics.direct(kind, &somebody);
        payloads.push((direct.clone(), event.text.clone().into_bytes()));
        payloads.extend(event.garbage().into_iter().step_by(4).map(|payload| (direct.clone(), payload)));
        for nowhere in ["/UPPER", "/a/b", "/", "/stranger-0/x"] {
            payloads.push((format!("{}{nowhere}", kind.topic()), event.text.clone().into_bytes()));
        }
    }
    for nowhere in
        ["tracker", "clients", "clients/join", "files", "fragments/distribution", "nothing", "a/b/c"]
    {
        payloads.push((nowhere.to_owned(), golden(EventKind::TrackerHello).into()));
    }
    // A change may leave an event an event (an optional property removed, a digit of a number): those are not broken.
    payloads.retain(|(topic, payload)| decode(&topics, &limits, topic, payload).is_err());
    payloads
}

/// A golden event, to be broken.
struct Event {
    kind: EventKind,
    text: String,
    properties: Map<String, Value>,
}

impl Event {
    fn of(kind: EventKind) -> Self {
        let value: Value = serde_json::from_str(golden(kind)).expect("golden files are JSON");
        let Value::Object(properties) = value else { unreachable!("golden files are objects") };
        Self { kind, text: Value::Object(properties.clone()).to_string(), properties }
    }

    /// What has little to do with the event.
    fn garbage(&self) -> Vec<Vec<u8>> {
        let text = &self.text;
        let seed = 1 + self.kind.topic().bytes().map(u64::from).sum::<u64>();
        let mut payloads: Vec<Vec<u8>> = [
            "",
            " ",
            "\0",
            "null",
            "true",
            "0",
            "-1",
            "\"\"",
            "[]",
            "{}",
            "{",
            "}",
            "{}{}",
            "{\"\":\"\"}",
            "NaN",
            "{\"EventId\":\"\"}",
            "{\"EventId\":null}",
            "{\"EventId\":[[]]}",
            "{\"EventId\"}",
            "GET / HTTP/1.1\r\n\r\n",
            "<Event EventId=\"1\"/>",
            "%s%n%x",
            "'; DROP TABLE files; --",
            "../../../../etc/passwd",
            "\u{1b}[2J\u{7}",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        payloads.extend([
            b"\xff\xfe\xfd".to_vec(),
            b"\xc0\xaf\xed\xa0\x80".to_vec(),
            noise(seed, 16),
            noise(seed + 1, 300),
            noise(seed + 2, 5_000),
            vec![0; 1_000],
            "[".repeat(10_000).into_bytes(),
            "{\"EventId\":".repeat(5_000).into_bytes(),
            format!("{{\"EventId\":{}", "[".repeat(10_000)).into_bytes(),
            format!("{{\"EventId\":1{}}}", "0".repeat(10_000)).into_bytes(),
            format!("{{\"EventId\":\"{}\"}}", "\\u0041".repeat(5_000)).into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Value::from(text.as_str()).to_string().into_bytes(),
            format!("[{text}]").into_bytes(),
            format!("{text}{text}").into_bytes(),
            format!("{text},").into_bytes(),
            format!("{text}\0").into_bytes(),
            format!("//\n{text}").into_bytes(),
            text.replace(':', "=").into_bytes(),
            text.replace('"', "'").into_bytes(),
            text.replace('}', ",}").into_bytes(),
            text.to_lowercase().into_bytes(),
        ]);
        payloads
    }

    /// The event after an accident.
    fn damaged(&self) -> Vec<Vec<u8>> {
        let bytes = self.text.as_bytes();
        let cuts = (1..8).map(|part| bytes[..bytes.len() * part / 8].to_vec());
        let flips = (0_u8..24).map(|part| {
            let mut bytes = bytes.to_vec();
            let at = bytes.len() * usize::from(part) / 24;
            bytes[at] ^= 1 << (part % 8);
            bytes
        });
        let not_utf_8 = [&b"{\"Unheard\":\"\xff\","[..], &bytes[1..]].concat();
        cuts.chain([bytes[..bytes.len() - 1].to_vec(), not_utf_8]).chain(flips).collect()
    }

    /// Every property missing, null, of another type, or given twice.
    fn ill_typed(&self) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        for (name, value) in &self.properties {
            let rest: Vec<_> = self.properties.iter().filter(|(other, _)| *other != name).collect();
            let rest: String = rest.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
            payloads.push(format!("{{{}}}", rest.strip_prefix(',').unwrap_or_default()));
            payloads.push(format!("{{\"{name}\":{value},\"{name}\":{value}{rest}}}"));
            for wrong in
                ["null", "true", "-1", "1.5", "9223372036854775808", "1e400", "\"?\"", "[7]", "{\"?\":7}"]
            {
                payloads.push(format!("{{\"{name}\":{wrong}{rest}}}"));
            }
        }
        payloads.into_iter().map(String::into_bytes).collect()
    }

    /// Larger than any event of the kind may be.
    fn out_of_bounds(&self) -> Vec<Vec<u8>> {
        let rest = &self.text[1..];
        let padding = "x".repeat(MAX_SHORT_EVENT_BYTES);
        let mut payloads = vec![format!("{{\"Unheard\":\"{padding}\",{rest}").into_bytes()];
        if self.properties.contains_key("Endpoints") {
            let many: Vec<_> = (1..=1_000).map(|port| format!("grpc://203.0.113.1:{port}")).collect();
            let mut properties = self.properties.clone();
            properties.insert("Endpoints".to_owned(), many.into());
            payloads.push(Value::Object(properties).to_string().into_bytes());
        }
        payloads
    }

    /// What nobody can be held to have said; of a tracker, who is not named, what has no name itself.
    fn anonymous(&self) -> Vec<u8> {
        let nameless = match self.kind.issuer() {
            Role::Torrent => "ClientIdentifier",
            Role::Tracker => "EventId",
        };
        let mut properties = self.properties.clone();
        properties.remove(nameless);
        Value::Object(properties).to_string().into_bytes()
    }
}

/// Bytes without a pattern (xorshift).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
