//! What one would otherwise take: BitTorrent, by rqbit. One seed hands the file to the nodes; then, without it, a client gets it from them.
//!
//! The pieces are as large as our fragments. Peers are told directly, so no tracker of BitTorrent runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{Process, free_port, on_path};
use crate::sample::{Job, Key, Role, Sample, Subject, Usage};
use crate::{Scratch, data, machine};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
/// The name of the shared file in every folder.
const NAME: &str = "data.bin";

/// Whether both programs that this needs are there.
pub fn is_installed() -> bool {
    ["rqbit", "mktorrent"].into_iter().all(|program| on_path(program).is_some())
}

/// Put to `nodes` peers, then get from all of them.
pub fn measure(
    directory: &Path,
    source: &Path,
    fragment_size_bytes: u64,
    nodes: usize,
) -> Result<[Sample; 2]> {
    let scratch = Scratch::new(directory.join("bittorrent"))?;
    let file_bytes = fs::metadata(source)?.len();
    let expected = data::digest(source)?;
    let key = |job| Key { job, subject: Subject::BitTorrent, fragment_size_bytes };
    let seed_folder = scratch.0.join("seed");
    fs::create_dir_all(&seed_folder)?;
    fs::hard_link(source, seed_folder.join(NAME))?;
    let torrent = make_torrent(&scratch.0, &seed_folder.join(NAME), fragment_size_bytes)?;

    let mut seed = Peer::start(Role::Client, seed_folder, &scratch.0)?;
    seed.add(&torrent, &[])?;
    seed.await_all()?;
    let start = |node: usize| Peer::start(Role::Torrent, scratch.0.join(format!("node-{node}")), &scratch.0);
    let mut peers = (0..nodes).map(start).collect::<Result<Vec<_>>>()?;

    peers.iter_mut().chain([&mut seed]).try_for_each(|peer| peer.process.mark())?;
    let began = Instant::now();
    for node in 0..nodes {
        let others = (0..nodes).filter(|other| *other != node).map(|other| peers[other].port);
        let others: Vec<u16> = others.chain([seed.port]).collect();
        peers[node].add(&torrent, &others)?;
    }
    for peer in &mut peers {
        peer.await_all()?;
        File::open(peer.folder.join(NAME))?.sync_all()?;
    }
    let wall_s = began.elapsed().as_secs_f64();
    let usage: Result<Vec<Usage>> = peers.iter().chain([&seed]).map(|peer| peer.process.usage()).collect();
    let mut put = Sample::new(key(Job::Put), file_bytes, wall_s, &usage?);
    put.disk_bytes = Some(peers.iter().map(|peer| machine::disk_bytes(&peer.folder)).sum());
    for peer in &peers {
        ensure!(data::digest(&peer.folder.join(NAME))? == expected, "a peer got something else");
    }
    drop(seed);
    machine::settle(directory)?;

    let mut client = Peer::start(Role::Client, scratch.0.join("client"), &scratch.0)?;
    peers.iter_mut().chain([&mut client]).try_for_each(|peer| peer.process.mark())?;
    let ports: Vec<u16> = peers.iter().map(|peer| peer.port).collect();
    let began = Instant::now();
    client.add(&torrent, &ports)?;
    client.await_all()?;
    let wall_s = began.elapsed().as_secs_f64();
    let usage: Result<Vec<Usage>> = peers.iter().chain([&client]).map(|peer| peer.process.usage()).collect();
    let get = Sample::new(key(Job::Get), file_bytes, wall_s, &usage?);
    ensure!(data::digest(&client.folder.join(NAME))? == expected, "the client got something else");
    Ok([put, get])
}

/// Describes the file; pieces are powers of two.
fn make_torrent(directory: &Path, file: &Path, piece_bytes: u64) -> Result<Vec<u8>> {
    let torrent = directory.join("torrent");
    let mut command = Command::new("mktorrent");
    command.args(["-l", &piece_bytes.ilog2().to_string(), "-a", "http://127.0.0.1:9/announce", "-o"]);
    let output = command.arg(&torrent).arg(file).output().context("mktorrent cannot be started")?;
    ensure!(output.status.success(), "mktorrent: {}", String::from_utf8_lossy(&output.stdout));
    Ok(fs::read(torrent)?)
}

/// One rqbit with its folder, driven over HTTP.
struct Peer {
    process: Process,
    folder: PathBuf,
    /// Where other peers reach it.
    port: u16,
    http_port: u16,
}

impl Peer {
    fn start(role: Role, folder: PathBuf, home: &Path) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let (port, http_port) = (free_port()?, free_port()?);
        let mut command = Command::new("rqbit");
        command.args(["--http-api-listen-addr", &format!("127.0.0.1:{http_port}")]);
        command.args(["--listen-ip", "127.0.0.1", "--listen-port", &port.to_string(), "--ipv4-only"]);
        command.args(["--disable-dht", "--disable-upnp-port-forward", "--disable-lsd", "--disable-trackers"]);
        command.args(["server", "start", "--disable-persistence"]).arg(&folder).env("HOME", home);
        let log = folder.with_extension("log");
        let mut process = Process::start(role, command, &log)?;
        process.await_port(http_port, &log)?;
        Ok(Self { process, folder, port, http_port })
    }

    /// Shares or fetches the file, with these peers to begin with.
    fn add(&self, torrent: &[u8], peers: &[u16]) -> Result<()> {
        let peers: Vec<String> = peers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let (folder, peers) = (self.folder.display(), peers.join(","));
        let path = format!("/torrents?overwrite=true&output_folder={folder}&initial_peers={peers}");
        let answer = self.ask("POST", &path, torrent)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "rqbit refuses: {answer}");
        Ok(())
    }

    /// Until it has the whole file.
    fn await_all(&mut self) -> Result<()> {
        let began = Instant::now();
        while !self.ask("GET", "/torrents/0/stats/v1", b"")?.contains("\"finished\":true") {
            ensure!(began.elapsed() < PATIENCE && !self.process.has_ended()?, "rqbit does not finish");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
