//! When nothing goes wrong any more: everything comes to rest, and what was acknowledged is so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::COPIES;
use super::cluster::Cluster;
use super::ledger::{File, Known, Ledger};
use crate::binaries;
use crate::client::Client;

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Most digests of one question.
const DIGESTS: usize = 5000;

/// Waits until all is as it should be, and reads everything back. How many files there are.
///
/// # Errors
/// What is not yet as it should be when the patience is at its end.
pub async fn comes_to_rest(
    cluster: &mut Cluster,
    ledger: &Ledger,
    patience: Duration,
) -> Result<usize, String> {
    let started = Instant::now();
    let files = loop {
        cluster.find_ended(ledger);
        let clients = cluster.clients().await;
        match look(&clients, ledger).await {
            Ok(files) => break files,
            Err(why) if started.elapsed() > patience => return Err(why),
            Err(_) => sleep(INTERVAL).await,
        }
    };
    let clients = cluster.clients().await;
    for (place, (digest, file)) in files.iter().enumerate() {
        let reader = &clients[place % clients.len()];
        match timeout(patience, reader.read_digest(digest)).await {
            Ok(Ok(read)) if read == (digest.clone(), file.size_bytes) => {
                ledger.count(|counts| counts.verified += 1)
            }
            Ok(read) => ledger.violated(format!("LOST: {digest}, read back from {reader:?}: {read:?}")),
            Err(_) => ledger.violated(format!("LOST: {digest}, {reader:?} does not give it back")),
        }
    }
    Ok(files.len())
}

/// The files that are there, if all is as it should be.
async fn look(clients: &[Client], ledger: &Ledger) -> Result<BTreeMap<String, File>, String> {
    all_agree(clients).await?;
    ask_about_the_unknown(&clients[0], ledger).await?;
    let files = ledger.files();
    let (there, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
        files.into_iter().partition(|(_, file)| file.known == Known::Accepted);
    for digest in there.keys() {
        let file =
            answer(clients[0].file(digest)).await?.ok_or_else(|| format!("LOST: {digest} is not known"))?;
        if usize::try_from(file.min_holders).unwrap_or_default() < COPIES {
            return Err(format!("{digest} has {} copies", file.min_holders));
        }
    }
    let needed: BTreeSet<&String> = there.values().flat_map(|file| &file.fragments).collect();
    every_disk_has_its_part(clients, &needed, &ledger.broken_off()).await?;
    nothing_is_left_of(&gone, &needed, clients).await?;
    status_is_well(&clients[0]).await?;
    Ok(there)
}

async fn all_agree(clients: &[Client]) -> Result<(), String> {
    let mut first = None;
    for client in clients {
        let network = answer(client.network()).await?.ok_or_else(|| format!("{client:?} does not answer"))?;
        let health = network.health.unwrap_or_default();
        let registered = usize::try_from(health.servers_registered).unwrap_or_default();
        if registered + 1 != clients.len() || health.servers_suspect > 0 {
            return Err(format!(
                "{client:?} counts {registered} torrents, {} suspect",
                health.servers_suspect
            ));
        }
        if health.fragments_under_replicated > 0 || health.fragments_unavailable > 0 {
            return Err(format!("{client:?}: {health:?}"));
        }
        let knows = (network.view_revision, network.view_digest);
        let first = first.get_or_insert_with(|| knows.clone());
        if *first != knows {
            return Err(format!("{client:?} knows {knows:?}, another {first:?}"));
        }
    }
    Ok(())
}

/// What was asked and not answered is decided by now.
async fn ask_about_the_unknown(tracker: &Client, ledger: &Ledger) -> Result<(), String> {
    for (digest, file) in ledger.files() {
        if file.known == Known::Unknown {
            let known =
                if answer(tracker.file(&digest)).await?.is_some() { Known::Accepted } else { Known::Absent };
            ledger.settle(&digest, Some(known));
        }
    }
    Ok(())
}

/// Counts the copies on the disks themselves. The tracker keeps none, but of uploads that `broke_off`.
async fn every_disk_has_its_part(
    clients: &[Client],
    needed: &BTreeSet<&String>,
    broken_off: &BTreeSet<String>,
) -> Result<(), String> {
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for (place, client) in clients.iter().enumerate() {
        let held = held(client, needed.iter().copied()).await?;
        if place > 0 {
            held.into_iter().for_each(|digest| *copies.entry(digest).or_default() += 1);
        } else if let Some(left) = held.iter().find(|digest| !broken_off.contains(*digest)) {
            return Err(format!("the tracker still has {left}, which is distributed"));
        }
    }
    for digest in needed {
        let number = copies.get(*digest).copied().unwrap_or_default();
        if number < COPIES {
            return Err(format!("fragment {digest} is on {number} disks"));
        }
    }
    Ok(())
}

/// No torrent knows or holds anything of a file that is gone.
async fn nothing_is_left_of(
    gone: &BTreeMap<String, File>,
    needed: &BTreeSet<&String>,
    clients: &[Client],
) -> Result<(), String> {
    let unneeded: BTreeSet<&String> =
        gone.values().flat_map(|file| &file.fragments).filter(|digest| !needed.contains(digest)).collect();
    for (place, client) in clients.iter().enumerate() {
        for digest in gone.keys() {
            if answer(client.file(digest)).await?.is_some() {
                return Err(format!("{client:?} knows the removed file {digest}"));
            }
        }
        // The tracker may still have what came of an upload that broke off: for an hour.
        let held = held(client, unneeded.iter().copied()).await?;
        if place > 0 && !held.is_empty() {
            return Err(format!(
                "{client:?} holds {} fragments of removed files, e.g. {}",
                held.len(),
                held[0]
            ));
        }
    }
    Ok(())
}

async fn held(client: &Client, digests: impl Iterator<Item = &String>) -> Result<Vec<String>, String> {
    let digests: Vec<String> = digests.cloned().collect();
    let mut all = Vec::new();
    for some in digests.chunks(DIGESTS) {
        let held = answer(client.try_held(some.to_vec())).await?;
        let held = held.ok_or_else(|| format!("{client:?} does not say what it holds"))?;
        all.extend(held.iter().map(|digest| digest.trim_start_matches("sha256:").to_owned()));
    }
    Ok(all)
}

async fn status_is_well(tracker: &Client) -> Result<(), String> {
    let mut status = Command::new(binaries::mds());
    status.args(["--endpoint", tracker.address(), "status"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = answer(status.output()).await?.expect("the tool can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(()).ok_or(format!("mds status: {said}"))
}

async fn answer<T>(asking: impl Future<Output = T>) -> Result<T, String> {
    timeout(ANSWER, asking).await.map_err(|_| "somebody does not answer".to_owned())
}
