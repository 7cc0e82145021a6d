//! Takes fragments into a log: one thread reads from the broker, two parse, decode, hash and append.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use super::mqtt::{Connection, Packet};
use super::{Event, Log, READY, TOPIC, write_order};
use crate::data::hex;

/// Bytes that share one sync.
const SYNC_BYTES: usize = 8 << 20;
/// Messages that wait to be taken.
const WAITING: usize = 16;
const WORKERS: usize = 2;

/// Takes so many fragments, and ends.
#[derive(Debug, clap::Args)]
pub struct Subscriber {
    port: u16,
    log: PathBuf,
    fragments: u64,
    name: String,
}

impl Subscriber {
    pub fn run(&self) -> Result<()> {
        let mut connection = Connection::open(self.port, &self.name)?;
        connection.subscribe(TOPIC)?;
        println!("{READY}");
        let log = Mutex::new(Log { file: File::create(&self.log)?, unsynced_bytes: 0, order: Vec::new() });
        let (received, payloads) = sync_channel(WAITING);
        let (used, unused) = channel();
        let payloads = Mutex::new(payloads);
        thread::scope(|scope| {
            let taking: Vec<_> = (0..WORKERS)
                .map(|_| {
                    let (payloads, log, used) = (&payloads, &log, used.clone());
                    scope.spawn(move || take_all(payloads, log, &used))
                })
                .collect();
            let mut missing = self.fragments;
            while missing > 0 {
                let mut payload = unused.try_recv().unwrap_or_default();
                if let Packet::Message { packet_id } = connection.next(&mut payload)? {
                    connection.acknowledge(packet_id)?;
                    received.send(payload)?;
                    missing -= 1;
                }
            }
            drop(received);
            taking.into_iter().try_for_each(|taking| {
                taking.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a taking thread panicked")))
            })
        })?;
        let log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
        log.file.sync_all()?;
        write_order(&self.log, &log.order)
    }
}

fn take_all(payloads: &Mutex<Receiver<Vec<u8>>>, log: &Mutex<Log>, used: &Sender<Vec<u8>>) -> Result<()> {
    loop {
        let next = payloads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut payload) = next else { return Ok(()) };
        let event: Event<'_> = serde_json::from_slice(&payload)?;
        let (number, hash) = (event.number, event.hash.to_owned());
        let start = event.data.as_ptr() as usize - payload.as_ptr() as usize;
        let data = start..start + event.data.len();
        let fragment = base64_simd::STANDARD.decode_inplace(&mut payload[data])?;
        ensure!(hex(&Sha256::digest(&*fragment)) == hash, "fragment {number} is not what it is called");
        log.lock().unwrap_or_else(PoisonError::into_inner).append(number, fragment)?;
        // At the end nobody wants it back.
        drop(used.send(payload));
    }
}

impl Log {
    fn append(&mut self, number: u64, fragment: &[u8]) -> Result<()> {
        self.file.write_all(fragment)?;
        self.order.push(number);
        self.unsynced_bytes += fragment.len();
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }
}
