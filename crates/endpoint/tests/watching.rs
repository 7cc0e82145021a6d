//! Following what a daemon knows.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use distribution::view::{Change, FileInfo};
use endpoint::ServerState;
use endpoint::client::{CallError, Reader};
use endpoint::names::file_name;
use endpoint::proto::{ErrorReason, FileState, WatchKind, WatchRequest, WatchResponse};
use futures::StreamExt;
use protocol::Hash;
use support::{Daemon, FRAGMENT_SIZE, Happening, KnownFile, Plan, connect, content, fragments_of, start};
use tokio::time::timeout;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client knows that only listens.
#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<String, (i32, FileState)>,
    servers: BTreeMap<String, i32>,
    cursor: String,
    snapshots: usize,
}

impl Known {
    fn take(&mut self, message: WatchResponse) -> WatchKind {
        let kind = message.kind();
        if !message.cursor.is_empty() {
            self.cursor = message.cursor;
        }
        match kind {
            WatchKind::Unspecified => panic!("nothing is told"),
            WatchKind::SnapshotBegun => {
                self.snapshots += 1;
                (self.files, self.servers) = Default::default();
            }
            WatchKind::SnapshotEnded => assert!(!self.cursor.is_empty()),
            WatchKind::FilePresent | WatchKind::FilePublished | WatchKind::FileChanged => {
                let file = message.file.unwrap();
                assert_eq!(file.name, message.name);
                self.files.insert(message.name, (file.min_holders, file.state()));
            }
            WatchKind::FileRemoved => drop(self.files.remove(&message.name)),
            WatchKind::ServerPresent
            | WatchKind::ServerRegistered
            | WatchKind::ServerSuspect
            | WatchKind::ServerUnregistered
            | WatchKind::ServerChanged => {
                self.servers.insert(message.name, message.server.unwrap().state);
            }
        }
        kind
    }

    async fn listen_until(
        &mut self,
        stream: &mut Streaming<WatchResponse>,
        kind: WatchKind,
    ) -> Vec<WatchKind> {
        let mut kinds = Vec::new();
        while kinds.last() != Some(&kind) {
            let message = timeout(PATIENCE, stream.message()).await;
            kinds.push(self.take(message.expect("the change is told").unwrap().expect("the stream goes on")));
        }
        kinds
    }
}

async fn reader(daemon: &Daemon) -> Reader {
    connect(std::slice::from_ref(daemon)).await.reader(&daemon.endpoint).unwrap()
}

async fn watch(daemon: &Daemon, cursor: &str) -> Streaming<WatchResponse> {
    let request = WatchRequest { cursor: cursor.to_owned() };
    reader(daemon).await.watch(request).await.unwrap().into_inner()
}

fn published(content: &[u8]) -> Change {
    let KnownFile { hash, info } = KnownFile::of(content, None);
    Change::FilePublished { hash, file: info }
}

fn happen(daemon: &Daemon, changes: impl IntoIterator<Item = Change>) {
    daemon.happen.send(Happening::Changes(changes.into_iter().collect())).unwrap();
}

#[tokio::test]
async fn the_state_comes_first_and_then_every_change() {
    let old = content(3 * FRAGMENT_SIZE);
    let daemons = start(
        &[KnownFile::of(&old, None)],
        vec![Plan::torrent("t1", &fragments_of(&old)), Plan::torrent("t2", &[])],
    );
    let mut stream = watch(&daemons[0], "").await;
    let mut known = Known::default();
    let kinds = known.listen_until(&mut stream, WatchKind::SnapshotEnded).await;
    assert_eq!(
        kinds,
        [
            WatchKind::SnapshotBegun,
            WatchKind::ServerPresent,
            WatchKind::ServerPresent,
            WatchKind::FilePresent,
            WatchKind::SnapshotEnded
        ]
    );
    let (old_name, new) = (file_name(&Hash::of(&old)), content(100));
    let new_name = file_name(&Hash::of(&new));
    assert_eq!(known.files[&old_name], (1, FileState::Degraded));

    happen(&daemons[0], [published(&new)]);
    known.listen_until(&mut stream, WatchKind::FilePublished).await;
    assert_eq!(known.files[&new_name], (0, FileState::Unavailable));

    let copied = |hash: Hash, size_bytes: u64| Change::FragmentDistributed {
        hash,
        size_bytes,
        receivers: BTreeSet::from(["t2".parse().unwrap()]),
    };
    happen(&daemons[0], fragments_of(&old).into_iter().map(|(hash, bytes)| copied(hash, bytes.len() as u64)));
    known.listen_until(&mut stream, WatchKind::FileChanged).await;
    assert_eq!(known.files[&old_name], (2, FileState::Healthy));

    // Nobody notes that a server is suspect: it is found.
    daemons[0].happen.send(Happening::State("t2", ServerState::Suspect)).unwrap();
    let kinds = known.listen_until(&mut stream, WatchKind::FileChanged).await;
    assert!(kinds.contains(&WatchKind::ServerSuspect), "{kinds:?}");
    assert_eq!(known.files[&old_name], (2, FileState::Degraded));

    happen(&daemons[0], [Change::FileRemoved { hash: Hash::of(&old) }]);
    known.listen_until(&mut stream, WatchKind::FileRemoved).await;
    assert_eq!(known.files.keys().collect::<Vec<_>>(), [&new_name]);
    assert_eq!(known.snapshots, 1);
}

