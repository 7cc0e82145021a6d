//! Contents over HTTP, from daemons of which each lacks a part: with `curl` as a user would, and byte by byte where the protocol matters.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;

use mds_tests::http::{get, request};
use mds_tests::needs_mosquitto;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::support::{Service, content, recorded_site};

const FRAGMENT_SIZE: usize = 16_384;
const FRAGMENTS: usize = 12;
/// The last fragment is a short one.
const SIZE: usize = FRAGMENT_SIZE * FRAGMENTS - 1234;
const ONE_COPY: [&str; 4] = ["--copies", "1", "--fragment-size", "16384"];
const TWO_COPIES: [&str; 4] = ["--copies", "2", "--fragment-size", "16384"];

/// What `curl` gives back, and how it ends.
async fn curl(arguments: &[&str]) -> (i32, Vec<u8>) {
    let mut command = Command::new("curl");
    let output = command.args(["--silent", "--show-error", "--noproxy", "*"]).args(arguments).output().await;
    let output = output.expect("curl is installed: apt-get install curl");
    (output.status.code().unwrap(), output.stdout)
}

async fn http_addresses(service: &mut Service) -> Vec<String> {
    let mut addresses = vec![service.tracker.daemon.http().await];
    for torrent in &mut service.torrents {
        addresses.push(torrent.daemon.http().await);
    }
    addresses
}

fn fragment(bytes: &[u8], index: usize) -> (String, &[u8]) {
    let piece = &bytes[index * FRAGMENT_SIZE..bytes.len().min((index + 1) * FRAGMENT_SIZE)];
    (mds_tests::specification::hex(&Sha256::digest(piece)), piece)
}

#[tokio::test]
async fn every_daemon_gives_curl_any_file_whole_and_in_parts() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 2, &ONE_COPY).await;
    let bytes = content(51, SIZE);
    let digest = service.tracker.client.put("maps/berlin.tiles", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    mds_tests::client::agree(&service.clients()).await;
    let directory = tempfile::tempdir().unwrap();
    for address in http_addresses(&mut service).await {
        let url = format!("http://{address}/files/{digest}");
        assert!(curl(&[&url]).await == (0, bytes.clone()), "the whole file from {address}");
        let (_, part) = curl(&["--range", "1000-1999", &url]).await;
        assert!(part == bytes[1000..2000]);
        let (_, part) = curl(&["--range", "16000-50000", &url]).await;
        assert!(part == bytes[16_000..50_001], "over several fragments");
        let (_, part) = curl(&["--range", "-777", &url]).await;
        assert!(part == bytes[SIZE - 777..]);
        let (_, part) = curl(&["--range", &format!("{}-", SIZE - 5), &url]).await;
        assert!(part == bytes[SIZE - 5..]);
        resumes(directory.path(), &url, &bytes).await;
        let prefixed = format!("http://{address}/files/sha256:{}", digest.to_uppercase());
        assert!(curl(&[&prefixed]).await == (0, bytes.clone()));
        let saved = curl(&["-OJ", "--output-dir", directory.path().to_str().unwrap(), &url]).await;
        assert_eq!(saved.0, 0);
        let path = directory.path().join("berlin.tiles");
        assert!(std::fs::read(&path).unwrap() == bytes);
        std::fs::remove_file(path).unwrap();
    }
}

/// A download that broke off goes on where it was.
async fn resumes(directory: &Path, url: &str, bytes: &[u8]) {
    let partial = directory.join("partial");
    std::fs::write(&partial, &bytes[..70_001]).unwrap();
    let (code, _) = curl(&["-C", "-", "-o", partial.to_str().unwrap(), url]).await;
    assert_eq!(code, 0);
    assert!(std::fs::read(&partial).unwrap() == bytes);
}

