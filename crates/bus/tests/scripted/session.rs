//! What happens on an open session, word by word.

use crate::fake_broker::{FakeBroker, Peer, publish};
use std::time::Duration;

use bus::{CloseError, Inbox, LossReason, Message, Outbox, PublishError, SessionOptions};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};

async fn session() -> (Outbox, Inbox, Peer) {
    session_with(|options| options).await
}

async fn session_with(change: impl FnOnce(SessionOptions) -> SessionOptions) -> (Outbox, Inbox, Peer) {
    let broker = FakeBroker::start().await;
    let options = change(broker.options(&["x"]));
    let (opened, peer) = tokio::join!(bus::open(options), broker.serve_subscriber());
    let (outbox, inbox) = opened.expect("the script accepts the session");
    (outbox, inbox, peer)
}

#[tokio::test]
async fn a_cut_connection_is_reported_by_the_inbox_after_what_had_arrived() {
    let (outbox, mut inbox, mut peer) = session().await;
    peer.send(&[publish("x", "last words", 1)]).await;
    assert_eq!(peer.expect_puback().await, 1);
    drop(peer);
    assert_eq!(inbox.recv().await.unwrap().payload, "last words");
    for _ in 0..2 {
        assert_eq!(inbox.recv().await.unwrap_err().reason, LossReason::ClosedByBroker);
    }
    assert_eq!(inbox.try_recv().unwrap_err().reason, LossReason::ClosedByBroker);
    // Silently dropped.
    outbox.publish(Message::new("x", "too late"));
    let error = outbox.publish_confirmed(Message::new("x", "too late")).await.unwrap_err();
    assert!(matches!(error, PublishError::Lost(lost) if lost.reason == LossReason::ClosedByBroker));
    assert!(matches!(outbox.close().await.unwrap_err(), CloseError::Lost(_)));
}

#[tokio::test]
async fn a_withheld_acknowledgement_fails_when_the_session_is_lost() {
    let (outbox, _inbox, mut peer) = session().await;
    let confirmed = outbox.publish_confirmed(Message::new("x", "1"));
    let waiting = outbox.publish_confirmed(Message::new("x", "2"));
    peer.expect_publish().await;
    drop(peer);
    for confirmed in [confirmed.await, waiting.await] {
        assert!(
            matches!(confirmed, Err(PublishError::Lost(lost)) if lost.reason == LossReason::ClosedByBroker)
        );
    }
}

#[tokio::test]
async fn acknowledgements_in_any_order_confirm_the_message_they_belong_to() {
    let (outbox, _inbox, mut peer) = session().await;
    let first = outbox.publish_confirmed(Message::new("x", "first"));
    let second = outbox.publish_confirmed(Message::new("x", "second"));
    assert_eq!(outbox.queued_bytes(), 11);
    let ids = [peer.expect_publish().await.pkid, peer.expect_publish().await.pkid];
    assert_ne!(ids[0], ids[1]);
    // An id that was never used must not disturb.
    peer.puback(999).await;
    peer.puback(ids[1]).await;
    second.await.unwrap();
    assert_eq!(outbox.queued_bytes(), 5);
    peer.puback(ids[0]).await;
    first.await.unwrap();
    assert_eq!(outbox.queued_bytes(), 0);
}

#[tokio::test]
async fn no_more_messages_are_in_flight_than_allowed() {
    let (outbox, _inbox, mut peer) = session_with(|options| SessionOptions { inflight: 2, ..options }).await;
    for payload in ["1", "2", "3"] {
        outbox.publish(Message::new("x", payload));
    }
    let first = peer.expect_publish().await;
    assert_eq!(peer.expect_publish().await.payload, "2");
    // The third waits: the next thing that the client says is the answer to this.
    peer.send(&[publish("x", "", 77)]).await;
    assert_eq!(peer.expect_puback().await, 77);
    peer.puback(first.pkid).await;
    assert_eq!(peer.expect_publish().await.payload, "3");
}

#[tokio::test]
async fn packet_ids_are_never_zero_and_never_in_flight_twice() {
    let (outbox, _inbox, mut peer) = session().await;
    outbox.publish(Message::new("x", "slow"));
    let slow = peer.expect_publish().await.pkid;
    for _ in 0..70_000 / 50 {
        for _ in 0..50 {
            outbox.publish(Message::new("x", ""));
        }
        let mut acknowledgements = Vec::new();
        for _ in 0..50 {
            let id = peer.expect_publish().await.pkid;
            assert!(id != 0 && id != slow);
            acknowledgements.push(Packet::PubAck(rumqttc::mqttbytes::v4::PubAck::new(id)));
        }
        peer.send(&acknowledgements).await;
    }
}

