//! The default limits, at their edges.

use protocol::event::{TorrentEvent, TrackerEvent};
use protocol::limits::{
    MAX_FRAGMENT_SIZE_BYTES, MAX_SHORT_EVENT_BYTES, MAX_TEXT_BYTES, delivered_event_bytes,
};
use protocol::{DecodeError, EventKind, Heard, Limits, Topics, decode};

use crate::samples::{self, Said};

fn hear(kind: EventKind, payload: &[u8]) -> Result<Heard, DecodeError> {
    let topics = Topics::new("").unwrap();
    decode(&topics, &Limits::default(), &topics.shared(kind), payload)
}

#[test]
fn a_long_event_that_has_no_reason_to_be_long_is_refused() {
    for &kind in EventKind::ALL {
        let mut payload = samples::full(kind).encode().to_vec();
        payload.resize(MAX_SHORT_EVENT_BYTES, b' ');
        assert!(hear(kind, &payload).is_ok(), "{kind}");
        payload.push(b' ');
        let may_be_long = Limits::default().event_bytes(kind) > MAX_SHORT_EVENT_BYTES;
        match hear(kind, &payload) {
            Ok(_) => assert!(may_be_long, "{kind}"),
            Err(error) => assert!(!may_be_long && error.reason() == "too_large", "{kind}: {error}"),
        }
    }
}

#[test]
fn the_size_of_an_event_is_judged_before_it_is_read() {
    let payload = vec![b'x'; Limits::default().max_event_bytes + 1];
    for &kind in EventKind::ALL {
        assert!(matches!(hear(kind, &payload), Err(DecodeError::TooLarge { .. })), "{kind}");
    }
}

#[test]
fn a_text_for_people_is_bounded() {
    for &kind in EventKind::ALL {
        for (length, is_good) in [(MAX_TEXT_BYTES, true), (MAX_TEXT_BYTES + 1, false)] {
            let mut said = samples::full(kind);
            let long = "x".repeat(length);
            match &mut said {
                Said::Tracker(_, TrackerEvent::TrackerHello(body)) => body.hash_algorithm = Some(long),
                Said::Tracker(_, TrackerEvent::ClientJoinDenied(body)) => body.reason = Some(long),
                Said::Torrent(_, TorrentEvent::ClientJoinRequested(body)) => body.hash_algorithm = long,
                Said::Torrent(_, TorrentEvent::ClientJoinFailed(body)) => body.reason = Some(long),
                Said::Torrent(_, TorrentEvent::ClientGoodbye(body)) => body.reason = Some(long),
                Said::Torrent(_, TorrentEvent::FragmentDistributionFailed(body)) => body.reason = Some(long),
                Said::Tracker(..) | Said::Torrent(..) => continue,
            }
            match hear(kind, &said.encode()) {
                Ok(_) => assert!(is_good, "{kind}"),
                Err(error) => assert!(!is_good && error.reason() == "too_many", "{kind}: {error}"),
            }
        }
    }
}

#[test]
fn the_largest_fragment_can_be_delivered() {
    let size = usize::try_from(MAX_FRAGMENT_SIZE_BYTES).unwrap();
    let mut said = samples::full(EventKind::FragmentDistributionDelivered);
    if let Said::Tracker(_, TrackerEvent::FragmentDistributionDelivered(body)) = &mut said {
        body.data = vec![7; size].into();
        body.receivers = (0..200).map(|number| samples::client(&format!("{number:064}"))).collect();
    }
    let payload = said.encode();
    assert!(payload.len() as u64 <= delivered_event_bytes(MAX_FRAGMENT_SIZE_BYTES));
    assert_eq!(hear(EventKind::FragmentDistributionDelivered, &payload).unwrap(), said.heard(None));
}

#[test]
fn a_probe_may_be_as_long_as_the_largest_event() {
    let mut said = samples::full(EventKind::TrackerHello);
    if let Said::Tracker(_, TrackerEvent::TrackerHello(body)) = &mut said {
        body.probe = Some("x".repeat(1 << 20));
    }
    assert_eq!(hear(EventKind::TrackerHello, &said.encode()).unwrap(), said.heard(None));
}
