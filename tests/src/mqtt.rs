//! A plain MQTT session of somebody who is not one of our daemons: rumqttc as it is, none of our own bus.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeFilter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::wait::DEADLINE;

/// Larger than anything that is said.
const MAX_PACKET_BYTES: usize = 64 << 20;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// Whether the broker had kept it.
    pub is_retained: bool,
}

/// A session that connects and subscribes again whenever it is lost. The connection is cut when it is dropped.
#[derive(Debug)]
pub struct Session {
    client: AsyncClient,
    task: JoinHandle<()>,
    unacknowledged: watch::Receiver<usize>,
    queued: usize,
}

impl Session {
    /// Connects under the client identifier `id`, subscribes to `filters` with QoS 1, and waits until the broker has granted that.
    ///
    /// # Panics
    /// If there is no such broker, or it refuses.
    pub async fn open(
        broker: SocketAddr,
        id: &str,
        filters: &[String],
        will: Option<(String, Vec<u8>)>,
    ) -> (Self, mpsc::UnboundedReceiver<Message>) {
        Self::open_as(broker, id, None, filters, will).await
    }

    /// The same with a user name, which is its password as well.
    ///
    /// # Panics
    /// As [`open`](Self::open).
    pub async fn open_as(
        broker: SocketAddr,
        id: &str,
        user: Option<&str>,
        filters: &[String],
        will: Option<(String, Vec<u8>)>,
    ) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        options.set_keep_alive(Duration::from_secs(30));
        if let Some(user) = user {
            options.set_credentials(user, user);
        }
        if let Some((topic, payload)) = will {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
        }
        let (client, event_loop) = AsyncClient::new(options, 1000);
        let (deliver, inbox) = mpsc::unbounded_channel();
        let (granted, mut is_granted) = watch::channel(false);
        let (acknowledged, unacknowledged) = watch::channel(0);
        let running = Running {
            client: client.clone(),
            event_loop,
            filters: filters.to_vec(),
            deliver,
            granted,
            acknowledged,
        };
        let task = tokio::spawn(running.run());
        let granted = tokio::time::timeout(DEADLINE, is_granted.wait_for(|granted| *granted)).await;
        assert!(matches!(granted, Ok(Ok(_))), "{id} could not subscribe at {broker}");
        (Self { client, task, unacknowledged, queued: 0 }, inbox)
    }

    /// Publishes with QoS 1, in order.
    ///
    /// # Panics
    /// If the session is over.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, retain: bool) {
        self.queued += 1;
        let published = self.client.publish_bytes(topic, QoS::AtLeastOnce, retain, payload.into()).await;
        published.expect("the session goes on until it is dropped");
    }

    /// Waits until the broker has acknowledged everything published so far.
    ///
    /// # Panics
    /// If it does not.
    pub async fn all_acknowledged(&mut self) {
        let queued = self.queued;
        let all = self.unacknowledged.wait_for(|acknowledged| *acknowledged >= queued);
        let all = tokio::time::timeout(DEADLINE, all).await;
        assert!(matches!(all, Ok(Ok(_))), "the broker did not acknowledge {queued} messages");
    }

    /// Ends the session so that no will is published, once everything is acknowledged.
    ///
    /// # Panics
    /// If the broker does not acknowledge everything.
    pub async fn close(mut self) {
        self.all_acknowledged().await;
        self.client.disconnect().await.expect("the session goes on until it is dropped");
        let ended = tokio::time::timeout(DEADLINE, &mut self.task).await;
        assert!(matches!(ended, Ok(Ok(()))), "the session did not end");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Running {
    client: AsyncClient,
    event_loop: EventLoop,
    filters: Vec<String>,
    deliver: mpsc::UnboundedSender<Message>,
    granted: watch::Sender<bool>,
    acknowledged: watch::Sender<usize>,
}

impl Running {
    /// Until the session is closed from here.
    async fn run(mut self) {
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Incoming(packet)) => self.take(packet),
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                Ok(Event::Outgoing(_)) => {}
                // There is no broker now: the next poll connects again.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn take(&mut self, packet: Packet) {
        if let Packet::ConnAck(_) = packet {
            if self.filters.is_empty() {
                self.granted.send_replace(true);
                return;
            }
            let filter = |filter: &String| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce);
            let subscribed = self.client.try_subscribe_many(self.filters.iter().map(filter));
            subscribed.expect("the queue of requests has room");
        } else if let Packet::SubAck(answer) = packet {
            let is_refused = answer.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
            assert!(!is_refused, "the broker refuses one of {:?}", self.filters);
            self.granted.send_replace(true);
        } else if let Packet::PubAck(_) = packet {
            self.acknowledged.send_modify(|count| *count += 1);
        } else if let Packet::Publish(publish) = packet {
            let message =
                Message { topic: publish.topic, payload: publish.payload, is_retained: publish.retain };
            // Whoever listened is gone; so will be the session.
            let _ = self.deliver.send(message);
        }
    }
}
