//! The read service, asked over the network.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use endpoint::client::{CallError, ClientError, Cluster, FileFilter};
use endpoint::names::{file_name, fragment_name};
use endpoint::proto::{self, ErrorReason, FileState};
use futures::{StreamExt, TryStreamExt};
use protocol::Hash;
use support::{Daemon, Disk, FRAGMENT_SIZE, KnownFile, Plan, connect, content, fragments_of, start};
use tonic::{Code, Status};

async fn read_file(cluster: &Cluster, file: &Hash, offset: u64, limit: u64) -> Result<Vec<u8>, ClientError> {
    let mut stream = cluster.read_file(file, offset, limit);
    let mut bytes = Vec::new();
    while let Some(message) = stream.next().await {
        bytes.extend_from_slice(&message?.data);
    }
    Ok(bytes)
}

async fn read_one(daemon: &Daemon, request: proto::ReadFileRequest) -> Result<Vec<u8>, Status> {
    let mut client = connect(std::slice::from_ref(daemon)).await.reader(&daemon.endpoint).unwrap();
    let mut stream = client.read_file(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await? {
        assert_eq!(message.offset as usize, bytes.len());
        bytes.extend_from_slice(&message.data);
    }
    Ok(bytes)
}

fn reason(daemon: &Daemon, status: &Status) -> (Code, Option<ErrorReason>) {
    let error = CallError::new(&daemon.endpoint, status);
    (error.code, error.reason)
}

#[tokio::test]
async fn lists_come_in_pages_and_lose_nothing() {
    let contents: Vec<_> = (1..=25).map(|length| content(length * 100)).collect();
    let files: Vec<_> = contents.iter().map(|content| KnownFile::of(content, None)).collect();
    let big = content(30 * FRAGMENT_SIZE);
    let mut all = files;
    all.push(KnownFile::of(&big, None));
    let torrents = ["t1", "t2", "t3", "t4", "t5"];
    let daemons = start(&all, torrents.iter().map(|id| Plan::torrent(id, &fragments_of(&big))).collect());
    let cluster = connect(&daemons[..1]).await;
    let mut reader = cluster.reader(&daemons[0].endpoint).unwrap();

    let mut digests = Vec::new();
    let mut request = proto::ListFilesRequest { page_size: 4, ..Default::default() };
    loop {
        let page = reader.list_files(request.clone()).await.unwrap().into_inner();
        assert!(page.files.len() <= 4);
        digests.extend(page.files.into_iter().map(|file| file.digest));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut expected: Vec<_> = all.iter().map(|file| format!("sha256:{}", file.hash)).collect();
    expected.sort();
    assert_eq!(digests, expected);

    let mut servers = Vec::new();
    let mut request = proto::ListServersRequest { page_size: 2, ..Default::default() };
    loop {
        let page = reader.list_servers(request.clone()).await.unwrap().into_inner();
        servers.extend(page.servers.into_iter().map(|server| server.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(servers, torrents.map(|id| format!("servers/{id}")));

    let mut offsets = Vec::new();
    let mut request = proto::ListFragmentsRequest {
        parent: file_name(&Hash::of(&big)),
        page_size: 7,
        ..Default::default()
    };
    loop {
        let page = reader.list_fragments(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.servers.len(), 5);
        for fragment in page.fragments {
            assert_eq!(fragment.holders.len(), 5);
            offsets.push(fragment.offset_bytes as usize);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(offsets, (0..30).map(|index| index * FRAGMENT_SIZE).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_with_many_holders_that_have_long_names_can_be_listed_and_mapped() {
    const FRAGMENTS: usize = 1000;
    let content = content(FRAGMENTS * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let fragments = fragments_of(&content);
    let names: Vec<&'static str> = (0..16).map(|number| &*format!("{number:t>64}").leak()).collect();
    let daemons = start(&[file], names.iter().map(|id| Plan::torrent(id, &fragments)).collect());
    let cluster = connect(&daemons).await;
    let request =
        proto::ListFragmentsRequest { parent: file_name(&hash), page_size: 1000, ..Default::default() };
    let mut reader = cluster.reader(&daemons[0].endpoint).unwrap();
    let page = reader.list_fragments(request).await.unwrap().into_inner();
    assert!((1..FRAGMENTS).contains(&page.fragments.len()) && !page.next_page_token.is_empty());
    assert_eq!(cluster.file_map(&hash).await.unwrap().fragments.len(), FRAGMENTS);
}

#[tokio::test]
async fn a_file_list_can_be_filtered_by_name_and_by_digest() {
    let names = ["maps/berlin", "maps/paris", "maps/berlin.old"];
    let files: Vec<_> =
        (1..).zip(names).map(|(length, name)| KnownFile::of(&content(length), Some(name))).collect();
    let daemons = start(&files, vec![Plan::torrent("t1", &[])]);
    let cluster = connect(&daemons).await;
    let found = async |filter: FileFilter| -> Vec<String> {
        let files: Vec<_> = cluster.files(filter).try_collect().await.unwrap();
        let mut names: Vec<_> = files.into_iter().map(|file| file.display_name).collect();
        names.sort();
        names
    };
    let contains = FileFilter { name_contains: "berlin".into(), ..Default::default() };
    assert_eq!(found(contains).await, ["maps/berlin", "maps/berlin.old"]);
    let exactly = FileFilter { name: "maps/berlin".into(), ..Default::default() };
    assert_eq!(found(exactly).await, ["maps/berlin"]);
    for file in &files {
        let digits = file.hash.to_string();
        for prefix in [digits[..8].to_uppercase(), format!("sha256:{}", &digits[..9]), digits.clone()] {
            let filter = FileFilter { digest_prefix: prefix, ..Default::default() };
            assert_eq!(found(filter).await, [file.info.name.clone().unwrap().as_str()]);
        }
    }
    let none = FileFilter { digest_prefix: "0".repeat(64), ..Default::default() };
    assert!(found(none).await.is_empty());
}

#[tokio::test]
async fn a_range_of_a_file_is_exactly_the_bytes_asked_for() {
    let size = 5 * FRAGMENT_SIZE + 100;
    let content = content(size);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let daemons = start(&[file], vec![Plan::torrent("t1", &fragments_of(&content))]);
    let cluster = connect(&daemons).await;
    for (offset, limit) in [
        (0, 0),
        (0, 1),
        (FRAGMENT_SIZE - 1, 2),
        (FRAGMENT_SIZE, FRAGMENT_SIZE),
        (100, 3 * FRAGMENT_SIZE),
        (size - 1, 0),
        (size - 1, 1000),
        (size, 0),
        (size, 10),
    ] {
        let end = if limit == 0 { size } else { (offset + limit).min(size) };
        let bytes = read_file(&cluster, &hash, offset as u64, limit as u64).await.unwrap();
        assert_eq!(bytes, content[offset..end], "{offset} + {limit}");
    }
}

#[tokio::test]
async fn a_range_of_a_fragment_is_exactly_the_bytes_asked_for() {
    let content = content(FRAGMENT_SIZE);
    let hash = Hash::of(&content);
    let daemons = start(&[], vec![Plan::torrent("t1", &[(hash, content.clone())])]);
    let mut reader = connect(&daemons).await.reader(&daemons[0].endpoint).unwrap();
    for (read_offset, read_limit, expected) in [
        (0, 0, &content[..]),
        (10, 20, &content[10..30]),
        (1000, 0, &content[1000..]),
        (1024, 0, &content[1024..]),
    ] {
        let request = proto::ReadFragmentRequest { name: hash.to_string(), read_offset, read_limit };
        let mut stream = reader.read_fragment(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            assert_eq!(message.offset, read_offset + bytes.len() as i64);
            assert_eq!(message.total_size_bytes, if bytes.is_empty() { 1024 } else { 0 });
            bytes.extend_from_slice(&message.data);
        }
        assert_eq!(bytes, expected);
    }
}

#[tokio::test]
async fn every_failure_of_a_read_has_its_code_and_reason() {
    let content = content(FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let name = file_name(&file.hash);
    let daemons = start(&[file], vec![Plan::torrent("t1", &fragments_of(&content))]);
    let unknown = file_name(&Hash::of(b"unknown"));
    for (name, read_offset, read_limit, code, expected) in [
        ("files/nonsense", 0, 0, Code::InvalidArgument, ErrorReason::InvalidDigest),
        ("", 0, 0, Code::InvalidArgument, ErrorReason::InvalidDigest),
        (&unknown, 0, 0, Code::NotFound, ErrorReason::FileNotFound),
        (&name, -1, 0, Code::OutOfRange, ErrorReason::OffsetOutOfRange),
        (&name, 1025, 0, Code::OutOfRange, ErrorReason::OffsetOutOfRange),
        (&name, 0, -1, Code::InvalidArgument, ErrorReason::NegativeLimit),
    ] {
        let request = proto::ReadFileRequest { name: name.to_owned(), read_offset, read_limit };
        let status = read_one(&daemons[0], request).await.unwrap_err();
        assert_eq!(reason(&daemons[0], &status), (code, Some(expected)), "{name} {read_offset} {read_limit}");
    }
    let mut reader = connect(&daemons).await.reader(&daemons[0].endpoint).unwrap();
    let not_held =
        proto::ReadFragmentRequest { name: fragment_name(&Hash::of(b"unknown")), ..Default::default() };
    let status = reader.read_fragment(not_held).await.unwrap_err();
    assert_eq!(reason(&daemons[0], &status), (Code::NotFound, Some(ErrorReason::FragmentNotHeld)));

    let status =
        reader.list_files(proto::ListFilesRequest { page_size: -1, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&daemons[0], &status), (Code::InvalidArgument, Some(ErrorReason::InvalidField)));
    let token = proto::ListFilesRequest { page_token: "x".into(), ..Default::default() };
    let status = reader.list_files(token).await.unwrap_err();
    assert_eq!(reason(&daemons[0], &status), (Code::InvalidArgument, Some(ErrorReason::InvalidPageToken)));
    let request = proto::BatchGetFragmentsRequest { digests: vec![Hash::of(b"").to_string(); 10_001] };
    let status = reader.batch_get_fragments(request).await.unwrap_err();
    assert_eq!(reason(&daemons[0], &status), (Code::InvalidArgument, Some(ErrorReason::TooMany)));
}

#[tokio::test]
async fn a_daemon_without_the_bytes_delivers_the_file_from_others() {
    let content = content(50 * FRAGMENT_SIZE + 1);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let fragments = fragments_of(&content);
    let (odd, even): (Vec<_>, Vec<_>) =
        fragments.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
    let strip =
        |fragments: Vec<(usize, _)>| fragments.into_iter().map(|(_, fragment)| fragment).collect::<Vec<_>>();
    let daemons = start(
        &[file],
        vec![Plan::tracker(&[]), Plan::torrent("t1", &strip(odd)), Plan::torrent("t2", &strip(even))],
    );
    let bytes =
        read_one(&daemons[0], proto::ReadFileRequest { name: file_name(&hash), ..Default::default() });
    assert_eq!(bytes.await.unwrap(), content);
}

#[tokio::test]
async fn a_file_that_was_just_uploaded_is_read_through_any_daemon() {
    let content = content(5 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let request = proto::ReadFileRequest { name: file_name(&file.hash), ..Default::default() };
    let daemons = start(&[file], vec![Plan::tracker(&fragments_of(&content)), Plan::torrent("t1", &[])]);
    assert_eq!(read_one(&daemons[1], request).await.unwrap(), content);
}

#[tokio::test]
async fn bytes_that_are_not_the_fragment_never_reach_the_client() {
    let content = content(20 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let fragments = fragments_of(&content);
    let daemons = start(
        &[file],
        vec![
            Plan::tracker(&[]),
            Plan::torrent("liar", &fragments).disk(Disk::Lying),
            Plan::torrent("damaged", &fragments).disk(Disk::Damaged),
            Plan::torrent("forgetful", &fragments).disk(Disk::Forgetful),
            Plan::torrent("sound", &fragments),
        ],
    );
    let bytes =
        read_one(&daemons[0], proto::ReadFileRequest { name: file_name(&hash), ..Default::default() });
    assert_eq!(bytes.await.unwrap(), content);
    // A daemon whose own copy is damaged takes the bytes from others too, but does not offer its own.
    let request = proto::ReadFileRequest { name: file_name(&hash), ..Default::default() };
    assert_eq!(read_one(&daemons[2], request).await.unwrap(), content);
    let mut reader = connect(&daemons).await.reader(&daemons[2].endpoint).unwrap();
    let request = proto::ReadFragmentRequest { name: fragment_name(&fragments[0].0), ..Default::default() };
    let status = reader.read_fragment(request).await.unwrap_err();
    assert_eq!(reason(&daemons[2], &status), (Code::DataLoss, Some(ErrorReason::StoredBytesDamaged)));
}

#[tokio::test]
async fn a_file_whose_holders_are_gone_is_unavailable_and_says_which_fragment() {
    let content = content(2 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let fragments = fragments_of(&content);
    let mut daemons = start(&[file], vec![Plan::tracker(&[]), Plan::torrent("t1", &fragments)]);
    drop(daemons.pop());
    let request = proto::ReadFileRequest { name: file_name(&hash), ..Default::default() };
    let status = read_one(&daemons[0], request).await.unwrap_err();
    let error = CallError::new(&daemons[0].endpoint, &status);
    assert_eq!((error.code, error.reason), (Code::Unavailable, Some(ErrorReason::NoReachableHolder)));
    assert_eq!(error.metadata["fragments"], format!("sha256:{}", fragments[0].0));
    let error = read_file(&connect(&daemons).await, &hash, 0, 0).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::NoReachableHolder));
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let file = KnownFile::of(b"", Some("empty"));
    let hash = file.hash;
    let daemons = start(&[file], vec![Plan::torrent("t1", &[])]);
    let cluster = connect(&daemons).await;
    assert!(read_file(&cluster, &hash, 0, 0).await.unwrap().is_empty());
    let file = cluster.file(&hash).await.unwrap();
    assert_eq!((file.size_bytes, file.fragment_count, file.state()), (0, 0, FileState::Healthy));
    assert!(cluster.file_map(&hash).await.unwrap().fragments.is_empty());
}

#[tokio::test]
async fn a_read_goes_on_at_another_daemon_when_one_dies() {
    let content = content(300 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let fragments = fragments_of(&content);
    let mut daemons = start(&[file], vec![Plan::torrent("t1", &fragments), Plan::torrent("t2", &fragments)]);
    let cluster = connect(&daemons).await;
    let mut stream = cluster.read_file(&hash, 0, 0);
    let mut bytes = Vec::new();
    while let Some(message) = stream.next().await {
        bytes.extend_from_slice(&message.unwrap().data);
        if daemons.len() == 2 {
            drop(daemons.remove(0));
        }
    }
    assert_eq!(bytes, content);
}

#[tokio::test]
async fn one_answer_tells_the_state_of_the_network() {
    let both = content(3 * FRAGMENT_SIZE);
    let single: Vec<_> = fragments_of(&both[..FRAGMENT_SIZE]);
    let nowhere = support::content(100);
    let files = [KnownFile::of(&both, Some("both")), KnownFile::of(&nowhere, Some("nowhere"))];
    let hashes = [files[0].hash, files[1].hash];
    let daemons = start(
        &files,
        vec![
            Plan::tracker(&[]),
            Plan::torrent("t1", &fragments_of(&both)),
            Plan::torrent("t2", &single),
            Plan::torrent("t3", &fragments_of(&both)).suspect(),
        ],
    );
    let cluster = connect(&daemons[..1]).await;
    let network = cluster.network().await.unwrap();
    assert_eq!((network.role(), network.server_id.as_str()), (proto::ServerRole::Tracker, "tracker"));
    assert_eq!((network.fragment_size_bytes, network.copies), (FRAGMENT_SIZE as i64, 2));
    assert!(network.tracker_online && !network.broker_connected);
    let health = network.health.unwrap();
    assert_eq!((health.servers_registered, health.servers_suspect, health.servers_known), (2, 1, 3));
    assert_eq!((health.files, health.fragments), (2, 4));
    assert_eq!((health.fragments_under_replicated, health.fragments_unavailable), (2, 1));

    let file = cluster.file(&hashes[0]).await.unwrap();
    assert_eq!((file.state(), file.min_holders, file.target_holders), (FileState::Degraded, 2, 2));
    assert_eq!(cluster.file(&hashes[1]).await.unwrap().state(), FileState::Unavailable);
    let map = cluster.file_map(&hashes[0]).await.unwrap();
    let last = map.fragments[0].holders.last().unwrap();
    assert_eq!(last.as_str(), "t3", "who may be down is asked last");
}

#[tokio::test]
async fn what_only_this_daemon_has_is_not_unavailable() {
    let content = content(2 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let daemons = start(&[file], vec![Plan::tracker(&fragments_of(&content))]);
    let cluster = connect(&daemons).await;
    let file = cluster.file(&hash).await.unwrap();
    assert_eq!((file.state(), file.min_holders), (FileState::Degraded, 0));
    let health = cluster.network().await.unwrap().health.unwrap();
    assert_eq!((health.fragments_under_replicated, health.fragments_unavailable), (2, 0));
    assert_eq!(read_file(&cluster, &hash, 0, 0).await.unwrap(), content);
}

#[tokio::test]
async fn a_daemon_tells_which_fragments_it_has() {
    let content = content(4 * FRAGMENT_SIZE);
    let fragments = fragments_of(&content);
    let daemons = start(&[], vec![Plan::torrent("t1", &fragments[1..3])]);
    let cluster = connect(&daemons).await;
    let asked: Vec<_> = fragments.iter().map(|(hash, _)| *hash).collect();
    let answers = cluster.who_has(&asked).await;
    assert_eq!(answers, [(daemons[0].endpoint.clone(), asked[1..3].to_vec())]);
}

#[tokio::test]
async fn a_client_asks_the_next_daemon_when_one_is_gone() {
    let file = KnownFile::of(b"x", None);
    let hash = file.hash;
    let mut daemons = start(&[file], vec![Plan::torrent("t1", &[]), Plan::torrent("t2", &[])]);
    let cluster = connect(&daemons).await;
    assert_eq!(cluster.endpoints().len(), 2, "the second was learnt from the first");
    drop(daemons.remove(0));
    assert_eq!(cluster.file(&hash).await.unwrap().size_bytes, 1);
    assert_eq!(cluster.endpoints()[0], daemons[0].endpoint, "the one that answers is asked first");
    drop(daemons);
    let error = cluster.file(&hash).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(ref errors) if errors.len() == 2), "{error}");
}

#[tokio::test]
async fn a_file_that_one_daemon_missed_is_found_at_another() {
    let content = content(FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let daemons = start(&[file], vec![Plan::torrent("t1", &fragments_of(&content))]);
    let behind = start(&[], vec![Plan::torrent("t2", &[])]);
    let endpoints = [behind[0].endpoint.clone(), daemons[0].endpoint.clone()];
    let cluster = Cluster::connect(endpoints).await.unwrap();
    assert_eq!(cluster.file(&hash).await.unwrap().size_bytes, FRAGMENT_SIZE as i64);
    let error = cluster.file(&Hash::of(b"unknown")).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::FileNotFound));
}

#[tokio::test]
async fn a_server_asked_to_end_finishes_its_streams_first() {
    let content = content(300 * FRAGMENT_SIZE);
    let file = KnownFile::of(&content, None);
    let hash = file.hash;
    let mut daemons = start(&[file], vec![Plan::torrent("t1", &fragments_of(&content))]);
    let cluster = connect(&daemons).await;
    let mut stream = cluster.read_file(&hash, 0, 0);
    let mut bytes = stream.next().await.unwrap().unwrap().data.to_vec();
    daemons[0].ask_to_end();
    while let Some(message) = stream.next().await {
        bytes.extend_from_slice(&message.unwrap().data);
    }
    assert_eq!(bytes, content);
    daemons[0].ended().await;
}
