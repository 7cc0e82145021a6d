//! Bytes from the broker, and the packets in them. A payload is a slice of what was read: nothing is copied.

use std::io;

use bytes::BytesMut;
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::LossReason;

/// Room for one read, in bytes, where no larger packet is known to come.
const CHUNK: usize = 32 << 10;

/// Less room than this, in bytes, is not worth a read.
const MIN_ROOM: usize = 4 << 10;

/// What was read and is not yet taken.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: BytesMut,
    /// How many bytes the packet at the front lacks, as far as known.
    missing: usize,
    max_packet_bytes: usize,
}

impl Input {
    pub(crate) fn new(max_packet_bytes: usize) -> Self {
        Self { buffer: BytesMut::new(), missing: 0, max_packet_bytes }
    }

    /// Reads once. May be cancelled without losing anything.
    pub(crate) async fn read(
        &mut self,
        connection: &mut (impl AsyncRead + Unpin + ?Sized),
    ) -> Result<(), LossReason> {
        if self.missing > CHUNK {
            // Exactly that: the packet then fills its buffer, and no part of the next one is copied with it.
            self.buffer.reserve(self.missing);
        } else if self.buffer.capacity() - self.buffer.len() < MIN_ROOM.max(self.missing) {
            self.buffer.reserve(CHUNK);
        }
        match connection.read_buf(&mut self.buffer).await {
            Ok(0) => Err(LossReason::ClosedByBroker),
            Ok(_) => Ok(()),
            Err(error) => Err(network_reason(&error)),
        }
    }

    /// The next packet, if it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, LossReason> {
        match Packet::read(&mut self.buffer, self.max_packet_bytes) {
            Ok(Packet::Disconnect) => Err(LossReason::ClosedByBroker),
            Ok(packet) => {
                self.missing = 0;
                Ok(Some(packet))
            }
            Err(mqttbytes::Error::InsufficientBytes(missing)) => {
                self.missing = missing;
                Ok(None)
            }
            Err(mqttbytes::Error::PayloadSizeLimitExceeded(packet_bytes)) => {
                Err(LossReason::PacketTooLarge { packet_bytes, limit_bytes: self.max_packet_bytes })
            }
            Err(error) => Err(LossReason::Protocol { message: error.to_string() }),
        }
    }
}

/// An error of the socket, in our words.
pub(crate) fn network_reason(error: &io::Error) -> LossReason {
    let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    if closed.contains(&error.kind()) {
        LossReason::ClosedByBroker
    } else {
        LossReason::Network { message: error.to_string() }
    }
}
