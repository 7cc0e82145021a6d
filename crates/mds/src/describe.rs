//! Files and torrents as they are printed: the field names are a contract with scripts; add to them, change none.

use std::time::SystemTime;

use endpoint::client::FileMap;
use endpoint::proto::{self, FileState, ServerState, parse_digest};
use protocol::FileName;
use serde::Serialize;

use crate::output::printable;

/// A file, as `ls` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// 64 hex digits.
    pub digest: String,
    /// Of the whole file, in bytes.
    pub size_bytes: u64,
    /// As the first uploader gave it; none if none was given.
    pub name: Option<String>,
    /// `healthy`, `degraded` or `unavailable`.
    pub state: &'static str,
    /// Fewest holders of any fragment.
    pub copies: u64,
    /// How many copies the network aims at.
    pub target_copies: u64,
    /// Equal fragments count each time.
    pub fragment_count: u64,
}

impl FileView {
    /// What a daemon says of a file. Its texts are data from the network: what cannot be read shows as nothing.
    pub fn of(file: &proto::File) -> Self {
        let digest = parse_digest(&file.digest).map(|hash| hash.to_string());
        Self {
            digest: digest.unwrap_or_default(),
            size_bytes: unsigned(file.size_bytes),
            name: Some(file.display_name.clone()).filter(|name| !name.is_empty()),
            state: state_text(file.state()),
            copies: unsigned(file.min_holders),
            target_copies: unsigned(file.target_holders),
            fragment_count: unsigned(file.fragment_count),
        }
    }

    /// The name for people.
    pub fn shown_name(&self) -> String {
        printable(self.name.as_deref().unwrap_or_default())
    }

    /// The digest and the name, as `sha256sum` prints them. What has no name is called `-`, as what `sha256sum` reads from its input.
    pub fn sum_line(&self) -> String {
        format!("{}  {}", self.digest, printable(self.name.as_deref().unwrap_or("-")))
    }
}

/// A file that was put, under the name that the user gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PutView {
    /// What `ls` says, but for the name.
    #[serde(flatten)]
    pub file: FileView,
    /// The name by which the network knows the content: the first that it was put under; none if it was put without.
    pub stored_name: Option<String>,
}

impl PutView {
    /// What the tracker says of a file that the user has put as `given`.
    pub fn of(file: &proto::File, given: Option<&FileName>) -> Self {
        let file = FileView::of(file);
        let name = given.map(ToString::to_string);
        Self { stored_name: file.name.clone(), file: FileView { name, ..file } }
    }

    /// What to tell the user where the network has the content, but under another name than the one that was given.
    pub fn warning(&self) -> Option<String> {
        let given = self.file.name.as_ref().filter(|_| self.file.name != self.stored_name)?;
        let stored = match &self.stored_name {
            Some(stored) => format!("under the name {stored:?}"),
            None => "without a name".to_owned(),
        };
        Some(format!("{given}: the network has this content already, {stored}, and keeps that"))
    }
}

/// A file with its fragments, as `info` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDetail {
    /// What `ls` says.
    #[serde(flatten)]
    pub file: FileView,
    /// In file order.
    pub fragments: Vec<FragmentView>,
}

/// A fragment at its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FragmentView {
    /// 64 hex digits.
    pub digest: String,
    /// In bytes.
    pub size_bytes: u64,
    /// Where it begins in the file, in bytes.
    pub offset_bytes: u64,
    /// The torrents that hold it, those that may be down last.
    pub holders: Vec<String>,
}

impl FileDetail {
    /// What a daemon says of a file and its fragments.
    pub fn of(map: &FileMap) -> Self {
        let fragments = map.fragments.iter().map(|fragment| FragmentView {
            digest: fragment.hash.to_string(),
            size_bytes: fragment.size_bytes,
            offset_bytes: fragment.offset_bytes,
            holders: fragment.holders.iter().map(ToString::to_string).collect(),
        });
        Self { file: FileView::of(&map.file), fragments: fragments.collect() }
    }
}

/// A torrent, as `peers` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerView {
    /// Its identifier.
    pub id: String,
    /// `registered`, `suspect` or `unregistered`.
    pub state: &'static str,
    /// The failure domain it stands in, if it said.
    pub zone: Option<String>,
    /// Where it can be asked.
    pub endpoints: Vec<String>,
    /// Bytes of fragments it holds.
    pub used_bytes: u64,
    /// Bytes of fragments it may hold, if it said.
    pub capacity_bytes: Option<u64>,
    /// How many fragments it holds.
    pub fragments: u64,
    /// When the daemon that answered last heard of it, RFC 3339 in UTC.
    pub last_seen: Option<String>,
    /// Whether it is being emptied before it leaves, as far as the daemon that answered knows.
    pub draining: bool,
    /// Of the file that was asked about: how many of its fragments it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_fragments: Option<u64>,
}

