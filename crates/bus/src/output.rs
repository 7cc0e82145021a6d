//! Packets on their way to the broker.
//!
//! Small packets are written one behind the other, so that many of them leave with one system call. A large
//! payload is not copied: it stands in line as it is.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::Packet;

use crate::message::Message;

/// From this many bytes on a payload is not copied.
const LARGE: usize = 8 << 10;

const PUBLISH_QOS_1: u8 = 0x32;
const RETAIN: u8 = 0x01;
const PUBACK: [u8; 2] = [0x40, 2];
const PINGREQ: [u8; 2] = [0xc0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Encoded packets that are not yet written, in order.
#[derive(Debug, Default)]
pub(crate) struct Output {
    chunks: VecDeque<Bytes>,
    /// Comes after the chunks.
    tail: BytesMut,
    /// Bytes in all chunks.
    chunk_bytes: usize,
}

impl Output {
    /// A PUBLISH. The message has passed [`Outbox`](crate::Outbox)'s check, so its lengths fit.
    pub(crate) fn publish(&mut self, packet_id: u16, message: Message) {
        let Message { topic, payload, retain } = message;
        self.tail.put_u8(PUBLISH_QOS_1 | if retain { RETAIN } else { 0 });
        self.put_length(2 + topic.len() + 2 + payload.len());
        self.tail
            .put_u16(u16::try_from(topic.len()).expect("a topic's length is checked when it is published"));
        self.tail.put_slice(topic.as_bytes());
        self.tail.put_u16(packet_id);
        if payload.len() < LARGE {
            self.tail.put_slice(&payload);
        } else {
            let before = self.tail.split().freeze();
            self.push_chunk(before);
            self.push_chunk(payload);
        }
    }

    /// A PUBACK.
    pub(crate) fn puback(&mut self, packet_id: u16) {
        self.tail.put_slice(&PUBACK);
        self.tail.put_u16(packet_id);
    }

    /// A PINGREQ.
    pub(crate) fn ping(&mut self) {
        self.tail.put_slice(&PINGREQ);
    }

    /// A DISCONNECT: the broker will not publish the will.
    pub(crate) fn disconnect(&mut self) {
        self.tail.put_slice(&DISCONNECT);
    }

    /// Any other packet.
    pub(crate) fn packet(&mut self, packet: &Packet) -> Result<(), mqttbytes::Error> {
        packet.write(&mut self.tail, usize::MAX).map(drop)
    }

    fn push_chunk(&mut self, chunk: Bytes) {
        self.chunk_bytes += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// The "remaining length": seven bits a byte, lowest first.
    fn put_length(&mut self, mut length: usize) {
        loop {
            let byte = (length & 0x7f) as u8;
            length >>= 7;
            if length == 0 {
                return self.tail.put_u8(byte);
            }
            self.tail.put_u8(byte | 0x80);
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&self.tail[..], |chunk| &chunk[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.chunks.front_mut() {
            let step = count.min(front.len());
            front.advance(step);
            self.chunk_bytes -= step;
            count -= step;
            if !front.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
        self.tail.advance(count);
    }
}
