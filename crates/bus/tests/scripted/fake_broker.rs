//! A broker of which every word is in the test's script.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bus::{BrokerUrl, SessionOptions};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens, and has one connection at a time.
pub struct FakeBroker {
    listener: TcpListener,
}

impl FakeBroker {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port") }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it listens")
    }

    /// Options for a session with it.
    pub fn options(&self, subscriptions: &[&str]) -> SessionOptions {
        let broker: BrokerUrl = format!("mqtt://{}", self.address()).parse().expect("a valid URL");
        SessionOptions {
            subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
            ..SessionOptions::new(broker, "client")
        }
    }

    pub async fn accept(&self) -> Peer {
        let (stream, _) =
            timeout(PATIENCE, self.listener.accept()).await.expect("somebody connects").expect("it listens");
        Peer { stream, input: BytesMut::new() }
    }

    /// Accepts a session and all its subscriptions.
    pub async fn serve(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.expect_connect().await;
        peer.connack(ConnectReturnCode::Success).await;
        peer
    }

    /// As [`serve`](Self::serve), for a session that subscribes.
    pub async fn serve_subscriber(&self) -> Peer {
        let mut peer = self.serve().await;
        let subscribe = peer.expect_subscribe().await;
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        peer.send(&[suback(&subscribe, vec![granted; subscribe.filters.len()])]).await;
        peer
    }
}

/// One connection, seen from the broker.
pub struct Peer {
    stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    /// What the client says next; `None` when it hangs up.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the client says something that is not MQTT: {error}"),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if read.expect("the client says something").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub async fn expect_connect(&mut self) -> Connect {
        match self.next().await {
            Some(Packet::Connect(connect)) => connect,
            other => panic!("not a CONNECT: {other:?}"),
        }
    }

    pub async fn expect_subscribe(&mut self) -> Subscribe {
        match self.next().await {
            Some(Packet::Subscribe(subscribe)) => subscribe,
            other => panic!("not a SUBSCRIBE: {other:?}"),
        }
    }

    pub async fn expect_publish(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }

    pub async fn expect_puback(&mut self) -> u16 {
        match self.next().await {
            Some(Packet::PubAck(puback)) => puback.pkid,
            other => panic!("not a PUBACK: {other:?}"),
        }
    }

    pub async fn connack(&mut self, code: ConnectReturnCode) {
        self.send(&[Packet::ConnAck(ConnAck::new(code, false))]).await;
    }

    pub async fn puback(&mut self, packet_id: u16) {
        self.send(&[Packet::PubAck(PubAck::new(packet_id))]).await;
    }

    /// Sends the packets with one write.
    pub async fn send(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).expect("the script holds valid packets");
        }
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client is still there");
    }
}

/// A SUBACK.
pub fn suback(subscribe: &Subscribe, codes: Vec<SubscribeReasonCode>) -> Packet {
    Packet::SubAck(SubAck::new(subscribe.pkid, codes))
}

/// A PUBLISH with QoS 1.
pub fn publish(topic: &str, payload: &str, packet_id: u16) -> Packet {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
    publish.pkid = packet_id;
    Packet::Publish(publish)
}
