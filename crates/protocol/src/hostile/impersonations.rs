//! What takes somebody's place: nobody on the bus can tell it from the truth.

use super::lies::{absurd_tracker_events, empty_request};
use super::{LARGEST, Payload, Strangers, golden};
use crate::event::{ClientJoinSucceeded, TorrentEvent, TrackerEvent, TrackerGoodbye, TrackerHello};
use crate::{Epoch, EventKind, Features, Revision};

/// Well-formed events that speak for a tracker or a torrent with every right that the bus knows: the highest epoch, or none (as a tracker
/// that knows only the specification), the name of a torrent that may well exist, a stranger that joins by the rules.
///
/// They may displace the tracker, unregister torrents and change views; what must hold nevertheless is that nobody dies and that no stored
/// byte is lost. Only a broker's ACL keeps them out: tests of a broker without one do not use them and expect work to go on.
#[must_use]
pub fn impersonations() -> Vec<Payload> {
    let mut strangers = Strangers::default();
    for kind in EventKind::ALL {
        strangers.said.push((strangers.topics.shared(*kind), golden(*kind).into()));
    }
    let last = strangers.tracker(Epoch(LARGEST), Revision(LARGEST));
    let mut bare = last;
    (bare.epoch, bare.instance, bare.revision) = (None, None, None);
    let stranger = strangers.client();
    for tracker in [last, bare] {
        strangers
            .tracker_says_as(&tracker, TrackerHello { features: Features::all(), ..TrackerHello::default() });
        let events = absurd_tracker_events(&stranger);
        events.into_iter().for_each(|event: TrackerEvent| strangers.tracker_says_as(&tracker, event));
        strangers.tracker_says_as(&tracker, TrackerGoodbye {});
    }
    // A torrent that joins, holds nothing, and is never heard of again.
    let torrent = strangers.torrent();
    let mut request = empty_request();
    request.endpoints.insert("grpc://203.0.113.9:7402".parse().expect("an endpoint"));
    strangers.torrent_says_as(&torrent, &TorrentEvent::from(request));
    strangers.torrent_says_as(&torrent, &TorrentEvent::from(ClientJoinSucceeded {}));
    strangers.said
}
