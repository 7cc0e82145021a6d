//! What monitors see: health, readiness, metrics by Prometheus' rules, and the page for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use mds_tests::http::{get, request};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use mds_tests::wait::{eventually, until};
use serde_json::Value;

use crate::support::{Service, content, recorded_site};

const FRAGMENTS: usize = 7;
const OF_TRACKER: [&str; 4] = ["--copies", "2", "--fragment-size", "16384"];
const NAME: &str = "<script>alert(1)</script >.bin";

async fn service() -> (Mosquitto, Service, String) {
    let (broker, _, site) = recorded_site().await;
    let service = Service::start(site.with_http(), 2, &OF_TRACKER).await;
    let bytes = content(61, 16_384 * FRAGMENTS);
    let digest = service.tracker.client.put(NAME.replace('/', "-").as_str(), Cursor::new(bytes)).await;
    service.tracker.client.counts_copies(&digest, 2).await;
    (broker, service, digest)
}

/// The samples by their names and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

async fn metrics(address: &str) -> String {
    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// As Prometheus asks.
async fn open_metrics(address: &str) -> String {
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let answer = request(address, "GET", "/metrics", &[("Accept", accept)]).await;
    assert_eq!(
        answer.field("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    answer.text()
}

#[tokio::test]
async fn metrics_tell_how_the_network_does() {
    needs_mosquitto!();
    let (_broker, mut service, digest) = service().await;
    let tracker = service.tracker.daemon.http().await;
    let text = eventually("all copies are counted", async || {
        let text = metrics(&tracker).await;
        let all_single = samples(&text)["mds_single_copy_seconds_count"] == FRAGMENTS as f64;
        (all_single && samples(&text)["mds_stored_fragments"] == 0.0).then_some(text)
    })
    .await;
    let bytes = (16_384 * FRAGMENTS) as f64;
    for (name, value) in [
        ("mds_fragments{state=\"healthy\"}", FRAGMENTS as f64),
        ("mds_fragments{state=\"under_replicated\"}", 0.0),
        ("mds_fragments{state=\"unavailable\"}", 0.0),
        ("mds_torrents_registered", 2.0),
        ("mds_torrents_used_bytes", 2.0 * bytes),
        ("mds_repairs_pending", 0.0),
        ("mds_uploads_in_flight", 0.0),
        ("mds_single_copy_fragments", 0.0),
        ("mds_single_copy_oldest_seconds", 0.0),
        ("mds_grpc_requests_total{method=\"mds.v1.TrackerService/CompleteUpload\",code=\"OK\"}", 1.0),
        ("mds_bus_events_total{direction=\"said\",event=\"FileInfoPublished\",outcome=\"sent\"}", 1.0),
    ] {
        assert_eq!(samples(&text).get(name), Some(&value), "{name}\n{text}");
    }
    let said =
        "mds_bus_events_total{direction=\"said\",event=\"FragmentDistributionDelivered\",outcome=\"sent\"}";
    assert!(samples(&text)[said] >= FRAGMENTS as f64);

    let torrent = service.torrents[0].daemon.http().await;
    assert_eq!(get(&torrent, &format!("/files/{digest}")).await.status, 200);
    assert_eq!(get(&torrent, "/invented/by/somebody").await.status, 404);
    let text = metrics(&torrent).await;
    let of_torrent = samples(&text);
    assert_eq!(of_torrent["mds_stored_bytes"], bytes);
    assert!(of_torrent["mds_store_capacity_bytes"] > bytes);
    let route = "mds_http_requests_total{route=\"/files/{digest}\",method=\"GET\",code=\"200\"}";
    assert_eq!(of_torrent[route], 1.0);
    assert!(of_torrent["mds_http_sent_bytes_total"] >= bytes);
    let heard = "mds_bus_events_total{direction=\"heard\",event=\"FragmentDistributionDelivered\",outcome=\"handled\"}";
    assert!(of_torrent[heard] >= 1.0, "{text}");

    for torrent in &mut service.torrents {
        torrent.daemon.stop().await;
    }
    until("the fragments are counted as unavailable", async || {
        samples(&metrics(&tracker).await)["mds_fragments{state=\"unavailable\"}"] == FRAGMENTS as f64
    })
    .await;
}

/// The rules of https://prometheus.io/docs/practices/naming and of OpenMetrics that can be checked from outside.
#[tokio::test]
async fn metrics_keep_the_rules_of_prometheus() {
    needs_mosquitto!();
    let (_broker, mut service, digest) = service().await;
    let tracker = service.tracker.daemon.http().await;
    let torrent = service.torrents[0].daemon.http().await;
    for address in [&tracker, &torrent] {
        get(address, &format!("/files/{digest}")).await;
        get(address, "/").await;
        let (open, older) = (open_metrics(address).await, metrics(address).await);
        assert!(open.ends_with("# EOF\n") && !older.contains("# EOF"));
        for text in [&open, &older] {
            let types = types(text);
            for (sample, value) in samples(text) {
                check_sample(sample, value, &types);
            }
            assert!(!text.contains(&digest) && !text.contains("alert") && !text.contains("127."), "{text}");
        }
        // A reader of the older format knows a counter by its whole name.
        assert_eq!(types(&older).get("mds_bus_events_total"), Some(&"counter"));
        assert_eq!(types(&open).get("mds_bus_events"), Some(&"counter"));
    }
}

/// The kinds of the metrics by their names; each is explained.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let mut types = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                assert!(helped.insert(name) && help.len() > 5, "{line}");
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                assert!(helped.contains(name) && types.insert(name, kind).is_none(), "{line}");
            }
            _ => {}
        }
    }
    types
}

