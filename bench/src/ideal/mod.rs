//! The ideal: the service's wire format and job with nothing around it, as the ceiling of its design.
//!
//! No view, no index, no acknowledgement of its own, nothing repeated when something fails.

mod mqtt;
mod publisher;
mod serving;
mod subscriber;

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::mosquitto::Mosquitto;
use crate::process::{Process, finish_all};
use crate::sample::{Job, Key, Role, Sample, Subject};
use crate::{Scratch, data, machine};

pub use publisher::Publisher;
pub use serving::{Client, Server};
pub use subscriber::Subscriber;

const TOPIC: &str = "ideal/fragment";
/// What a subscriber or server says when it can be used.
const READY: &str = "ready";

/// A fragment on the bus. Only its reading goes through JSON's library: base64 needs no escaping.
#[derive(Debug, Serialize, Deserialize)]
struct Event<'a> {
    number: u64,
    hash: &'a str,
    data: &'a str,
}

/// Put to `nodes` subscribers, then get from all of them.
pub fn measure(
    directory: &Path,
    source: &Path,
    fragment_size_bytes: u64,
    nodes: usize,
) -> Result<[Sample; 2]> {
    let scratch = Scratch::new(directory.join("ideal"))?;
    let logs: Vec<_> = (0..nodes).map(|node| scratch.0.join(format!("node-{node}"))).collect();
    let file_bytes = fs::metadata(source)?.len();
    let put = put(&scratch.0, source, &logs, fragment_size_bytes, file_bytes)?;
    machine::settle(directory)?;
    let get = get(&scratch.0, source, &logs, fragment_size_bytes, file_bytes)?;
    Ok([put, get])
}

fn put(
    directory: &Path,
    source: &Path,
    logs: &[impl AsRef<Path>],
    fragment_size_bytes: u64,
    file_bytes: u64,
) -> Result<Sample> {
    let fragments = file_bytes.div_ceil(fragment_size_bytes).to_string();
    let mut broker = Mosquitto::start(directory)?;
    let port = broker.port.to_string();
    let mut subscribers = Vec::new();
    for (node, log) in logs.iter().enumerate() {
        let (name, log) = (format!("node-{node}"), text(log.as_ref())?);
        let mut subscriber =
            Process::part(Role::Torrent, &["ideal-subscriber", &port, log, &fragments, &name])?;
        ensure!(subscriber.line()? == READY, "a subscriber is not ready");
        subscribers.push(subscriber);
    }
    broker.process.mark()?;
    for subscriber in &mut subscribers {
        subscriber.mark()?;
    }
    let size = fragment_size_bytes.to_string();
    let began = Instant::now();
    let publisher = Process::part(Role::Client, &["ideal-publisher", &port, text(source)?, &size])?;
    subscribers.push(publisher);
    let finished = finish_all(subscribers)?;
    let wall_s = began.elapsed().as_secs_f64();
    let mut usage: Vec<_> = finished.into_iter().map(|(_, usage)| usage).collect();
    usage.push(broker.process.usage()?);
    let key = Key { job: Job::Put, subject: Subject::Ideal, fragment_size_bytes };
    let mut sample = Sample::new(key, file_bytes, wall_s, &usage);
    sample.disk_bytes = Some(logs.iter().map(|log| machine::disk_bytes(log.as_ref())).sum());
    Ok(sample)
}

fn get(
    directory: &Path,
    source: &Path,
    logs: &[impl AsRef<Path>],
    fragment_size_bytes: u64,
    file_bytes: u64,
) -> Result<Sample> {
    let (size, nodes) = (fragment_size_bytes.to_string(), logs.len().to_string());
    let target = directory.join("target");
    let mut servers = Vec::new();
    let mut arguments = vec!["ideal-client".to_owned(), text(&target)?.to_owned(), size.clone()];
    for (node, log) in logs.iter().enumerate() {
        let (node, log) = (node.to_string(), text(log.as_ref())?);
        let mut server = Process::part(Role::Torrent, &["ideal-server", log, &size, &node, &nodes])?;
        arguments.push(server.line()?);
        servers.push(server);
    }
    for server in &mut servers {
        server.mark()?;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let (_, client) = Process::part(Role::Client, &arguments)?.finish()?;
    let wall_s = began.elapsed().as_secs_f64();
    let mut usage = vec![client];
    for server in &servers {
        usage.push(server.usage()?);
    }
    ensure!(data::digest(&target)? == data::digest(source)?, "what was got is not what was put");
    let key = Key { job: Job::Get, subject: Subject::Ideal, fragment_size_bytes };
    Ok(Sample::new(key, file_bytes, wall_s, &usage))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the directory's name is not UTF-8")
}

/// The place of each fragment in a log, by its number, in units of the fragment size.
fn write_order(log: &Path, order: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(log.with_extension("order"), bytes)?;
    Ok(())
}

fn read_order(log: &Path) -> Result<Vec<u64>> {
    let bytes = fs::read(log.with_extension("order"))?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number)).collect())
}

/// A log that is appended to and synced each 8 MiB.
#[derive(Debug)]
struct Log {
    file: File,
    unsynced_bytes: usize,
    order: Vec<u64>,
}
