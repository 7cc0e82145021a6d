//! Which event is said on which topic, who speaks there and who listens.

use std::fmt;

use crate::ids::is_segment;
use crate::{ClientId, ids};

/// Which of the two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one tracker.
    Tracker,
    /// One of the torrents.
    Torrent,
}

macro_rules! kinds {
    ($($kind:ident $topic:literal $issuer:ident $direct:literal;)*) => {
        /// The name of an event: the sixteen of the specification and three of ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = concat!("Said on `", $topic, "`.")] $kind),*
        }

        impl EventKind {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The event's name, as the specification writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),* }
            }

            /// Its topic, without prefix.
            #[must_use]
            pub const fn topic(self) -> &'static str {
                match self { $(Self::$kind => $topic),* }
            }

            /// Who says it.
            #[must_use]
            pub const fn issuer(self) -> Role {
                match self { $(Self::$kind => Role::$issuer),* }
            }

            /// Whether it has a topic for each torrent, too (feature `direct`).
            #[must_use]
            pub const fn has_direct_topic(self) -> bool {
                match self { $(Self::$kind => $direct),* }
            }
        }
    };
}

kinds! {
    TrackerHello "tracker/hello" Tracker true;
    TrackerGoodbye "tracker/goodbye" Tracker false;
    ClientJoinRequested "clients/join/requested" Torrent true;
    ClientJoinAccepted "clients/join/accepted" Tracker true;
    ClientJoinDenied "clients/join/denied" Tracker true;
    ClientJoinSucceeded "clients/join/succeeded" Torrent true;
    ClientJoinFailed "clients/join/failed" Torrent true;
    ClientRegistered "clients/registered" Tracker false;
    ClientGoodbye "clients/goodbye" Torrent true;
    FileInfoPublished "files/info" Tracker false;
    FragmentDistributionStarted "fragments/distribution/started" Tracker false;
    FragmentDistributionRequested "fragments/distribution/requested" Torrent true;
    FragmentDistributionDelivered "fragments/distribution/delivered" Tracker true;
    FragmentDistributionObtained "fragments/distribution/obtained" Torrent true;
    FragmentDistributionFailed "fragments/distribution/failed" Torrent true;
    FragmentDistributionEnded "fragments/distribution/ended" Tracker false;
    ClientUnregistered "clients/unregistered" Tracker false;
    FileRemoved "files/removed" Tracker false;
    ClientHeartbeat "clients/heartbeat" Torrent true;
}

impl EventKind {
    /// Whether the specification has this event; the others are additions of ours.
    #[must_use]
    pub const fn is_specified(self) -> bool {
        !matches!(self, Self::ClientUnregistered | Self::FileRemoved | Self::ClientHeartbeat)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The topics of one distribution service: those of the specification behind an optional prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topics {
    /// Empty, or segments each followed by a slash.
    prefix: String,
}

/// Why a text is not a topic prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a topic prefix: use segments of 1 to {max} of a-z, 0-9, '_' and '-', divided by '/'",
    max = ids::MAX_CLIENT_ID_BYTES
)]
pub struct InvalidPrefix(String);

impl Topics {
    /// The topics behind `prefix`, which may be empty.
    ///
    /// # Errors
    /// If a segment of the prefix is not one that every broker accepts.
    pub fn new(prefix: &str) -> Result<Self, InvalidPrefix> {
        if prefix.is_empty() {
            return Ok(Self::default());
        }
        if prefix.len() <= 128 && prefix.split('/').all(is_segment) {
            Ok(Self { prefix: format!("{prefix}/") })
        } else {
            Err(InvalidPrefix(prefix.to_owned()))
        }
    }

    /// The fixed MQTT client identifier of the tracker: the broker keeps two of them from being connected.
    #[must_use]
    pub fn tracker_client_id(&self) -> ClientId {
        let id = format!("{}tracker", self.prefix.replace('/', "-"));
        let from = id.len().saturating_sub(ids::MAX_CLIENT_ID_BYTES);
        id[from..].parse().expect("segments joined by '-' are a segment")
    }

    /// Where `kind` is said to (or, of a torrent's event, by) everybody.
    #[must_use]
    pub fn shared(&self, kind: EventKind) -> String {
        format!("{}{}", self.prefix, kind.topic())
    }

