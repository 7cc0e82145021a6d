//! Properties: what is said is heard as it was meant, and whatever else comes is an event or a typed error.

use proptest::prelude::*;
use protocol::event::{TorrentEvent, TrackerEvent};
use protocol::{ClientId, DecodeError, EventKind, Limits, Topics, decode};
use serde_json::Value;

use crate::arbitrary::{any_event, client};
use crate::samples::Said;

fn topics() -> Topics {
    Topics::new("").unwrap()
}

/// The torrent whose direct topic may carry this event: the one that speaks, or is spoken to.
fn owner(said: &Said) -> Option<ClientId> {
    match said {
        Said::Torrent(envelope, _) => envelope.client_identifier.clone(),
        Said::Tracker(_, TrackerEvent::ClientJoinAccepted(accepted)) => {
            Some(accepted.client_identifier.clone())
        }
        Said::Tracker(_, TrackerEvent::ClientJoinDenied(denied)) => Some(denied.client_identifier.clone()),
        Said::Tracker(..) => None,
    }
}

/// Any JSON value.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A topic of ours, shared or direct, or nearly one.
fn topic() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(EventKind::ALL);
    let rest = prop_oneof![
        Just(String::new()),
        client().prop_map(|client| format!("/{client}")),
        "/?[a-zA-Z0-9./+#]{0,8}",
    ];
    prop_oneof![
        8 => (kind, rest).prop_map(|(kind, rest)| format!("{}{rest}", kind.topic())),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_said_is_heard(
        (kind, said) in any_event(),
        stranger in client(),
        prefix in "([a-z0-9_-]{1,8}(/[a-z0-9_-]{1,8}){0,2})?",
    ) {
        let (topics, limits) = (Topics::new(&prefix).unwrap(), Limits::default());
        let payload = said.encode();
        let heard = decode(&topics, &limits, &topics.shared(kind), &payload).unwrap();
        prop_assert_eq!(heard, said.heard(None));

        let owner = owner(&said).unwrap_or_else(|| stranger.clone());
        let direct = decode(&topics, &limits, &topics.direct(kind, &owner), &payload);
        if kind.has_direct_topic() {
            prop_assert_eq!(direct.unwrap(), said.heard(Some(&owner)));
        } else {
            prop_assert!(matches!(direct, Err(DecodeError::UnknownTopic)));
        }
    }

    #[test]
    fn nobody_speaks_or_is_answered_on_the_topic_of_another((kind, said) in any_event(), stranger in client()) {
        if let Some(named) = owner(&said).filter(|named| *named != stranger) {
            let topics = topics();
            match decode(&topics, &Limits::default(), &topics.direct(kind, &stranger), &said.encode()) {
                Err(DecodeError::ForeignTopic { kind: of, claimed, owner }) => {
                    prop_assert_eq!((of, claimed, owner), (kind, named, stranger));
                }
                Err(DecodeError::UnknownTopic) => prop_assert!(!kind.has_direct_topic()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_property_is_ignored((kind, said) in any_event(), name in "Un[a-z]{0,5}", value in json()) {
        let topics = topics();
        let payload = String::from_utf8(said.encode().to_vec()).unwrap();
        let more = format!("{{\"{name}\":{value},{}", &payload[1..]);
        let heard = decode(&topics, &Limits::default(), &topics.shared(kind), more.as_bytes()).unwrap();
        prop_assert_eq!(heard, said.heard(None));
    }

    #[test]
    fn any_bytes_on_any_topic_are_an_event_or_an_error(topic in topic(), payload in any::<Vec<u8>>()) {
        if let Err(error) = decode(&topics(), &Limits::default(), &topic, &payload) {
            prop_assert!(!error.to_string().is_empty() && !error.reason().is_empty());
        }
    }

    #[test]
    fn any_json_on_any_topic_is_an_event_or_an_error(topic in topic(), payload in json()) {
        let _ = decode(&topics(), &Limits::default(), &topic, payload.to_string().as_bytes());
    }

    #[test]
    fn a_truncated_event_is_an_error((kind, said) in any_event(), at in any::<prop::sample::Index>()) {
        let topics = topics();
        let payload = said.encode();
        let heard = decode(&topics, &Limits::default(), &topics.shared(kind), &payload[..at.index(payload.len())]);
        prop_assert!(matches!(heard, Err(DecodeError::Malformed { .. })), "{heard:?}");
    }

    #[test]
    fn a_damaged_event_is_an_event_or_an_error(
        (kind, said) in any_event(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        on in prop::sample::select(EventKind::ALL),
    ) {
        let topics = topics();
        let mut payload = said.encode().to_vec();
        for (at, byte) in damages {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        for kind in [kind, on] {
            let _ = decode(&topics, &Limits::default(), &topics.shared(kind), &payload);
        }
    }

    #[test]
    fn an_error_is_short_whatever_was_sent(kind in prop::sample::select(EventKind::ALL), long in 1_000..60_000_usize) {
        let topics = topics();
        let payload = format!("{{\"EventId\":\"{}\"}}", "\u{1f980}".repeat(long / 4));
        let error = decode(&topics, &Limits::default(), &topics.shared(kind), payload.as_bytes()).unwrap_err();
        prop_assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
        let payload = format!("{{\"EventId\":[],\"Hash\":\"{}\"}}", "x".repeat(long));
        let error = decode(&topics, &Limits::default(), &topics.shared(kind), payload.as_bytes()).unwrap_err();
        prop_assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
        let payload = format!("{{\"Size\":\"{0}\",\"FragmentSize\":\"{0}\",\"Epoch\":\"{0}\",\"Incarnation\":\"{0}\"}}", "x".repeat(long / 4));
        let error = decode(&topics, &Limits::default(), &topics.shared(kind), payload.as_bytes()).unwrap_err();
        prop_assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
    }

    #[test]
    fn what_is_over_a_limit_is_refused_and_what_is_at_it_is_heard((kind, said) in any_event()) {
        let topics = topics();
        let payload = said.encode();
        let hear = |limits: &Limits| decode(&topics, limits, &topics.shared(kind), &payload);

        let max_event_bytes = payload.len();
        let fits = hear(&Limits { max_event_bytes, ..Limits::default() });
        prop_assert!(fits.is_ok(), "{fits:?}");
        let tight = hear(&Limits { max_event_bytes: max_event_bytes - 1, ..Limits::default() });
        prop_assert!(matches!(tight, Err(DecodeError::TooLarge { .. })), "{tight:?}");

        let (entries, endpoints) = (most_entries(&said), most_endpoints(&said));
        let exact = Limits { max_entries: entries, max_endpoints: endpoints, ..Limits::default() };
        prop_assert!(hear(&exact).is_ok());
        if let Some(fewer) = entries.checked_sub(1) {
            let refused = hear(&Limits { max_entries: fewer, ..exact });
            let is_too_many = matches!(refused, Err(DecodeError::TooMany { .. }));
            prop_assert!(is_too_many, "{refused:?}");
        }
        if let Some(fewer) = endpoints.checked_sub(1) {
            let refused = hear(&Limits { max_endpoints: fewer, ..exact });
            let is_endpoints = matches!(refused, Err(DecodeError::TooMany { what: "endpoints", .. }));
            prop_assert!(is_endpoints, "{refused:?}");
        }
    }
}

/// The largest of the numbers that `max_entries` bounds.
fn most_entries(said: &Said) -> usize {
    let numbers: Vec<usize> = match said {
        Said::Tracker(_, TrackerEvent::ClientJoinAccepted(body)) => [
            body.add_file_infos.len() + body.remove_file_infos.len(),
            body.add_fragment_infos.len() + body.remove_fragment_infos.len(),
            body.clients.len(),
        ]
        .into_iter()
        .chain(body.add_file_infos.values().map(|file| file.fragment_sequence.len()))
        .chain(body.clients.values().map(|client| client.stored_fragments.len()))
        .collect(),
        Said::Tracker(_, TrackerEvent::ClientRegistered(body)) => {
            [body.added_files.len(), body.added_fragments.len(), body.info.stored_fragments.len()]
                .into_iter()
                .chain(body.added_files.values().map(|file| file.fragment_sequence.len()))
                .collect()
        }
        Said::Tracker(_, TrackerEvent::FileInfoPublished(body)) => vec![body.fragment_sequence.len()],
        Said::Tracker(_, TrackerEvent::FragmentDistributionDelivered(body)) => vec![body.receivers.len()],
        Said::Tracker(_, TrackerEvent::FragmentDistributionEnded(body)) => vec![body.receivers.len()],
        Said::Torrent(_, TorrentEvent::ClientJoinRequested(body)) => {
            [body.known_file_infos.len(), body.stored_fragments.len()]
                .into_iter()
                .chain(body.known_file_infos.values().map(|file| file.fragment_sequence.len()))
                .collect()
        }
        Said::Tracker(..) | Said::Torrent(..) => vec![],
    };
    numbers.into_iter().max().unwrap_or(0)
}

/// The largest number of endpoints of one torrent.
fn most_endpoints(said: &Said) -> usize {
    match said {
        Said::Tracker(_, TrackerEvent::TrackerHello(body)) => {
            body.endpoints.as_ref().map_or(0, |endpoints| endpoints.len())
        }
        Said::Tracker(_, TrackerEvent::ClientJoinAccepted(body)) => {
            body.clients.values().map(|client| client.endpoints.len()).max().unwrap_or(0)
        }
        Said::Tracker(_, TrackerEvent::ClientRegistered(body)) => body.info.endpoints.len(),
        Said::Torrent(_, TorrentEvent::ClientJoinRequested(body)) => body.endpoints.len(),
        Said::Tracker(..) | Said::Torrent(..) => 0,
    }
}
