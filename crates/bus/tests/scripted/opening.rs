//! How a session is opened, and what is said when it cannot be.

use std::time::Duration;

use crate::fake_broker::{FakeBroker, publish, suback};
use bus::{LossReason, Message, OpenError, Refusal, SessionOptions, Step};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, SubscribeReasonCode};

const GRANTED: SubscribeReasonCode = SubscribeReasonCode::Success(QoS::AtLeastOnce);

#[tokio::test]
async fn the_connect_asks_for_a_clean_session_and_carries_will_and_credentials() {
    let broker = FakeBroker::start().await;
    let options = SessionOptions {
        will: Some(Message::retained("bye", "lost")),
        broker: format!("mqtt://user:p%40ss@{}", broker.address()).parse().unwrap(),
        keep_alive: Duration::from_secs(1),
        ..broker.options(&[])
    };
    let (opened, mut peer) = tokio::join!(bus::open(options), async {
        let mut peer = broker.accept().await;
        let connect = peer.expect_connect().await;
        assert!(connect.clean_session);
        assert_eq!(connect.client_id, "client");
        assert_eq!(connect.keep_alive, 5, "raised to the least");
        let will = connect.last_will.unwrap();
        assert_eq!((will.topic.as_str(), &will.message[..]), ("bye", &b"lost"[..]));
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        assert!(connect.login.unwrap().validate("user", "p@ss"));
        peer.connack(ConnectReturnCode::Success).await;
        peer
    });
    drop(opened.unwrap());
    assert_eq!(peer.next().await, None, "a dropped session says no goodbye");
}

#[tokio::test]
async fn a_refused_subscription_names_the_filter_and_says_goodbye() {
    let broker = FakeBroker::start().await;
    let (opened, ()) = tokio::join!(bus::open(broker.options(&["a", "secret/+", "b"])), async {
        let mut peer = broker.serve().await;
        let subscribe = peer.expect_subscribe().await;
        peer.send(&[suback(&subscribe, vec![GRANTED, SubscribeReasonCode::Failure, GRANTED])]).await;
        assert_eq!(peer.next().await, Some(Packet::Disconnect), "so that the will is not published");
    });
    let error = opened.unwrap_err();
    assert!(
        matches!(&error, OpenError::SubscriptionRefused { filter, .. } if filter == "secret/+"),
        "{error}"
    );
    assert!(error.to_string().contains("secret/+"));
}

#[tokio::test]
async fn a_subscription_that_is_not_answered_for_is_refused() {
    let broker = FakeBroker::start().await;
    let (opened, ()) = tokio::join!(bus::open(broker.options(&["a", "b"])), async {
        let mut peer = broker.serve().await;
        let subscribe = peer.expect_subscribe().await;
        peer.send(&[suback(&subscribe, vec![GRANTED])]).await;
    });
    assert!(matches!(opened.unwrap_err(), OpenError::SubscriptionRefused { filter, .. } if filter == "b"));
}

#[tokio::test]
async fn a_subscription_with_less_than_qos_1_is_not_enough() {
    let broker = FakeBroker::start().await;
    let (opened, ()) = tokio::join!(bus::open(broker.options(&["a", "b"])), async {
        let mut peer = broker.serve().await;
        let subscribe = peer.expect_subscribe().await;
        let lossy = SubscribeReasonCode::Success(QoS::AtMostOnce);
        peer.send(&[suback(&subscribe, vec![GRANTED, lossy])]).await;
    });
    assert!(matches!(opened.unwrap_err(), OpenError::QosTooLow { filter, .. } if filter == "b"));
}

#[tokio::test]
async fn a_refused_connection_says_why() {
    for (code, refusal) in [
        (ConnectReturnCode::RefusedProtocolVersion, Refusal::ProtocolVersion),
        (ConnectReturnCode::BadClientId, Refusal::ClientId),
        (ConnectReturnCode::ServiceUnavailable, Refusal::Unavailable),
        (ConnectReturnCode::BadUserNamePassword, Refusal::Credentials),
        (ConnectReturnCode::NotAuthorized, Refusal::NotAuthorised),
    ] {
        let broker = FakeBroker::start().await;
        let (opened, ()) = tokio::join!(bus::open(broker.options(&[])), async {
            let mut peer = broker.accept().await;
            peer.expect_connect().await;
            peer.connack(code).await;
        });
        let error = opened.unwrap_err();
        assert!(matches!(error, OpenError::Rejected { code, .. } if code == refusal), "{error}");
    }
}

