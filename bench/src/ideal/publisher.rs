//! Publishes a file's fragments: one thread hashes and encodes, one sends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::TOPIC;
use super::mqtt::{Connection, Packet, publish_head};
use crate::data::hex;

/// Messages that the broker may not have acknowledged yet.
const WINDOW: usize = 16;
/// Packets that wait to be sent.
const ENCODED: usize = 4;

/// Publishes the fragments of a file.
#[derive(Debug, clap::Args)]
pub struct Publisher {
    port: u16,
    source: PathBuf,
    fragment_size_bytes: usize,
}

impl Publisher {
    pub fn run(&self) -> Result<()> {
        let mut connection = Connection::open(self.port, "publisher")?;
        let (encoded, packets) = sync_channel(ENCODED);
        let (used, unused) = channel();
        thread::scope(|scope| {
            let encoding = scope.spawn(move || self.encode(&encoded, &unused));
            let mut on_their_way = 0;
            let mut nothing = Vec::new();
            for packet in packets {
                if on_their_way == WINDOW {
                    await_one(&mut connection, &mut nothing)?;
                    on_their_way -= 1;
                }
                connection.publish(&packet)?;
                on_their_way += 1;
                // At the end nobody wants them back.
                drop(used.send(packet));
            }
            for _ in 0..on_their_way {
                await_one(&mut connection, &mut nothing)?;
            }
            encoding.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the encoding thread panicked")))
        })
    }

    fn encode(&self, encoded: &SyncSender<Vec<u8>>, unused: &Receiver<Vec<u8>>) -> Result<()> {
        let base64 = base64_simd::STANDARD;
        let source = File::open(&self.source)?;
        let length = source.metadata()?.len();
        let mut fragment = vec![0; self.fragment_size_bytes];
        for number in 0..length.div_ceil(fragment.len() as u64) {
            let offset = number * fragment.len() as u64;
            let size = usize::try_from(length - offset)?.min(fragment.len());
            source.read_exact_at(&mut fragment[..size], offset)?;
            let hash = hex(&Sha256::digest(&fragment[..size]));
            let head = format!("{{\"number\":{number},\"hash\":\"{hash}\",\"data\":\"");
            let payload_bytes = head.len() + base64.encoded_length(size) + 2;
            let mut packet = unused.try_recv().unwrap_or_default();
            packet.clear();
            let packet_id = (number % u64::from(u16::MAX)) as u16 + 1;
            publish_head(&mut packet, TOPIC, packet_id, payload_bytes)?;
            packet.extend_from_slice(head.as_bytes());
            base64.encode_append(&fragment[..size], &mut packet);
            packet.extend_from_slice(b"\"}");
            encoded.send(packet)?;
        }
        Ok(())
    }
}

fn await_one(connection: &mut Connection, payload: &mut Vec<u8>) -> Result<()> {
    match connection.next(payload)? {
        Packet::Acknowledged => Ok(()),
        Packet::Message { .. } => anyhow::bail!("a message that nobody subscribed to"),
    }
}
