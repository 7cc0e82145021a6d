//! The one place that reads from and writes to the broker.
//!
//! It never waits for anybody but the broker: a publish is queued, a delivery is handed over. It reads while it
//! writes; a client that does not can block for ever against a broker that does not either, when both send
//! large packets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::connection::Connection;
use crate::error::{LossReason, SessionLost};
use crate::in_flight::InFlight;
use crate::inbox::InboxSender;
use crate::message::Delivery;
use crate::output::Output;
use crate::queue::{Queue, Queued};

/// While this many bytes wait to be written, no further message is taken from the queue.
const OUTPUT_BYTES: usize = 256 << 10;

/// How long the broker may take to end the connection after our goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection and everything that is on its way.
pub(crate) struct EventLoop {
    pub(crate) connection: Connection,
    pub(crate) output: Output,
    pub(crate) inbox: InboxSender,
    pub(crate) queue: Arc<Queue>,
    pub(crate) in_flight: InFlight,
    pub(crate) clock: Clock,
}

impl EventLoop {
    /// Runs until the session is over.
    pub(crate) async fn run(mut self) {
        let reason = self.until_lost().await.err().unwrap_or(LossReason::Closed);
        debug!(%reason, "the session with the broker has ended");
        self.queue.lose(SessionLost { reason });
        // Only now those who wait for an acknowledgement or a delivery find that nothing will come: they ask why.
        drop(self);
    }

    /// `Ok` after a goodbye.
    async fn until_lost(&mut self) -> Result<(), LossReason> {
        // What came together with the answer to the subscription.
        self.take_packets()?;
        loop {
            self.take_from_queue();
            let has_room = self.inbox.has_room();
            let can_send = self.can_send();
            let Connection { reader, writer, input, .. } = &mut self.connection;
            let has_work = writer.has_work(&self.output);
            tokio::select! {
                // In this order: a busy connection must not keep us from pinging, and what can be written goes
                // before new work.
                biased;
                now = self.clock.tick() => self.keep_alive(now, has_room, has_work)?,
                () = self.queue.goodbye.notified() => return self.say_goodbye().await,
                written = writer.write(&mut self.output), if has_work => {
                    written?;
                    self.clock.wrote();
                }
                read = input.read(reader), if has_room => {
                    read?;
                    self.clock.read();
                    self.take_packets()?;
                    if self.connection.input.is_empty() && !self.output.has_remaining() {
                        self.connection.prompt.acknowledge();
                    }
                }
                () = self.queue.rung.notified(), if can_send => {}
                () = self.inbox.room(), if !has_room => {}
            }
        }
    }

    fn can_send(&self) -> bool {
        can_send(&self.in_flight, &self.output)
    }

    /// Encodes what may be sent now.
    fn take_from_queue(&mut self) {
        let wants_more = self.can_send();
        let Self { queue, in_flight, output, .. } = self;
        queue.drain(wants_more, |Queued { message, confirm }| {
            let packet_id = in_flight.enter(message.payload.len(), confirm);
            output.publish(packet_id, message);
            can_send(in_flight, output)
        });
    }

    /// Takes all packets that have arrived completely.
    fn take_packets(&mut self) -> Result<(), LossReason> {
        let (mut messages, mut bytes, mut confirms) = (0, 0, Vec::new());
        let result = loop {
            match self.connection.input.next() {
                Ok(Some(Packet::PubAck(puback))) => {
                    if let Some(sent) = self.in_flight.acknowledge(puback.pkid) {
                        messages += 1;
                        bytes += sent.payload_bytes;
                        confirms.extend(sent.confirm);
                    }
                }
                Ok(Some(Packet::Publish(publish))) => {
                    if let Err(reason) = self.deliver(publish) {
                        break Err(reason);
                    }
                }
                // A ping's answer has done its work by arriving. The others answer what was not asked here.
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        if messages > 0 {
            self.queue.acknowledged(messages, bytes);
        }
        for confirm in confirms {
            // Whoever waited may have given up.
            let _ = confirm.send(());
        }
        result
    }

    fn deliver(&mut self, publish: Publish) -> Result<(), LossReason> {
        acknowledge(&mut self.output, &publish)?;
        self.inbox.send(delivery(publish));
        Ok(())
    }

    fn keep_alive(&mut self, now: Instant, reading: bool, writing: bool) -> Result<(), LossReason> {
        if self.clock.check(now, reading, writing)? {
            self.output.ping();
        }
        Ok(())
    }

    /// Writes what is left and the goodbye, then reads until the broker ends the connection: to close a socket
    /// that holds unread data would reset the connection, and the broker might not see the goodbye.
    async fn say_goodbye(&mut self) -> Result<(), LossReason> {
        self.output.disconnect();
        let Connection { reader, writer, input, .. } = &mut self.connection;
        let write = writer.finish(&mut self.output);
        let read = async {
            while input.read(reader).await.is_ok() {
                while let Ok(Some(packet)) = input.next() {
                    if let Packet::Publish(publish) = packet {
                        self.inbox.send(delivery(publish));
                    }
                }
            }
        };
        if timeout(GOODBYE_TIMEOUT, async { tokio::join!(write, read) }).await.is_err() {
            warn!("the broker did not end the connection after the goodbye");
        }
        Ok(())
    }
}

fn can_send(in_flight: &InFlight, output: &Output) -> bool {
    in_flight.has_room() && output.remaining() < OUTPUT_BYTES
}

/// Answers a PUBLISH. We subscribe with QoS 1, so nothing above it may come.
pub(crate) fn acknowledge(output: &mut Output, publish: &Publish) -> Result<(), LossReason> {
    match publish.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => output.puback(publish.pkid),
        QoS::ExactlyOnce => {
            let message = format!("a message with QoS 2 on {:?}, above what was subscribed", publish.topic);
            return Err(LossReason::Protocol { message });
        }
    }
    Ok(())
}

pub(crate) fn delivery(publish: Publish) -> Delivery {
    Delivery { topic: publish.topic, payload: publish.payload, retained: publish.retain }
}
