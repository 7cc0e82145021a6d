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

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Publish;

    use super::*;

    fn written(mut output: Output) -> Bytes {
        output.copy_to_bytes(output.remaining())
    }

    #[test]
    fn a_publish_is_encoded_as_the_library_does_it_at_every_length_of_the_length() {
        for size in [0, 1, 110, 127, 128, LARGE - 1, LARGE, 16_370, 16_384, 2_097_140, 2_097_152] {
            let message =
                Message { topic: "topic/ü".to_owned(), payload: vec![7; size].into(), retain: true };
            let mut ours = Output::default();
            ours.publish(0x1234, message.clone());
            let mut publish = Publish::from_bytes(message.topic, QoS::AtLeastOnce, message.payload);
            (publish.pkid, publish.retain) = (0x1234, true);
            let mut theirs = Output::default();
            theirs.packet(&Packet::Publish(publish)).unwrap();
            assert_eq!(written(ours), written(theirs), "{size} bytes");
        }
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let payload = Bytes::from(vec![1; LARGE]);
        let mut output = Output::default();
        output.publish(1, Message::new("x", payload.clone()));
        assert!(output.chunks.iter().any(|chunk| chunk.as_ptr() == payload.as_ptr()));
    }

    #[test]
    fn packets_leave_in_order_however_many_bytes_are_taken_at_once() {
        let fill = |output: &mut Output| {
            for id in 1..20 {
                output.publish(id, Message::new("x", vec![1; usize::from(id) * 1000]));
                output.puback(id);
                output.ping();
            }
            output.disconnect();
        };
        let mut whole = Output::default();
        fill(&mut whole);
        let whole = written(whole);
        for step in [1, 7, 4096, 100_000] {
            let mut output = Output::default();
            fill(&mut output);
            let mut pieces = BytesMut::new();
            while output.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = output.chunks_vectored(&mut slices);
                assert!(used > 0 && slices[..used].iter().all(|slice| !slice.is_empty()));
                assert_eq!(&slices[0][..], output.chunk());
                let mut taken = 0;
                for slice in &slices[..used] {
                    let part = &slice[..slice.len().min(step - taken)];
                    pieces.put_slice(part);
                    taken += part.len();
                }
                output.advance(taken);
            }
            assert_eq!(pieces, whole, "{step} bytes at once");
        }
    }
}
