//! The hostile payloads are what they say they are.

use std::collections::{BTreeMap, BTreeSet};

use protocol::hostile::{Payload, broken, impersonations, lies, payloads};
use protocol::{DecodeError, Epoch, EventKind, Heard, Limits, Topics, decode};

fn hear((topic, payload): &Payload) -> Result<Heard, DecodeError> {
    decode(&Topics::default(), &Limits::default(), topic, payload)
}

#[test]
fn there_are_many_and_always_the_same() {
    let all = payloads();
    assert!(all.len() >= 600, "{}", all.len());
    assert_eq!(all, payloads());
    assert_eq!(impersonations(), impersonations());
    let different: BTreeSet<_> = all.iter().collect();
    assert!(different.len() * 10 >= all.len() * 9, "{} of {} differ", different.len(), all.len());
}

#[test]
fn they_come_on_every_topic_that_a_broker_lets_through() {
    let all = payloads();
    for kind in EventKind::ALL {
        let shared = all.iter().filter(|(topic, _)| topic == kind.topic()).count();
        let direct = all.iter().filter(|(topic, _)| topic.starts_with(&format!("{}/", kind.topic()))).count();
        assert!(shared >= 50 && direct >= 10, "{kind}: {shared} and {direct}");
    }
    for (topic, payload) in all.iter().chain(&impersonations()) {
        assert!(!topic.is_empty() && topic.len() <= 200, "{topic}");
        assert!(!topic.contains(['+', '#', '$', '.', '\0']), "{topic}");
        assert!(payload.len() <= 128 << 10, "{topic}: {}", payload.len());
    }
}

#[test]
fn what_is_broken_is_an_error_of_every_reason() {
    let mut by_reason = BTreeMap::new();
    for payload in broken() {
        let error = hear(&payload).unwrap_err();
        *by_reason.entry(error.reason()).or_insert(0) += 1;
    }
    let reasons: Vec<_> = by_reason.keys().copied().collect();
    let expected = ["foreign_topic", "malformed", "too_large", "too_many", "unattributed", "unknown_topic"];
    assert_eq!(reasons, expected, "{by_reason:?}");
}

#[test]
fn a_lie_is_told_by_a_stranger_or_by_a_tracker_whose_time_is_over() {
    let mut kinds = BTreeSet::new();
    for payload in lies() {
        match hear(&payload).unwrap() {
            Heard::Tracker { envelope, event, .. } => {
                assert_eq!(envelope.epoch, Some(Epoch(0)), "{event:?}");
                kinds.insert(event.kind());
            }
            Heard::Torrent { issuer, event, .. } => {
                assert!(issuer.client.as_str().starts_with("stranger-"), "{issuer:?}");
                kinds.insert(event.kind());
            }
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), EventKind::ALL, "lies of every kind");
}

#[test]
fn an_impersonation_is_an_event() {
    let mut kinds = BTreeSet::new();
    for payload in impersonations() {
        kinds.insert(match hear(&payload).unwrap() {
            Heard::Tracker { event, .. } => event.kind(),
            Heard::Torrent { event, .. } => event.kind(),
        });
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), EventKind::ALL);
}
