//! Every command of the README and of the other pages: how it is run, and what has to come of it.

use std::fs;

use serde_json::Value;

use crate::walk::{FILE, INPUT, Walk, digest};

/// What came of a command that ended with exit code 0.
#[derive(Debug)]
pub struct Ran {
    pub stdout: Vec<u8>,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8")
    }

    /// The messages of a gRPC answer.
    fn messages(&self) -> Vec<Value> {
        let messages = serde_json::Deserializer::from_slice(&self.stdout).into_iter();
        messages.collect::<Result<_, _>>().expect("JSON")
    }
}

/// How a command is run.
#[derive(Clone, Copy)]
pub enum Example {
    /// Here, to its end, which has to be a good one; then this is looked at.
    Ends(fn(&Walk, &Ran)),
    /// The same with the programs of the Python environment, where there is one; `buf` is among them.
    Python(fn(&Walk, &Ran)),
    /// Here: it holds for the commands that follow.
    Setting,
    /// Here, as the tracker.
    Tracker,
    /// Here, on several machines.
    Torrent,
    /// Here, until a change was told and it is interrupted.
    Events,
    /// Here, until what lies in the directory was put and it is interrupted.
    Watch,
    /// By `.ci/run`, with this line.
    Ci(&'static str),
    /// By `tests/compose/run.sh`, as it stands.
    Compose,
    /// By the kit, which builds the same programs with the profile of the tests, and by `docker/Dockerfile` with that of the README.
    Build,
    /// By `tests/python/prepare`, which installs these packages among others.
    Prepare,
}

impl Example {
    /// Whether the test itself runs it.
    pub const fn is_run_here(self) -> bool {
        !matches!(self, Self::Ci(_) | Self::Compose | Self::Build | Self::Prepare)
    }

