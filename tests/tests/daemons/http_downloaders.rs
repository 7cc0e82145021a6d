//! What people download large files with, on files beyond what 32 bits can count: `curl` that resumes, `aria2c` with several connections.

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Output;

use bytes::Bytes;
use mds_tests::brokers::Package;
use mds_tests::http::{get, request};
use mds_tests::{needs_mosquitto, needs_program};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::support::{Service, content, recorded_site};

const ARIA2: Package = Package { name: "aria2", program: "aria2c", package: "aria2" };

const CURL: [&str; 5] = ["--silent", "--show-error", "--fail", "--noproxy", "*"];

const FRAGMENT_BYTES: usize = 1 << 20;
/// So many fragments of zeros come first.
const ZEROS: usize = 4095;
/// Where the bytes without a pattern begin: they lie on both sides of 4 GiB.
const MIXED_FROM: u64 = (ZEROS * FRAGMENT_BYTES) as u64;
const MIXED: usize = 3 * FRAGMENT_BYTES + 777;

async fn ran(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn a_file_beyond_four_gibibytes_is_read_at_any_place_and_resumed() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let arguments = ["--copies", "1", "--fragment-size", "1048576"];
    let mut service = Service::start(site.with_http(), 1, &arguments).await;
    let mixed = content(61, MIXED);
    let pieces = mixed.chunks(FRAGMENT_BYTES).map(Bytes::copy_from_slice);
    let fragments = std::iter::once(Bytes::from(vec![0; FRAGMENT_BYTES])).chain(pieces).collect();
    let digest = service.tracker.client.put_repeating("disk.img", fragments, ZEROS).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    mds_tests::client::agree(&service.clients()).await;
    let address = service.torrents[0].daemon.http().await;
    let size = MIXED_FROM + MIXED as u64;
    let path = format!("/files/{digest}");
    let url = format!("http://{address}{path}");

    let head = request(&address, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.field("content-length")), (200, Some(&*size.to_string())));
    let range =
        async |range: &str| ran("curl", &[&CURL[..], &["--range", range, &url]].concat()).await.stdout;
    let of_mixed = |from: u64, to: u64| {
        let index = |offset: u64| usize::try_from(offset - MIXED_FROM).unwrap();
        mixed[index(from)..=index(to)].to_owned()
    };
    for (from, to) in [((4 << 30) - 1000, (4 << 30) + 1000), ((4 << 30) + 17, (4 << 30) + 17)] {
        assert!(range(&format!("{from}-{to}")).await == of_mixed(from, to), "{from} to {to}");
    }
    assert!(range("-777").await == mixed[MIXED - 777..]);
    assert!(range("1000-1999").await == vec![0; 1000]);
    let beyond = request(&address, "GET", &path, &[("Range", &format!("bytes={size}-"))]).await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some(&*format!("bytes */{size}"))));

    // A download that broke off between 4 GiB and the end.
    let directory = tempfile::tempdir().unwrap();
    let partial = directory.path().join("partial");
    let had = (4 << 30) + 12_345;
    let mut file = File::create(&partial).unwrap();
    file.seek(SeekFrom::Start(MIXED_FROM)).unwrap();
    file.write_all(&of_mixed(MIXED_FROM, had - 1)).unwrap();
    ran("curl", &[&CURL[..], &["-C", "-", "-o", partial.to_str().unwrap(), &url]].concat()).await;
    assert_eq!(sha256(&partial), digest);
}

#[tokio::test]
async fn aria2c_takes_one_file_over_several_connections_and_goes_on_with_it() {
    needs_mosquitto!();
    needs_program!(ARIA2);
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 2, &["--copies", "2"]).await;
    let digest = service.tracker.client.put("map", Cursor::new(content(62, 9_000_001))).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    mds_tests::client::agree(&service.clients()).await;
    // The same file from two torrents, as pieces of one download.
    let mut urls = Vec::new();
    for torrent in &mut service.torrents {
        urls.push(format!("http://{}/files/{digest}", torrent.daemon.http().await));
    }
    let directory = tempfile::tempdir().unwrap();
    let checksum = format!("--checksum=sha-256={digest}");
    let to = directory.path().to_str().unwrap();
    let aria2c = ["--quiet", "--no-conf", "--no-proxy=*", "--dir", to, "--out", "map", &checksum];
    let aria2c =
        [&aria2c[..], &["--split=4", "--max-connection-per-server=2", "--min-split-size=1M"]].concat();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    ran("aria2c", &[&aria2c[..], &urls].concat()).await;
    let map = directory.path().join("map");
    assert_eq!(sha256(&map), digest);
    let mut sent = Vec::new();
    for torrent in &mut service.torrents {
        let address = torrent.daemon.http().await;
        let metrics = get(&address, "/metrics").await.text();
        // Connections beyond the first ask for a part.
        let parts = "mds_http_requests_total{route=\"/files/{digest}\",method=\"GET\",code=\"206\"}";
        assert!(metrics.contains(parts), "{address} gave no part:\n{metrics}");
        sent.push(sent_bytes(&metrics));
    }

    File::options().write(true).open(&map).unwrap().set_len(5_000_000).unwrap();
    ran("aria2c", &[&aria2c[..], &["--continue=true", urls[1]]].concat()).await;
    assert_eq!(sha256(&map), digest);
    let metrics = get(&service.torrents[1].daemon.http().await, "/metrics").await.text();
    let resumed = sent_bytes(&metrics) - sent[1];
    // A connection whose part another one takes over was sent more than it reads.
    assert!((4_000_001.0..9_000_001.0).contains(&resumed), "{resumed} bytes for the 4 000 001 that lacked");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
}

fn sent_bytes(metrics: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("mds_http_sent_bytes_total "));
    line.unwrap().parse().unwrap()
}

fn sha256(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut piece).unwrap();
        if length == 0 {
            return mds_tests::specification::hex(&hasher.finalize());
        }
        hasher.update(&piece[..length]);
    }
}
