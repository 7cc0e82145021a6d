//! Downloads from several daemons, some of which die, lie, freeze or have forgotten.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use endpoint::client::Cluster;
use endpoint::download::plan::Dropped;
use endpoint::download::{
    Download, DownloadError, DownloadOptions, FileSink, Finished, InOrderSink, Sink, verified_fragments,
};
use protocol::Hash;
use support::{Daemon, Disk, FRAGMENT_SIZE, KnownFile, Plan, connect, content, fragments_of, start};

/// Memory as a sink. Each byte must come once.
#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    written: Vec<Range<u64>>,
}

impl Sink for Memory {
    fn write_at(&mut self, offset: u64, bytes: &Bytes) -> io::Result<()> {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[start..end].copy_from_slice(bytes);
        self.written.push(offset..end as u64);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.bytes[start..start + bytes.len()]);
        Ok(())
    }
}

impl Memory {
    fn written_bytes(&self) -> u64 {
        self.written.iter().map(|range| range.end - range.start).sum()
    }
}

struct Fixture {
    content: Bytes,
    hash: Hash,
    daemons: Vec<Daemon>,
}

impl Fixture {
    fn new(content: Bytes, plans: impl FnOnce(&[(Hash, Bytes)]) -> Vec<Plan>) -> Self {
        let file = KnownFile::of(&content, None);
        let hash = file.hash;
        let daemons = start(&[file], plans(&fragments_of(&content)));
        Self { content, hash, daemons }
    }

    async fn download(&self) -> Download {
        let cluster = connect(&self.daemons).await;
        let map = cluster.file_map(&self.hash).await.unwrap();
        Download::new(cluster, map)
    }

    fn check(&self, finished: &Finished<Memory>) {
        assert_eq!(finished.sink.bytes, self.content);
        assert_eq!(finished.digest, Some(self.hash));
        assert_eq!(finished.sink.written_bytes(), self.content.len() as u64);
    }
}