impl PeerView {
    /// What a daemon says of a torrent.
    pub fn of(server: &proto::Server) -> Self {
        let seen = server.last_seen_time.and_then(|time| SystemTime::try_from(time).ok());
        Self {
            id: shown_id(server),
            state: match server.state() {
                ServerState::Registered => "registered",
                ServerState::Suspect => "suspect",
                ServerState::Unregistered | ServerState::Unspecified => "unregistered",
            },
            zone: Some(server.zone.clone()).filter(|zone| !zone.is_empty()),
            endpoints: server.endpoints.clone(),
            used_bytes: unsigned(server.used_bytes),
            capacity_bytes: server.capacity_bytes.map(unsigned),
            fragments: unsigned(server.fragment_count),
            last_seen: seen.map(|time| humantime::format_rfc3339_millis(time).to_string()),
            draining: server.draining,
            file_fragments: None,
        }
    }
}

/// A torrent's identifier, or what stands in its place.
pub fn shown_id(server: &proto::Server) -> String {
    server.name.strip_prefix("servers/").unwrap_or(&server.name).to_owned()
}

/// A count or size of a message: what is negative cannot be meant.
pub fn unsigned(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or_default()
}

const fn state_text(state: FileState) -> &'static str {
    match state {
        FileState::Healthy => "healthy",
        FileState::Degraded => "degraded",
        FileState::Unavailable | FileState::Unspecified => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use endpoint::proto::digest_text;
    use protocol::Hash;
    use serde_json::json;

    use super::*;

    fn file() -> proto::File {
        proto::File {
            digest: digest_text(&Hash::of(b"x")),
            size_bytes: 1,
            display_name: "a/b".into(),
            min_holders: 1,
            target_holders: 2,
            fragment_count: 1,
            state: FileState::Degraded.into(),
            ..proto::File::default()
        }
    }

    #[test]
    fn a_file_has_the_fields_of_the_contract() {
        let json = serde_json::to_value(FileView::of(&file())).unwrap();
        let expected = json!({
            "digest": Hash::of(b"x").to_string(), "size_bytes": 1, "name": "a/b", "state": "degraded", "copies": 1,
            "target_copies": 2, "fragment_count": 1,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_line_of_put_is_one_of_sha256sum() {
        let named = FileView::of(&file());
        assert_eq!(named.sum_line(), format!("{}  a/b", Hash::of(b"x")));
        let nameless = FileView::of(&proto::File { display_name: String::new(), ..file() });
        assert_eq!(nameless.name, None);
        assert_eq!(nameless.sum_line(), format!("{}  -", Hash::of(b"x")));
    }

    #[test]
    fn a_file_that_was_put_has_the_name_that_was_given_and_the_one_that_is_kept() {
        let name: FileName = "c".parse().unwrap();
        let put = PutView::of(&file(), Some(&name));
        assert_eq!(put.file.sum_line(), format!("{}  c", Hash::of(b"x")));
        let json = serde_json::to_value(&put).unwrap();
        assert_eq!((&json["name"], &json["stored_name"]), (&json!("c"), &json!("a/b")));
        assert!(put.warning().is_some_and(|text| text.contains("\"a/b\"")));
        // Who gives no name misses none.
        assert_eq!(PutView::of(&file(), None).warning(), None);
        assert_eq!(PutView::of(&file(), Some(&"a/b".parse().unwrap())).warning(), None);
        let nameless = proto::File { display_name: String::new(), ..file() };
        assert!(PutView::of(&nameless, Some(&name)).warning().is_some());
    }

    #[test]
    fn a_torrent_has_the_fields_of_the_contract() {
        let server = proto::Server {
            name: "servers/t1".into(),
            endpoints: vec!["grpc://h:1".into()],
            state: proto::ServerState::Suspect.into(),
            used_bytes: 5,
            fragment_count: 2,
            last_seen_time: Some((SystemTime::UNIX_EPOCH + Duration::from_millis(1500)).into()),
            ..proto::Server::default()
        };
        let expected = json!({
            "id": "t1", "state": "suspect", "zone": null, "endpoints": ["grpc://h:1"], "used_bytes": 5,
            "capacity_bytes": null, "fragments": 2, "last_seen": "1970-01-01T00:00:01.500Z", "draining": false,
        });
        assert_eq!(serde_json::to_value(PeerView::of(&server)).unwrap(), expected);
    }

    #[test]
    fn nonsense_of_a_daemon_shows_as_nothing() {
        let file = proto::File { digest: "x".into(), size_bytes: -1, ..proto::File::default() };
        let view = FileView::of(&file);
        assert_eq!((view.digest.as_str(), view.size_bytes, view.state), ("", 0, "unavailable"));
    }
}