    /// Whether others need it to have been run.
    pub const fn begins(self) -> bool {
        matches!(self, Self::Tracker | Self::Torrent | Self::Setting)
    }
}

/// Blocks that hold no commands, by something that is in them.
pub const TO_BE_LOOKED_AT: [&str; 2] = [DEMO, "you ──put──►"];

/// What the demo says first.
pub const DEMO: &str = "1. Start a broker";

/// The commands of the README in its order, and those of the other pages; one that is told twice stands here once.
pub const EXAMPLES: &[(&str, Example)] = &[
    ("cargo run -p mds -- demo", Example::Ci("cargo run --locked -p mds -- demo --once")),
    ("cargo test --workspace", Example::Ci("cargo test --workspace --locked")),
    ("docker compose up --build --wait", Example::Compose),
    ("curl http://127.0.0.1:7481/readyz", Example::Compose),
    ("head -c 20000000 /dev/urandom > map.tiles", Example::Compose),
    ("docker compose exec -T tracker mds put - --name map.tiles --wait 2 < map.tiles", Example::Compose),
    ("docker compose exec -T tracker mds info map.tiles", Example::Compose),
    ("docker compose stop torrent-2", Example::Compose),
    ("docker compose exec -T tracker mds get map.tiles -o - > copy.tiles", Example::Compose),
    ("cmp map.tiles copy.tiles", Example::Compose),
    ("docker compose exec -T tracker mds status", Example::Compose),
    ("docker compose start torrent-2", Example::Compose),
    ("docker compose exec -T torrent-2 mds get map.tiles -o - > again.tiles", Example::Compose),
    ("docker compose down --volumes", Example::Compose),
    ("cargo build --release", Example::Build),
    (
        "tracker --broker mqtt://broker:1883 --data-dir /var/lib/mds/tracker --listen 0.0.0.0:7401 --advertise grpc://tracker-host:7401",
        Example::Tracker,
    ),
    (
        "torrent --broker mqtt://broker:1883 --data-dir /var/lib/mds/torrent --listen 0.0.0.0:7402 --advertise grpc://this-host:7402",
        Example::Torrent,
    ),
    ("export MDS_ENDPOINT=grpc://tracker-host:7401", Example::Setting),
    ("mds put map.tiles --wait 2", Example::Ends(put)),
    ("mds ls", Example::Ends(ls)),
    ("mds info map.tiles", Example::Ends(info)),
    ("mds peers", Example::Ends(peers)),
    ("mds get map.tiles -o copy.tiles", Example::Ends(get)),
    ("mds verify", Example::Ends(verify)),
    ("mds drain torrent-id", Example::Ends(drain)),
    ("mds status", Example::Ends(status)),
    ("mds rm map.tiles", Example::Ends(rm)),
    ("mds put maps -", Example::Ends(put_maps)),
    ("mds get map.tiles --range 4096+100 -o -", Example::Ends(a_part)),
    ("mds events", Example::Events),
    ("mds watch incoming", Example::Watch),
    ("mds completions bash", Example::Ends(completions)),
    ("mds man DIR", Example::Ends(man)),
    ("curl -OJ http://127.0.0.1:7481/files/SHA256", Example::Ends(curl)),
    ("curl -r 4096-4195 http://127.0.0.1:7481/files/SHA256", Example::Ends(a_part)),
    ("curl -C - -o map.tiles http://127.0.0.1:7481/files/SHA256", Example::Ends(curl_goes_on)),
    ("curl http://127.0.0.1:7481/", Example::Ends(page)),
    ("pip install buf-bin", Example::Prepare),
    ("buf curl --protocol grpc --list-methods http://tracker-host:7401", Example::Python(methods)),
    (
        r#"buf curl --protocol grpc -d '{"displayName": "map.tiles"}' http://tracker-host:7401/mds.v1.EndpointService/ListFiles"#,
        Example::Python(listed),
    ),
    (
        r#"buf curl --protocol grpc -d '{"name": "files/SHA256", "readOffset": 4096, "readLimit": 100}' http://tracker-host:7401/mds.v1.EndpointService/ReadFile"#,
        Example::Python(read),
    ),
    ("pip install grpcio grpcio-tools", Example::Prepare),
    (
        "python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/mds/v1/*.proto",
        Example::Python(generated),
    ),
    (
        "PYTHONPATH=. python examples/python/fetch.py tracker-host:7401 SHA256 fetched.tiles",
        Example::Python(fetched),
    ),
    // docs/http.md
    ("curl -OJ http://127.0.0.1:7482/files/SHA256", Example::Ends(curl)),
    ("curl -r 4096-4195 http://127.0.0.1:7482/files/SHA256", Example::Ends(a_part)),
    ("curl -C - -o map.tiles http://127.0.0.1:7482/files/SHA256", Example::Ends(curl_goes_on)),
    ("curl http://127.0.0.1:7482/api/status", Example::Ends(api_status)),
    ("curl http://127.0.0.1:7482/readyz", Example::Ends(ready)),
    ("curl http://127.0.0.1:7482/metrics", Example::Ends(metrics)),
    // docs/grpc.md
    (
        r#"buf curl --protocol grpc -d '{"parent": "files/SHA256"}' http://tracker-host:7401/mds.v1.EndpointService/ListFragments"#,
        Example::Python(fragments),
    ),
    (
        r#"buf curl --protocol grpc -d '{"service": "mds.v1.TrackerService"}' http://tracker-host:7401/grpc.health.v1.Health/Check"#,
        Example::Python(health),
    ),
];

/// How this command is run, if that is known.
pub fn example(command: &str) -> Option<Example> {
    EXAMPLES.iter().find(|(known, _)| *known == command).map(|(_, example)| *example)
}

fn put(walk: &Walk, ran: &Ran) {
    assert_eq!(ran.text(), format!("{}  {FILE}\n", walk.digest), "it is what sha256sum says");
}

fn ls(walk: &Walk, ran: &Ran) {
    let line = ran.text().lines().find(|line| line.contains(FILE)).expect("the file is listed");
    assert!(line.contains(&walk.digest), "{line}");
}

fn info(walk: &Walk, ran: &Ran) {
    assert!(ran.text().contains(&walk.digest), "{}", ran.text());
    let holders = walk.torrents.iter().filter(|id| ran.text().contains(*id)).count();
    assert!(holders >= 2, "two torrents hold it: {}", ran.text());
}

fn peers(walk: &Walk, ran: &Ran) {
    for id in &walk.torrents {
        assert!(ran.text().contains(id), "{id} is missing: {}", ran.text());
    }
}

fn get(walk: &Walk, _: &Ran) {
    walk.is_the_file("copy.tiles");
}

fn verify(walk: &Walk, ran: &Ran) {
    let daemons = format!("verified on {} daemons", walk.torrents.len() + 1);
    assert!(ran.text().starts_with("ok: ") && ran.text().contains(&daemons), "{}", ran.text());
}

fn drain(walk: &Walk, _: &Ran) {
    let file = walk.asks(&["info", FILE]);
    for fragment in file["fragments"].as_array().expect("fragments") {
        let holders = fragment["holders"].as_array().expect("holders");
        let others = holders.iter().filter(|holder| **holder != walk.torrents[0].as_str()).count();
        assert!(others >= 2, "others have what it holds: {fragment}");
    }
}

fn status(_: &Walk, ran: &Ran) {
    assert!(ran.text().starts_with("ok: "), "{}", ran.text());
}

fn rm(walk: &Walk, _: &Ran) {
    assert_eq!(walk.asks(&["ls"]), Value::Array(Vec::new()));
}

fn put_maps(walk: &Walk, ran: &Ran) {
    for name in ["maps/north", "maps/south/east"] {
        let line = format!("{}  {name}\n", digest(&fs::read(walk.path(name)).expect("it is there")));
        assert!(ran.text().contains(&line), "{line} is missing: {}", ran.text());
    }
    assert!(ran.text().contains(&digest(INPUT)), "standard input is missing: {}", ran.text());
}

/// For `--range 4096+100` and `-r 4096-4195`.
fn a_part(walk: &Walk, ran: &Ran) {
    assert_eq!(ran.stdout, walk.content[4096..4196]);
}

fn completions(_: &Walk, ran: &Ran) {
    assert!(ran.text().contains("complete -F"), "{}", ran.text());
}

fn man(walk: &Walk, _: &Ran) {
    for page in ["mds.1", "tracker.1", "torrent.1"] {
        assert!(walk.path("manual").join(page).is_file(), "{page} is missing");
    }
}

fn curl(walk: &Walk, _: &Ran) {
    walk.is_the_file(FILE);
    // The next command finds half a download. It is marked, so that it can be seen whether it was fetched again.
    fs::write(walk.path(FILE), walk.half_marked()).expect("there is room");
}

fn curl_goes_on(walk: &Walk, _: &Ran) {
    let half = walk.half_marked();
    let downloaded = fs::read(walk.path(FILE)).expect("it is there");
    assert_eq!(downloaded.len(), walk.content.len());
    assert!(downloaded.starts_with(&half), "what was there was fetched again");
    assert!(downloaded[half.len()..] == walk.content[half.len()..], "the rest is other bytes");
}

fn page(_: &Walk, ran: &Ran) {
    assert!(ran.text().to_lowercase().starts_with("<!doctype html>"), "{}", ran.text());
}

fn methods(_: &Walk, ran: &Ran) {
    for method in ["mds.v1.EndpointService/ReadFile", "mds.v1.TrackerService/CreateUpload"] {
        assert!(ran.text().lines().any(|line| line == method), "{method} is missing: {}", ran.text());
    }
}

fn listed(walk: &Walk, ran: &Ran) {
    let messages = ran.messages();
    let files = messages[0]["files"].as_array().expect("an array");
    assert_eq!((messages.len(), files.len()), (1, 1), "{}", ran.text());
    assert_eq!(files[0]["digest"], format!("sha256:{}", walk.digest));
}

fn read(walk: &Walk, ran: &Ran) {
    let mut bytes = Vec::new();
    for message in ran.messages() {
        let data = message["data"].as_str().expect("text");
        bytes.extend(base64_simd::STANDARD.decode_to_vec(data).expect("Base64"));
    }
    assert_eq!(bytes, walk.content[4096..4196]);
}

fn api_status(walk: &Walk, ran: &Ran) {
    let status: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(status["torrents"].as_array().map(Vec::len), Some(walk.torrents.len()), "{status}");
}

fn ready(_: &Walk, ran: &Ran) {
    assert_eq!(ran.text().trim(), "ready");
}

fn metrics(_: &Walk, ran: &Ran) {
    assert!(ran.text().lines().any(|line| line == "mds_broker_connected 1"), "{}", ran.text());
}

fn fragments(walk: &Walk, ran: &Ran) {
    let messages = ran.messages();
    let fragments = messages[0]["fragments"].as_array().expect("an array");
    let size = |fragment: &Value| -> usize {
        fragment["sizeBytes"].as_str().and_then(|size| size.parse().ok()).expect("a number as text")
    };
    assert_eq!(fragments.iter().map(size).sum::<usize>(), walk.content.len());
    for fragment in fragments {
        let holders = fragment["holders"].as_array().expect("an array");
        assert!(holders.len() >= 2, "two torrents hold it: {fragment}");
    }
}

fn health(_: &Walk, ran: &Ran) {
    assert_eq!(ran.messages(), [serde_json::json!({"status": "SERVING"})]);
}

fn generated(walk: &Walk, _: &Ran) {
    assert!(walk.path("mds/v1/endpoint_service_pb2_grpc.py").is_file());
}

fn fetched(walk: &Walk, ran: &Ran) {
    assert!(ran.text().contains("verified"), "{}", ran.text());
    walk.is_the_file("fetched.tiles");
}
