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

    /// Whether all that was read is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads everything, in pieces, until the packets end or are wrong.
    async fn packets(bytes: &[u8], piece: usize) -> (Vec<Packet>, Option<LossReason>) {
        let (mut broker, mut client) = tokio::io::duplex(piece);
        let writer = async {
            // The reader may have given up.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut broker, bytes).await;
            drop(broker);
        };
        let reader = async {
            let mut input = Input::new(1000);
            let mut packets = Vec::new();
            loop {
                match input.next() {
                    Ok(Some(packet)) => packets.push(packet),
                    Ok(None) => {
                        if input.read(&mut client).await.is_err() {
                            return (packets, None);
                        }
                    }
                    Err(reason) => return (packets, Some(reason)),
                }
            }
        };
        // The reader ends first or at the end of the writer.
        tokio::select! {
            result = reader => result,
            () = async { writer.await; std::future::pending().await } => unreachable!(),
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn any_bytes_are_packets_or_a_reason_to_end_and_pieces_make_no_difference(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1_usize..64,
        ) {
            prop_assert_eq!(run(packets(&bytes, piece)), run(packets(&bytes, 1024)));
        }

        #[test]
        fn any_packet_of_the_right_length_is_parsed_or_refused(
            kind in 0_u8..=255,
            body in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = vec![kind, u8::try_from(body.len()).unwrap()];
            bytes.extend(body);
            let (packets, reason) = run(packets(&bytes, 1024));
            prop_assert_eq!(packets.len() + usize::from(reason.is_some()), 1);
        }
    }

    #[test]
    fn a_packet_above_the_limit_is_refused_at_its_first_bytes() {
        // A PUBLISH with a length of 2000 of which nothing more has come.
        let (packets, reason) = run(packets(&[0x30, 0xd0, 0x0f], 16));
        assert!(packets.is_empty());
        assert_eq!(reason, Some(LossReason::PacketTooLarge { packet_bytes: 2000, limit_bytes: 1000 }));
    }
}