fn check_sample(sample: &str, value: f64, types: &BTreeMap<&str, &str>) {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
    let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let kind =
        types.get(name).or_else(|| types.get(family?)).unwrap_or_else(|| panic!("{sample} has no type"));
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(name.starts_with("mds_") && is_plain, "{name}");
    assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
    for unit in ["_ms", "_millis", "_milliseconds", "_minutes", "_kb", "_mb", "_kib", "_mib", "_percent"] {
        assert!(!name.ends_with(unit), "{name}: base units only");
    }
    assert!(value.is_finite() && value >= 0.0, "{sample} {value}");
    for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
        let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{sample}"));
        let known = ["direction", "event", "outcome", "state", "method", "code", "route", "le"];
        assert!(known.contains(&label), "{sample}: is {label} bounded?");
        assert!(value.len() < 64, "{sample}");
    }
}

#[tokio::test]
async fn a_daemon_is_alive_whatever_happens_and_says_why_it_is_not_ready() {
    needs_mosquitto!();
    let (mut broker, mut service, _) = service().await;
    let addresses = [service.tracker.daemon.http().await, service.torrents[0].daemon.http().await];
    for address in &addresses {
        let ready = get(address, "/readyz").await;
        assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
        assert_eq!(request(address, "HEAD", "/readyz", &[]).await.status, 200);
    }
    broker.kill();
    for address in &addresses {
        let not_ready = eventually("it is not ready", async || {
            let answer = get(address, "/readyz").await;
            (answer.status == 503).then_some(answer)
        });
        assert_eq!(not_ready.await.text(), "not ready: the broker is not connected\n");
        let alive = get(address, "/healthz").await;
        assert_eq!((alive.status, alive.text().as_str()), (200, "alive\n"));
        assert!(metrics(address).await.contains("\nmds_broker_connected 0\n"));
    }
}

#[tokio::test]
async fn the_page_tells_of_torrents_and_files_and_runs_nothing_that_a_name_brings() {
    needs_mosquitto!();
    let (_broker, mut service, digest) = service().await;
    for address in [service.tracker.daemon.http().await, service.torrents[0].daemon.http().await] {
        let page = get(&address, "/").await;
        assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"));
        assert!(!page.text().contains(&digest), "what there is comes from /api/status");

        let told = eventually("it is told that all is well", async || {
            let answer = get(&address, "/api/status").await;
            assert_eq!(answer.field("content-type"), Some("application/json"));
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            (told["verdict"] == "ok").then_some(told)
        })
        .await;
        let torrents: Vec<&Value> =
            told["torrents"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert_eq!(torrents, ["t1", "t2"]);
        let file = &told["files"][0];
        assert_eq!((file["digest"].as_str(), file["copies"].as_u64()), (Some(digest.as_str()), Some(2)));
        assert_eq!(file["name"], NAME.replace('/', "-"));
    }
}