#[tokio::test]
async fn an_answer_tells_what_a_client_needs_to_check_keep_and_continue() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 1, &ONE_COPY).await;
    let bytes = content(52, SIZE);
    let client = &service.tracker.client;
    let digest = client.put("<img src=x onerror=alert(1)>\"; x=\"é.html", Cursor::new(bytes.clone())).await;
    let empty = client.put("empty", Cursor::new(Vec::new())).await;
    client.counts_copies(&digest, 1).await;
    let address = service.tracker.daemon.http().await;
    let path = format!("/files/{digest}");
    let size = SIZE.to_string();
    let etag = format!("\"{digest}\"");
    let base64 = base64_simd::STANDARD.encode_to_string(Sha256::digest(&bytes));

    for method in ["GET", "HEAD"] {
        let answer = request(&address, method, &path, &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), if method == "GET" { SIZE } else { 0 });
        for (name, value) in [
            ("content-length", size.as_str()),
            ("etag", &etag),
            ("repr-digest", &format!("sha-256=:{base64}:")),
            ("accept-ranges", "bytes"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("content-type", "application/octet-stream"),
            ("x-content-type-options", "nosniff"),
            (
                "content-disposition",
                "attachment; filename=\"_img src=x onerror=alert(1)___ x=__.html\"; \
                 filename*=UTF-8''%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%3B%20x%3D%22%C3%A9.html",
            ),
        ] {
            assert_eq!(answer.field(name), Some(value), "{name}");
        }
    }
    let part = request(&address, "GET", &path, &[("Range", "bytes=10-19")]).await;
    assert_eq!((part.status, part.field("content-length")), (206, Some("10")));
    assert_eq!(part.field("content-range"), Some(format!("bytes 10-19/{size}").as_str()));
    assert_eq!(part.body, bytes[10..20]);
    for (fields, status, length) in [
        (vec![("If-None-Match", etag.as_str())], 304, 0),
        (vec![("If-None-Match", "\"other\"")], 200, SIZE),
        (vec![("If-Match", &etag), ("Range", "bytes=0-9")], 206, 10),
        (vec![("If-Range", &etag), ("Range", "bytes=0-9")], 206, 10),
        (vec![("If-Range", "\"other\""), ("Range", "bytes=0-9")], 200, SIZE),
        (vec![("Range", "bytes=0-9,20-29")], 200, SIZE),
        (vec![("Range", "lines=1-2")], 200, SIZE),
    ] {
        let answer = request(&address, "GET", &path, &fields).await;
        assert_eq!((answer.status, answer.body.len()), (status, length), "{fields:?}");
        assert_eq!(answer.field("etag"), Some(etag.as_str()));
    }
    assert_eq!(request(&address, "GET", &path, &[("If-Match", "\"other\"")]).await.status, 412);
    let nothing = get(&address, &format!("/files/{empty}")).await;
    assert_eq!((nothing.status, nothing.field("content-length"), nothing.body.len()), (200, Some("0"), 0));
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_told_why_and_what_to_do() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 2, &ONE_COPY).await;
    let bytes = content(53, SIZE);
    let digest = service.tracker.client.put("a.bin", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    mds_tests::client::agree(&service.clients()).await;
    let addresses = http_addresses(&mut service).await;
    let address = &addresses[1];
    let outside = request(address, "GET", &format!("/files/{digest}"), &[("Range", "bytes=900000-")]).await;
    assert_eq!(outside.status, 416);
    assert_eq!(outside.field("content-range"), Some(format!("bytes */{SIZE}").as_str()));
    let unknown = format!("/files/{}", "0".repeat(64));
    for (path, says) in [
        (unknown.as_str(), "not known"),
        ("/files/abc", "64 hex digits"),
        ("/files/%ff%fe", "64 hex digits"),
        ("/files/sha256:", "64 hex digits"),
        ("/files/../../etc/passwd", "nothing here"),
        ("/files/", "nothing here"),
        ("/nothing", "nothing here"),
        (&unknown.replace("files", "fragments"), "no other server"),
    ] {
        let answer = get(address, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains(says), "{path}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "INVENTED"] {
        let answer = request(address, method, &format!("/files/{digest}"), &[]).await;
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }

    // One copy of each fragment, and two torrents: each has what the other lacks.
    let of_file = service.tracker.client.fragments(&digest).await;
    let on_t2: Vec<usize> =
        (0..FRAGMENTS).filter(|index| of_file[*index].holders == ["servers/t2"]).collect();
    let (elsewhere, of_fragment) = fragment(&bytes, *on_t2.first().expect("t2 holds some"));
    let path = format!("/fragments/{elsewhere}");
    let here = get(&addresses[2], &path).await;
    assert_eq!((here.status, here.body.as_slice()), (200, of_fragment));
    let answer = get(address, &path).await;
    assert_eq!(answer.status, 404);
    let holder = service.torrents[1].daemon.endpoint().await;
    assert!(answer.text().contains(&format!("grpc://{holder}")), "{}", answer.text());

    service.torrents[1].daemon.kill();
    let range = format!("bytes={}-", on_t2[0] * FRAGMENT_SIZE);
    let answer = request(address, "GET", &format!("/files/{digest}"), &[("Range", &range)]).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.field("retry-after").is_some() && answer.text().contains("grpc://"), "{}", answer.text());
}