#[tokio::test]
async fn a_full_inbox_stops_reading_but_not_sending() {
    let (outbox, mut inbox, mut peer) =
        session_with(|options| SessionOptions { inbox_bytes: 1, ..options }).await;
    peer.send(&[publish("x", "fills it", 1)]).await;
    assert_eq!(peer.expect_puback().await, 1);
    peer.send(&[publish("x", "waits", 2)]).await;
    outbox.publish(Message::new("x", "sent meanwhile"));
    assert_eq!(peer.expect_publish().await.payload, "sent meanwhile");
    assert_eq!(inbox.recv().await.unwrap().payload, "fills it");
    assert_eq!(peer.expect_puback().await, 2);
    assert_eq!(inbox.recv().await.unwrap().payload, "waits");
}

#[tokio::test]
async fn without_an_inbox_deliveries_are_acknowledged_and_discarded() {
    let (outbox, inbox, mut peer) =
        session_with(|options| SessionOptions { inbox_bytes: 1, ..options }).await;
    drop(inbox);
    for id in 1..10 {
        peer.send(&[publish("x", "nobody listens", id)]).await;
        assert_eq!(peer.expect_puback().await, id);
    }
    outbox.publish(Message::new("x", "still here"));
    peer.expect_publish().await;
}

#[tokio::test]
async fn without_an_outbox_deliveries_still_come() {
    let (outbox, mut inbox, mut peer) = session().await;
    drop(outbox);
    peer.send(&[publish("x", "hello", 1)]).await;
    assert_eq!(inbox.recv().await.unwrap().payload, "hello");
    drop(inbox);
    assert_eq!(peer.expect_puback().await, 1);
    assert_eq!(peer.next().await, None, "nobody is left: the connection ends without a goodbye");
}

#[tokio::test]
async fn closing_waits_for_acknowledgements_then_says_goodbye() {
    let (outbox, mut inbox, mut peer) = session().await;
    let late = outbox.clone();
    outbox.publish(Message::new("x", "before"));
    let closing = tokio::spawn(outbox.close());
    let id = peer.expect_publish().await.pkid;
    // Still listening while it waits.
    peer.send(&[publish("x", "meanwhile", 5)]).await;
    assert_eq!(peer.expect_puback().await, 5);
    peer.puback(id).await;
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    assert_eq!(peer.next().await, None);
    drop(peer);
    closing.await.unwrap().unwrap();
    late.publish(Message::new("x", "after"));
    assert_eq!(inbox.recv().await.unwrap().payload, "meanwhile");
    assert_eq!(inbox.recv().await.unwrap_err().reason, LossReason::Closed);
}

#[tokio::test]
async fn closing_says_goodbye_even_if_the_broker_acknowledges_nothing() {
    let close_timeout = Duration::from_millis(50);
    let (outbox, mut inbox, mut peer) =
        session_with(|options| SessionOptions { inflight: 1, close_timeout, ..options }).await;
    outbox.publish(Message::new("x", "sent"));
    let confirmed = outbox.publish_confirmed(Message::new("x", "still waiting"));
    let closing = tokio::spawn(outbox.close());
    assert_eq!(peer.expect_publish().await.payload, "sent");
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    drop(peer);
    let error = closing.await.unwrap().unwrap_err();
    assert_eq!(error, CloseError::Unacknowledged { messages: 2, timeout: close_timeout });
    let lost = confirmed.await.unwrap_err();
    assert!(matches!(lost, PublishError::Lost(lost) if lost.reason == LossReason::Closed));
    assert_eq!(inbox.recv().await.unwrap_err().reason, LossReason::Closed);
}

#[tokio::test]
async fn a_goodbye_of_the_broker_ends_the_session() {
    let (_outbox, mut inbox, mut peer) = session().await;
    // MQTT 3.1.1 does not have it, but brokers of version 5 send it all the same.
    peer.send(&[Packet::Disconnect]).await;
    assert_eq!(inbox.recv().await.unwrap_err().reason, LossReason::ClosedByBroker);
}

#[tokio::test]
async fn a_message_with_qos_0_is_delivered_and_one_with_qos_2_ends_the_session() {
    let (_outbox, mut inbox, mut peer) = session().await;
    peer.send(&[Packet::Publish(Publish::new("x", QoS::AtMostOnce, "zero"))]).await;
    assert_eq!(inbox.recv().await.unwrap().payload, "zero");
    let mut two = Publish::new("x", QoS::ExactlyOnce, "two");
    two.pkid = 1;
    peer.send(&[Packet::Publish(two)]).await;
    assert!(matches!(inbox.recv().await.unwrap_err().reason, LossReason::Protocol { .. }));
}

#[tokio::test]
async fn garbage_ends_the_session_and_nothing_else() {
    let (_outbox, mut inbox, mut peer) = session().await;
    peer.send_bytes(&[0xff; 64]).await;
    assert!(matches!(inbox.recv().await.unwrap_err().reason, LossReason::Protocol { .. }));
}

#[tokio::test]
async fn a_packet_in_single_bytes_is_put_together() {
    let (_outbox, mut inbox, mut peer) = session().await;
    let mut bytes = bytes::BytesMut::new();
    publish("x", &"long".repeat(50), 3).write(&mut bytes, usize::MAX).unwrap();
    for byte in bytes {
        peer.send_bytes(&[byte]).await;
    }
    assert_eq!(inbox.recv().await.unwrap().payload.len(), 200);
}