#[tokio::test]
async fn that_the_trackers_own_only_copy_is_gone_is_told() {
    let file = content(2 * FRAGMENT_SIZE);
    let daemons = start(&[KnownFile::of(&file, None)], vec![Plan::tracker(&fragments_of(&file))]);
    let mut stream = watch(&daemons[0], "").await;
    let mut known = Known::default();
    known.listen_until(&mut stream, WatchKind::SnapshotEnded).await;
    let name = file_name(&Hash::of(&file));
    let before = known.files[&name];
    assert_ne!(before.1, FileState::Unavailable);
    daemons[0].happen.send(Happening::Lost(vec![fragments_of(&file)[1].0])).unwrap();
    known.listen_until(&mut stream, WatchKind::FileChanged).await;
    assert_eq!(known.files[&name], (before.0, FileState::Unavailable));
}

#[tokio::test]
async fn who_comes_back_with_a_cursor_hears_exactly_what_was_missed() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let mut stream = watch(&daemons[0], "").await;
    let mut known = Known::default();
    known.listen_until(&mut stream, WatchKind::SnapshotEnded).await;
    drop(stream);
    let contents: Vec<_> = (1..=20).map(content).collect();
    happen(&daemons[0], contents.iter().map(|content| published(content)));
    let mut stream = watch(&daemons[0], &known.cursor).await;
    while known.files.len() < contents.len() {
        known.listen_until(&mut stream, WatchKind::FilePublished).await;
    }
    assert_eq!(known.snapshots, 1);
    // The same place again: the same once more, and what came since.
    let cursor = known.cursor.clone();
    happen(&daemons[0], [Change::FileRemoved { hash: Hash::of(&contents[0]) }]);
    for _ in 0..2 {
        let mut stream = watch(&daemons[0], &cursor).await;
        assert_eq!(known.listen_until(&mut stream, WatchKind::FileRemoved).await, [WatchKind::FileRemoved]);
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_followed_leads_to_the_state() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[]), Plan::torrent("t2", &[])]);
    let mut known = Known::default();
    known.listen_until(&mut watch(&daemons[1], "").await, WatchKind::SnapshotEnded).await;
    let mut stream = watch(&daemons[0], &known.cursor).await;
    known.listen_until(&mut stream, WatchKind::SnapshotEnded).await;
    assert_eq!(known.snapshots, 2);
    let request = WatchRequest { cursor: "nonsense".into() };
    let status = reader(&daemons[0]).await.watch(request).await.unwrap_err();
    let error = CallError::new(&daemons[0].endpoint, &status);
    assert_eq!((error.code, error.reason), (Code::InvalidArgument, Some(ErrorReason::InvalidCursor)));
}

#[tokio::test]
async fn who_reads_slowly_gets_the_state_again_and_misses_nothing() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let mut stream = watch(&daemons[0], "").await;
    let mut known = Known::default();
    known.listen_until(&mut stream, WatchKind::SnapshotEnded).await;
    let cursor = known.cursor.clone();
    // More files than the log remembers.
    let hash = |number: u64| Hash::of(&number.to_be_bytes());
    let file = FileInfo { size_bytes: 0, fragments: [].into(), name: None };
    let publish = |number| Change::FilePublished { hash: hash(number), file: file.clone() };
    happen(&daemons[0], (0..10_000).map(publish));
    while known.files.len() < 10_000 {
        let message = timeout(PATIENCE, stream.message()).await.expect("goes on").unwrap().unwrap();
        known.take(message);
    }
    assert_eq!(known.snapshots, 2);
    drop(stream);
    known.listen_until(&mut watch(&daemons[0], &cursor).await, WatchKind::SnapshotEnded).await;
    assert_eq!((known.snapshots, known.files.len()), (3, 10_000));
}

#[tokio::test]
async fn watching_ends_with_the_daemon_and_goes_on_at_another_one() {
    let mut daemons = start(&[], vec![Plan::torrent("t1", &[]), Plan::torrent("t2", &[])]);
    let cluster = connect(&daemons).await;
    let mut stream = cluster.watch();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let (endpoint, message) = timeout(PATIENCE, stream.next()).await.expect("goes on").unwrap().unwrap();
        if message.kind() == WatchKind::SnapshotEnded {
            ends.push(endpoint);
            daemons[0].ask_to_end_once();
        }
    }
    assert_eq!(ends, [daemons[0].endpoint.clone(), daemons[1].endpoint.clone()]);
    // The stream does not hold up the end.
    timeout(Duration::from_secs(5), daemons[0].ended()).await.expect("the server ends at once");
}

#[tokio::test]
async fn who_watches_health_is_told_of_the_end_and_does_not_hold_it_up() {
    let mut daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let uri = format!("http://{}", daemons[0].endpoint.authority().unwrap().0);
    let channel = tonic::transport::Endpoint::new(uri).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut streams = Vec::new();
    for service in ["", "mds.v1.EndpointService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut stream = health.watch(request).await.unwrap().into_inner();
        let told = stream.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::Serving, "{service:?}");
        streams.push((service, stream));
    }
    daemons[0].ask_to_end();
    timeout(Duration::from_secs(5), daemons[0].ended()).await.expect("the server ends at once");
    for (service, mut stream) in streams {
        let told = stream.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::NotServing, "{service:?}");
        assert_eq!(stream.message().await.unwrap(), None, "{service:?}");
    }
}

#[tokio::test]
async fn too_many_watchers_are_told_to_come_back() {
    let daemons = start(&[], vec![Plan::torrent("t1", &[])]);
    let mut reader = reader(&daemons[0]).await;
    let mut streams = Vec::new();
    let status = loop {
        match reader.watch(WatchRequest::default()).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(streams.len(), 64);
    let error = CallError::new(&daemons[0].endpoint, &status);
    assert_eq!((error.code, error.reason), (Code::ResourceExhausted, Some(ErrorReason::ServerBusy)));
}