#[tokio::test]
async fn damaged_bytes_are_never_sent() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 2, &TWO_COPIES).await;
    let bytes = content(54, SIZE);
    let digest = service.tracker.client.put("rots.bin", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    mds_tests::client::agree(&service.clients()).await;
    let (bad, of_bad) = fragment(&bytes, 5);
    let (also_bad, of_also_bad) = fragment(&bytes, 7);
    service.site.flip_a_bit("t1", of_bad);
    service.site.flip_a_bit("t1", of_also_bad);
    let address = service.torrents[0].daemon.http().await;

    let refused = get(&address, &format!("/fragments/{bad}")).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("damaged"), "{}", refused.text());
    assert!(get(&address, &format!("/files/{digest}")).await.body == bytes, "the other holder has it");
    let holder = service.torrents[1].daemon.endpoint().await;
    assert!(refused.text().contains(&holder), "{}", refused.text());
    service.tracker.client.counts_copies(&digest, 2).await;
    let repaired = mds_tests::wait::eventually("the copy is made again", async || {
        let answer = get(&address, &format!("/fragments/{also_bad}")).await;
        (answer.status == 200).then_some(answer)
    });
    assert!(repaired.await.body == of_also_bad);
}

#[tokio::test]
async fn a_file_that_turns_out_damaged_on_its_way_breaks_off_and_is_not_taken_for_whole() {
    needs_mosquitto!();
    let (_broker, _recorder, site) = recorded_site().await;
    let mut service = Service::start(site.with_http(), 1, &ONE_COPY).await;
    let bytes = content(55, SIZE);
    let digest = service.tracker.client.put("rots.bin", Cursor::new(bytes.clone())).await;
    service.tracker.client.counts_copies(&digest, 1).await;
    mds_tests::client::agree(&service.clients()).await;
    // The tracker gives up its own copies once the torrent has confirmed: from then on there is one copy only.
    let all: BTreeSet<String> = (0..FRAGMENTS).map(|index| fragment(&bytes, index).0).collect();
    mds_tests::wait::until("the tracker has let go", async || {
        service.tracker.client.held(all.iter().cloned().collect()).await == 0
    })
    .await;
    service.site.flip_a_bit("t1", fragment(&bytes, 5).1);
    let address = service.torrents[0].daemon.http().await;
    let url = format!("http://{address}/files/{digest}");
    let (code, came) = curl(&[&url]).await;
    // 52 if the connection broke off before anything was flushed.
    assert!(matches!(code, 18 | 52), "curl says that it is only a part: {code}");
    assert!(came.len() <= 5 * FRAGMENT_SIZE && came == bytes[..came.len()]);
    let answer = request(&address, "GET", &format!("/files/{digest}"), &[("Range", "bytes=81920-")]).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
}