#[tokio::test]
async fn messages_around_the_answer_to_the_subscription_are_delivered_in_order() {
    let broker = FakeBroker::start().await;
    let (opened, mut peer) = tokio::join!(bus::open(broker.options(&["x"])), async {
        let mut peer = broker.serve().await;
        let subscribe = peer.expect_subscribe().await;
        let answer = suback(&subscribe, vec![GRANTED]);
        // With one write: what follows the answer has been read before the session is open.
        peer.send(&[publish("x", "before", 7), answer, publish("x", "after", 8)]).await;
        peer
    });
    let (_outbox, mut inbox) = opened.unwrap();
    assert_eq!(inbox.recv().await.unwrap().payload, "before");
    assert_eq!(inbox.recv().await.unwrap().payload, "after");
    assert_eq!(peer.expect_puback().await, 7);
    assert_eq!(peer.expect_puback().await, 8);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let broker = FakeBroker::start().await;
    let options = broker.options(&[]);
    drop(broker);
    let error = bus::open(options).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_broker_that_hangs_up_before_it_answers_is_told_apart_from_one_that_is_not_there() {
    let broker = FakeBroker::start().await;
    let (opened, ()) = tokio::join!(bus::open(broker.options(&[])), async {
        broker.accept().await.expect_connect().await;
    });
    let error = opened.unwrap_err();
    assert!(
        matches!(&error, OpenError::HungUp { source, .. } if source.reason == LossReason::ClosedByBroker),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_speak_mqtt_is_told_apart_too() {
    let broker = FakeBroker::start().await;
    let (opened, ()) = tokio::join!(bus::open(broker.options(&[])), async {
        let mut peer = broker.accept().await;
        peer.expect_connect().await;
        // The alert of a TLS server.
        peer.send_bytes(&[0x15, 3, 3, 0, 2, 2, 40]).await;
    });
    let error = opened.unwrap_err();
    let protocol = matches!(&error, OpenError::HungUp { source, .. } if matches!(source.reason, LossReason::Protocol { .. }));
    assert!(protocol, "{error}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_times_out_with_the_step_it_did_not_answer() {
    let broker = FakeBroker::start().await;
    let impatient = |subscriptions, millis| SessionOptions {
        connect_timeout: Duration::from_millis(millis),
        ..broker.options(subscriptions)
    };
    let error = bus::open(impatient(&[], 10)).await.unwrap_err();
    assert!(matches!(error, OpenError::TimedOut { step: Step::Connect, .. }), "{error}");
    // Whoever connected above is still in the queue of connections.
    broker.accept().await;

    let (opened, _peer) = tokio::join!(bus::open(impatient(&["x"], 1500)), async {
        let mut peer = broker.serve().await;
        peer.expect_subscribe().await;
        peer
    });
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::TimedOut { step: Step::Subscribe, .. }), "{error}");
}

#[tokio::test]
async fn what_mqtt_cannot_carry_is_refused_before_anything_is_sent() {
    // Nobody listens: every one of these fails before a connection is tried.
    let broker = FakeBroker::start().await;
    let options = broker.options(&[]);
    drop(broker);
    for filter in ["", "a/#/b", "a+", "nul\0"] {
        let options = SessionOptions { subscriptions: vec![filter.to_owned()], ..options.clone() };
        let error = bus::open(options).await.unwrap_err();
        assert!(matches!(error, OpenError::InvalidTopic { is_filter: true, .. }), "{filter:?}: {error}");
    }
    let will = Some(Message::new("bye/+", ""));
    let error = bus::open(SessionOptions { will, ..options.clone() }).await.unwrap_err();
    assert!(matches!(error, OpenError::InvalidTopic { is_filter: false, .. }), "{error}");
    let will = Some(Message::new("bye", vec![0; 65_536]));
    let error = bus::open(SessionOptions { will, ..options.clone() }).await.unwrap_err();
    assert!(matches!(error, OpenError::TooLong { field: "the will", bytes: 65_536 }), "{error}");
    let client_id = "x".repeat(65_536);
    let error = bus::open(SessionOptions { client_id, ..options }).await.unwrap_err();
    assert!(matches!(error, OpenError::TooLong { field: "the client id", .. }), "{error}");
}
