//! The bus on a real Mosquitto.

use std::time::Duration;

use bus::{
    BrokerUrl, Delivery, Inbox, LossReason, Message, OpenError, Outbox, PublishError, Refusal, SessionOptions,
};
use bytes::Bytes;
use mds_tests::mosquitto::Mosquitto;
use tokio::time::timeout;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(url: &str, client_id: &str, subscriptions: &[&str]) -> SessionOptions {
    let broker: BrokerUrl = url.parse().expect("the kit gives a valid URL");
    SessionOptions {
        subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
        ..SessionOptions::new(broker, client_id)
    }
}

async fn next(inbox: &mut Inbox) -> Delivery {
    timeout(PATIENCE, inbox.recv()).await.expect("a message arrives").expect("the session lives")
}

async fn loss(inbox: &mut Inbox) -> LossReason {
    loop {
        if let Err(lost) = timeout(PATIENCE, inbox.recv()).await.expect("the loss is noticed") {
            return lost.reason;
        }
    }
}

async fn open(options: SessionOptions) -> (Outbox, Inbox) {
    bus::open(options).await.expect("the broker takes the session")
}

#[tokio::test]
async fn a_mebibyte_arrives_as_it_was_sent() {
    let broker = Mosquitto::start();
    let (outbox, mut inbox) = open(options(&broker.url(), "one", &["big"])).await;
    let payload: Bytes = (0..1 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    outbox.publish_confirmed(Message::new("big", payload.clone())).await.unwrap();
    assert_eq!(next(&mut inbox).await, Delivery { topic: "big".to_owned(), payload, retained: false });
    outbox.close().await.unwrap();
}

#[tokio::test]
async fn a_retained_message_reaches_who_subscribes_later() {
    let broker = Mosquitto::start();
    let (outbox, _inbox) = open(options(&broker.url(), "one", &[])).await;
    outbox.publish_confirmed(Message::retained("hello", "kept")).await.unwrap();
    let (_outbox, mut late) = open(options(&broker.url(), "two", &["hello"])).await;
    let expected = Delivery { topic: "hello".to_owned(), payload: Bytes::from("kept"), retained: true };
    assert_eq!(next(&mut late).await, expected);
}

#[tokio::test]
async fn a_session_that_is_dropped_leaves_its_will() {
    let broker = Mosquitto::start();
    let (_outbox, mut observer) = open(options(&broker.url(), "observer", &["will"])).await;
    let will = Some(Message::new("will", "lost"));
    let mortal = open(SessionOptions { will, ..options(&broker.url(), "mortal", &[]) }).await;
    drop(mortal);
    assert_eq!(next(&mut observer).await.payload, "lost");
}

#[tokio::test]
async fn a_session_that_is_closed_leaves_no_will() {
    let broker = Mosquitto::start();
    let (outbox, mut observer) = open(options(&broker.url(), "observer", &["will", "end"])).await;
    let will = Some(Message::new("will", "lost"));
    let (mortal, mut inbox) = open(SessionOptions { will, ..options(&broker.url(), "mortal", &[]) }).await;
    mortal.close().await.unwrap();
    assert_eq!(loss(&mut inbox).await, LossReason::Closed);
    // The broker had ended the connection before `close` came back, so a will would come before this.
    outbox.publish(Message::new("end", ""));
    assert_eq!(next(&mut observer).await.topic, "end");
}

#[tokio::test]
async fn everything_published_before_a_close_arrives() {
    let broker = Mosquitto::start();
    let (_outbox, mut observer) = open(options(&broker.url(), "observer", &["last"])).await;
    let (leaving, inbox) = open(options(&broker.url(), "leaving", &[])).await;
    drop(inbox);
    for number in 0..500 {
        leaving.publish(Message::new("last", number.to_string()));
    }
    leaving.close().await.unwrap();
    for number in 0..500 {
        assert_eq!(next(&mut observer).await.payload, number.to_string());
    }
}

#[tokio::test]
async fn a_second_client_with_the_same_id_ends_the_first_session() {
    let broker = Mosquitto::start();
    let (first, mut first_inbox) = open(options(&broker.url(), "same", &[])).await;
    let (second, _inbox) = open(options(&broker.url(), "same", &[])).await;
    assert_eq!(loss(&mut first_inbox).await, LossReason::ClosedByBroker);
    assert!(first.publish_confirmed(Message::new("x", "")).await.is_err());
    second.publish_confirmed(Message::new("x", "")).await.unwrap();
}

#[tokio::test]
async fn a_killed_broker_is_noticed_and_a_new_session_can_be_opened_on_the_next() {
    let mut broker = Mosquitto::start();
    let (outbox, mut inbox) = open(options(&broker.url(), "one", &["x"])).await;
    broker.kill();
    assert_eq!(loss(&mut inbox).await, LossReason::ClosedByBroker);
    assert!(outbox.publish_confirmed(Message::new("x", "")).await.is_err());
    let refused = bus::open(options(&broker.url(), "one", &[])).await.unwrap_err();
    assert!(matches!(refused, bus::OpenError::Unreachable { .. }), "{refused}");

    broker.restart();
    let (outbox, mut inbox) = open(options(&broker.url(), "one", &["x"])).await;
    outbox.publish(Message::new("x", "again"));
    assert_eq!(next(&mut inbox).await.payload, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_small_messages_all_arrive_in_order() {
    let broker = Mosquitto::start();
    let (outbox, _inbox) = open(options(&broker.url(), "talker", &[])).await;
    let (_outbox, mut inbox) = open(options(&broker.url(), "listener", &["small"])).await;
    for number in 0..9_999 {
        outbox.publish(Message::new("small", number.to_string()));
    }
    outbox.publish_confirmed(Message::new("small", "9999")).await.unwrap();
    assert_eq!(outbox.queued_bytes(), 0, "acknowledgements come in order");
    for number in 0..10_000 {
        assert_eq!(next(&mut inbox).await.payload, number.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_both_ways_on_every_connection_do_not_block_each_other() {
    let broker = Mosquitto::start();
    let payload = Bytes::from(vec![7; 350_000]);
    let mut sessions = Vec::new();
    for number in 0..4 {
        sessions.push(open(options(&broker.url(), &format!("node{number}"), &["data/+"])).await);
    }
    let tasks: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(number, (outbox, mut inbox))| {
            for _ in 0..32 {
                outbox.publish(Message::new(format!("data/{number}"), payload.clone()));
            }
            tokio::spawn(async move {
                for _ in 0..4 * 32 {
                    assert_eq!(next(&mut inbox).await.payload.len(), 350_000);
                }
                outbox.close().await.expect("everything is acknowledged");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_packet_above_the_limit_ends_the_session_with_both_sizes() {
    let broker = Mosquitto::start();
    let (outbox, _inbox) = open(options(&broker.url(), "talker", &[])).await;
    let small = SessionOptions { max_packet_bytes: 1000, ..options(&broker.url(), "listener", &["x"]) };
    let (listener, mut inbox) = open(small).await;
    outbox.publish(Message::new("x", vec![0; 2000]));
    let reason = loss(&mut inbox).await;
    assert!(matches!(reason, LossReason::PacketTooLarge { limit_bytes: 1000, .. }), "{reason}");
    drop(listener);
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_the_session_goes_on() {
    let broker = Mosquitto::start();
    let small = SessionOptions { max_packet_bytes: 1000, ..options(&broker.url(), "one", &["x"]) };
    let (outbox, mut inbox) = open(small).await;
    let refused = outbox.publish_confirmed(Message::new("x", vec![0; 1000])).await.unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { .. }), "{refused}");
    outbox.publish(Message::new("wild/+", ""));
    assert_eq!(outbox.refused(), 2);
    let largest = vec![1; 1000 - 9 - 1];
    outbox.publish(Message::new("x", largest.clone()));
    assert_eq!(next(&mut inbox).await.payload, largest);
}

#[tokio::test]
async fn a_wrong_password_is_rejected_with_what_to_do() {
    let passwords = tempfile::tempdir().unwrap();
    let file = passwords.path().join("passwords");
    // The hash of something nobody will type.
    std::fs::write(&file, "tracker:$7$101$AAAAAAAAAAAAAAAA$AAAA\n").unwrap();
    let broker = Mosquitto::start_with(&format!("allow_anonymous false\npassword_file {}\n", file.display()));
    let url = broker.url().replace("mqtt://", "mqtt://tracker:secret@");
    for url in [broker.url(), url] {
        let error = bus::open(options(&url, "tracker", &[])).await.unwrap_err();
        let code =
            matches!(error, OpenError::Rejected { code: Refusal::NotAuthorised | Refusal::Credentials, .. });
        assert!(code, "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