    /// Where `kind` is said to, or by, the one `client`.
    #[must_use]
    pub fn direct(&self, kind: EventKind, client: &ClientId) -> String {
        format!("{}{}/{client}", self.prefix, kind.topic())
    }

    /// What is said on `topic`, and the client that the topic names.
    #[must_use]
    pub fn parse(&self, topic: &str) -> Option<(EventKind, Option<ClientId>)> {
        let topic = topic.strip_prefix(&self.prefix)?;
        EventKind::ALL.iter().find_map(|kind| match topic.strip_prefix(kind.topic())? {
            "" => Some((*kind, None)),
            rest if kind.has_direct_topic() => Some((*kind, Some(rest.strip_prefix('/')?.parse().ok()?))),
            _ => None,
        })
    }

    /// What a tracker listens to: every torrent, on the shared topics (unless `only_direct`) and on the direct ones; and its own
    /// presence, which must come back and in which another tracker would show, also one that only looks whether there is a tracker.
    #[must_use]
    pub fn tracker_subscriptions(&self, only_direct: bool) -> Vec<String> {
        let from_torrents = || EventKind::ALL.iter().filter(|kind| kind.issuer() == Role::Torrent);
        let shared = from_torrents().filter(|_| !only_direct).map(|kind| self.shared(*kind));
        let direct = from_torrents().chain([&EventKind::TrackerHello]);
        let direct = direct.map(|kind| format!("{}/+", self.shared(*kind)));
        let presence = [EventKind::TrackerHello, EventKind::TrackerGoodbye].map(|kind| self.shared(kind));
        shared.chain(direct).chain(presence).collect()
    }

    /// What the torrent `me` listens to: the tracker and its peers' goodbyes on the shared topics, and its own direct topics.
    #[must_use]
    pub fn torrent_subscriptions(&self, me: &ClientId) -> Vec<String> {
        let from_tracker = || EventKind::ALL.iter().filter(|kind| kind.issuer() == Role::Tracker);
        let shared = from_tracker().chain([&EventKind::ClientGoodbye]).map(|kind| self.shared(*kind));
        let direct = from_tracker().filter(|kind| kind.has_direct_topic()).map(|kind| self.direct(*kind, me));
        shared.chain(direct).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_the_event_and_the_client() {
        let topics = Topics::new("plant-1/line_2").unwrap();
        let me: ClientId = "t1".parse().unwrap();
        for &kind in EventKind::ALL {
            assert_eq!(topics.parse(&topics.shared(kind)), Some((kind, None)));
            let direct = topics.parse(&topics.direct(kind, &me));
            assert_eq!(direct, kind.has_direct_topic().then(|| (kind, Some(me.clone()))), "{kind}");
        }
        for foreign in [
            "tracker/hello",
            "plant-1/line_2/tracker/hello/",
            "plant-1/line_2/tracker/hello/A",
            "plant-1/line_2/x",
        ] {
            assert_eq!(topics.parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn without_a_prefix_the_topics_are_those_of_the_specification() {
        let topics = Topics::new("").unwrap();
        assert_eq!(topics.shared(EventKind::FragmentDistributionStarted), "fragments/distribution/started");
        assert_eq!(topics.tracker_client_id().as_str(), "tracker");
        assert_eq!(Topics::new("a/b").unwrap().tracker_client_id().as_str(), "a-b-tracker");
    }

    #[test]
    fn a_prefix_with_a_wildcard_is_refused() {
        for bad in ["/", "a/", "/a", "a//b", "+", "#", "A", "a.b"] {
            assert!(Topics::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_role_hears_exactly_what_concerns_it() {
        let topics = Topics::new("").unwrap();
        let torrent = topics.torrent_subscriptions(&"t1".parse().unwrap());
        assert_eq!(torrent.len(), 12 + 4, "{torrent:?}");
        assert!(torrent.contains(&"clients/goodbye".to_owned()));
        assert!(torrent.contains(&"fragments/distribution/delivered/t1".to_owned()));
        let tracker = topics.tracker_subscriptions(false);
        assert_eq!(tracker.len(), 8 + 8 + 3, "{tracker:?}");
        for presence in ["tracker/hello", "tracker/hello/+", "tracker/goodbye"] {
            assert!(tracker.contains(&presence.to_owned()), "{presence}");
        }
        assert_eq!(topics.tracker_subscriptions(true).len(), 8 + 3);
    }
}