fn three_torrents(fragments: &[(Hash, Bytes)]) -> Vec<Plan> {
    ["t1", "t2", "t3"].map(|id| Plan::torrent(id, fragments)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_from_all_holders_at_once() {
    let fixture = Fixture::new(content(200 * FRAGMENT_SIZE + 5), three_torrents);
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    assert_eq!(finished.holders.len(), 3);
    assert!(finished.holders.iter().all(|holder| holder.fragments > 0), "{:?}", finished.holders);
    assert_eq!(finished.fetched_bytes, fixture.content.len() as u64);
    // What stands around the bytes of so small a fragment is some hundredths of it.
    let framing = finished.received_bytes as f64 / finished.fetched_bytes as f64;
    assert!(framing > 1.0 && framing < 1.05, "{framing}");
    let sum: u64 = finished.holders.iter().map(|holder| holder.received_bytes).sum();
    assert_eq!(finished.received_bytes, sum);
}

#[tokio::test]
async fn a_holder_that_dies_is_replaced() {
    let mut fixture = Fixture::new(content(300 * FRAGMENT_SIZE), three_torrents);
    let mut dying = fixture.daemons.pop();
    let download = fixture.download().await.on_progress(move |_| drop(dying.take()));
    let finished = download.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    assert!(finished.holders.iter().any(|holder| holder.failures > 0), "{:?}", finished.holders);
}

#[tokio::test]
async fn a_holder_that_lies_is_dropped_and_its_bytes_are_not_used() {
    let fixture = Fixture::new(content(100 * FRAGMENT_SIZE), |fragments| {
        let mut plans = three_torrents(fragments);
        plans[1].disk = Disk::Lying;
        plans
    });
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    let liar = finished.holders.iter().find(|holder| holder.name == "t2").unwrap();
    assert_eq!((liar.dropped, liar.fragments, liar.bytes), (Some(Dropped::Lied), 0, 0));
    assert!(liar.received_bytes >= FRAGMENT_SIZE as u64, "what it sent counts, though it is no good");
}

#[tokio::test]
async fn a_frozen_holder_is_not_waited_for() {
    let fixture = Fixture::new(content(100 * FRAGMENT_SIZE), |fragments| {
        let mut plans = three_torrents(fragments);
        plans[2].disk = Disk::Frozen;
        plans
    });
    // Nobody may fail by waiting: only taking over gets this done.
    let options = DownloadOptions { patience: Duration::from_secs(3600), ..Default::default() };
    let finished = fixture.download().await.options(options).run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    assert_eq!(finished.holders.iter().find(|holder| holder.name == "t3").unwrap().fragments, 0);
}

#[tokio::test]
async fn damaged_and_forgotten_copies_are_taken_from_others() {
    let fixture = Fixture::new(content(100 * FRAGMENT_SIZE), |fragments| {
        let mut plans = three_torrents(fragments);
        plans[0].disk = Disk::Damaged;
        plans[1].disk = Disk::Forgetful;
        plans
    });
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
}

#[tokio::test]
async fn what_nobody_holds_yet_is_had_from_the_tracker() {
    let fixture = Fixture::new(content(10 * FRAGMENT_SIZE), |fragments| {
        vec![Plan::tracker(fragments), Plan::torrent("t1", &fragments[..3])]
    });
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    assert_eq!(finished.holders.iter().map(|holder| holder.fragments).sum::<u64>(), 10);
}

#[tokio::test]
async fn a_holder_that_only_other_daemons_can_reach_delivers_through_them() {
    // The client's view of the network names an endpoint where nobody answers; another daemon knows a better one.
    let content = content(10 * FRAGMENT_SIZE);
    let fragments = fragments_of(&content);
    let file = || KnownFile::of(&content, None);
    let inside = start(&[file()], vec![Plan::tracker(&[]), Plan::torrent("t1", &fragments)]);
    let outside = start(
        &[file()],
        vec![Plan::tracker(&[]), Plan::torrent("t1", &fragments).announced("grpc://127.0.0.1:1")],
    );
    let endpoints = [outside[0].endpoint.clone(), inside[0].endpoint.clone()];
    let cluster = Cluster::connect(endpoints).await.unwrap();
    let map = cluster.file_map(&Hash::of(&content)).await.unwrap();
    assert_eq!(map.endpoints.len(), 1);
    let finished = Download::new(cluster, map).run(Memory::default()).await.unwrap();
    assert_eq!(finished.sink.bytes, content);
    let relay = finished.holders.iter().find(|holder| holder.fragments > 0).unwrap();
    assert!(relay.name.starts_with("by way of"), "{relay:?}");
}

#[tokio::test]
async fn what_nobody_has_is_named_and_the_rest_is_delivered() {
    let fixture = Fixture::new(content(10 * FRAGMENT_SIZE), |fragments| {
        vec![Plan::torrent("t1", &fragments[..4]), Plan::torrent("t2", &fragments[5..])]
    });
    let part = tempfile::tempfile().unwrap();
    let download = fixture.download().await;
    let error = download.run(FileSink(part.try_clone().unwrap())).await.unwrap_err();
    let missing = fragments_of(&fixture.content)[4].0;
    assert!(
        matches!(&error, DownloadError::Unavailable { fragments, .. } if *fragments == [missing]),
        "{error}"
    );
    let map = connect(&fixture.daemons).await.file_map(&fixture.hash).await.unwrap();
    let there = verified_fragments(&part, &map.fragments).unwrap();
    assert_eq!(there, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_download_goes_on_where_an_earlier_one_ended() {
    let fixture = Fixture::new(content(50 * FRAGMENT_SIZE + 7), three_torrents);
    let have = [0, 3, 4, 20, 50];
    let mut sink = Memory { bytes: vec![0; fixture.content.len()], written: Vec::new() };
    for index in have {
        let range = index * FRAGMENT_SIZE..((index + 1) * FRAGMENT_SIZE).min(fixture.content.len());
        sink.bytes[range.clone()].copy_from_slice(&fixture.content[range]);
    }
    let finished = fixture.download().await.resume(have).run(sink).await.unwrap();
    assert_eq!(finished.sink.bytes, fixture.content);
    assert_eq!(finished.digest, Some(fixture.hash), "over all, also what was there");
    assert_eq!(finished.fetched_bytes, 46 * FRAGMENT_SIZE as u64);
}

#[tokio::test]
async fn a_range_takes_only_the_fragments_it_needs() {
    let fixture = Fixture::new(content(20 * FRAGMENT_SIZE + 7), three_torrents);
    let size = fixture.content.len() as u64;
    for (range, fragments) in
        [(1000..1000, 0), (0..1, 1), (1000..1030, 2), (2048..4096, 2), (size - 1..size, 1), (0..size, 21)]
    {
        let download = fixture.download().await.range(range.clone());
        let finished = download.run(Memory::default()).await.unwrap();
        assert_eq!(finished.sink.written_bytes(), range.end - range.start);
        let (start, end) = (range.start as usize, range.end as usize);
        if start < end {
            assert_eq!(finished.sink.bytes[start..], fixture.content[start..end]);
        }
        assert_eq!(
            finished.holders.iter().map(|holder| holder.fragments).sum::<u64>(),
            fragments,
            "{range:?}"
        );
    }
    let error = fixture.download().await.range(0..size + 1).run(Memory::default()).await.unwrap_err();
    assert!(matches!(error, DownloadError::OutOfRange { .. }), "{error}");
}

#[tokio::test]
async fn an_empty_file_is_downloaded_and_verified() {
    let fixture = Fixture::new(Bytes::new(), three_torrents);
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
}

#[tokio::test]
async fn equal_fragments_are_fetched_once() {
    let one = content(FRAGMENT_SIZE);
    let fixture = Fixture::new(one.repeat(40).into(), three_torrents);
    let finished = fixture.download().await.run(Memory::default()).await.unwrap();
    fixture.check(&finished);
    assert_eq!(finished.fetched_bytes, FRAGMENT_SIZE as u64);
}

#[tokio::test]
async fn a_stream_gets_the_file_in_order_within_a_small_window() {
    let half = content(60 * FRAGMENT_SIZE);
    let fixture = Fixture::new([&half[..], &half[..]].concat().into(), three_torrents);
    let options = DownloadOptions { window_bytes: Some(8 * FRAGMENT_SIZE as u64), ..Default::default() };
    let sink = InOrderSink::new(Vec::new(), 0);
    let finished = fixture.download().await.options(options).run(sink).await.unwrap();
    assert_eq!(finished.digest, Some(fixture.hash));
    assert_eq!(finished.sink.into_inner(), fixture.content);
}

#[tokio::test]
async fn a_wrong_list_of_fragments_is_noticed() {
    let content = content(10 * FRAGMENT_SIZE);
    let mut file = KnownFile::of(&content, None);
    file.hash = Hash::of(b"something else");
    let hash = file.hash;
    let daemons = start(&[file], vec![Plan::torrent("t1", &fragments_of(&content))]);
    let fixture = Fixture { content, hash, daemons };
    let error = fixture.download().await.run(Memory::default()).await.unwrap_err();
    assert!(matches!(error, DownloadError::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_download() {
    #[derive(Debug)]
    struct Full;
    impl Sink for Full {
        fn write_at(&mut self, _: u64, _: &Bytes) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
    let fixture = Fixture::new(content(100 * FRAGMENT_SIZE), three_torrents);
    let error = fixture.download().await.run(Full).await.unwrap_err();
    assert!(
        matches!(&error, DownloadError::Sink(source) if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
}
