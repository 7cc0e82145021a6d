//! What the bus needs from any broker. The files beside this directory run it, each on one broker.

use std::time::Duration;

use bus::{BrokerUrl, Delivery, Inbox, LossReason, Message, Outbox, PublishError, SessionOptions};
use bytes::Bytes;
use tokio::time::timeout;

/// Makes a test of each named function, on a broker of its own.
macro_rules! test_on {
    ($start:expr, $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let broker = $start;
                crate::bus_suite::$name(&broker.url()).await;
            }
        )+
    };
}
pub(crate) use test_on;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn options(url: &str, client_id: &str, subscriptions: &[&str]) -> SessionOptions {
    let broker: BrokerUrl = url.parse().expect("the kit gives a valid URL");
    SessionOptions {
        subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
        ..SessionOptions::new(broker, client_id)
    }
}

pub async fn next(inbox: &mut Inbox) -> Delivery {
    timeout(PATIENCE, inbox.recv()).await.expect("a message arrives").expect("the session lives")
}

pub async fn loss(inbox: &mut Inbox) -> LossReason {
    loop {
        if let Err(lost) = timeout(PATIENCE, inbox.recv()).await.expect("the loss is noticed") {
            return lost.reason;
        }
    }
}

pub async fn open(options: SessionOptions) -> (Outbox, Inbox) {
    bus::open(options).await.expect("the broker takes the session")
}

pub async fn a_mebibyte_arrives_as_it_was_sent(url: &str) {
    let (outbox, mut inbox) = open(options(url, "one", &["big"])).await;
    let payload: Bytes = (0..1 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    outbox.publish_confirmed(Message::new("big", payload.clone())).await.expect("the broker has it");
    assert_eq!(next(&mut inbox).await, Delivery { topic: "big".to_owned(), payload, retained: false });
    outbox.close().await.expect("it closes properly");
}

pub async fn a_retained_message_reaches_who_subscribes_later(url: &str) {
    let (outbox, _inbox) = open(options(url, "one", &[])).await;
    outbox.publish_confirmed(Message::retained("hello", "kept")).await.expect("the broker has it");
    let (_outbox, mut late) = open(options(url, "two", &["hello"])).await;
    let expected = Delivery { topic: "hello".to_owned(), payload: Bytes::from("kept"), retained: true };
    assert_eq!(next(&mut late).await, expected);
}

pub async fn a_session_that_is_dropped_leaves_its_will(url: &str) {
    let (_outbox, mut observer) = open(options(url, "observer", &["will"])).await;
    let will = Some(Message::new("will", "lost"));
    let mortal = open(SessionOptions { will, ..options(url, "mortal", &[]) }).await;
    drop(mortal);
    assert_eq!(next(&mut observer).await.payload, "lost");
}

pub async fn a_session_that_is_closed_leaves_no_will(url: &str) {
    let (outbox, mut observer) = open(options(url, "observer", &["will", "end"])).await;
    let will = Some(Message::new("will", "lost"));
    let (mortal, mut inbox) = open(SessionOptions { will, ..options(url, "mortal", &[]) }).await;
    mortal.close().await.expect("it closes properly");
    assert_eq!(loss(&mut inbox).await, LossReason::Closed);
    // The broker had ended the connection before `close` came back, so a will would come before this.
    outbox.publish(Message::new("end", ""));
    assert_eq!(next(&mut observer).await.topic, "end");
}

pub async fn everything_published_before_a_close_arrives(url: &str) {
    let (_outbox, mut observer) = open(options(url, "observer", &["last"])).await;
    let (leaving, inbox) = open(options(url, "leaving", &[])).await;
    drop(inbox);
    for number in 0..500 {
        leaving.publish(Message::new("last", number.to_string()));
    }
    leaving.close().await.expect("it closes properly");
    for number in 0..500 {
        assert_eq!(next(&mut observer).await.payload, number.to_string());
    }
}

pub async fn a_second_client_with_the_same_id_ends_the_first_session(url: &str) {
    let (first, mut first_inbox) = open(options(url, "same", &[])).await;
    let (second, _inbox) = open(options(url, "same", &[])).await;
    assert_eq!(loss(&mut first_inbox).await, LossReason::ClosedByBroker);
    assert!(first.publish_confirmed(Message::new("x", "")).await.is_err());
    second.publish_confirmed(Message::new("x", "")).await.expect("the second session lives");
}

pub async fn ten_thousand_small_messages_all_arrive_in_order(url: &str) {
    let (outbox, _inbox) = open(options(url, "talker", &[])).await;
    let (_outbox, mut inbox) = open(options(url, "listener", &["small"])).await;
    for number in 0..9_999 {
        outbox.publish(Message::new("small", number.to_string()));
    }
    outbox.publish_confirmed(Message::new("small", "9999")).await.expect("the broker has it");
    assert_eq!(outbox.queued_bytes(), 0, "acknowledgements come in order");
    for number in 0..10_000 {
        assert_eq!(next(&mut inbox).await.payload, number.to_string());
    }
}

pub async fn large_messages_both_ways_on_every_connection_do_not_block_each_other(url: &str) {
    let payload = Bytes::from(vec![7; 350_000]);
    let mut sessions = Vec::new();
    for number in 0..4 {
        sessions.push(open(options(url, &format!("node{number}"), &["data/+"])).await);
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
        task.await.expect("the node got everything");
    }
}

pub async fn a_packet_above_the_limit_ends_the_session_with_both_sizes(url: &str) {
    let (outbox, _inbox) = open(options(url, "talker", &[])).await;
    let small = SessionOptions { max_packet_bytes: 1000, ..options(url, "listener", &["x"]) };
    let (listener, mut inbox) = open(small).await;
    outbox.publish(Message::new("x", vec![0; 2000]));
    let reason = loss(&mut inbox).await;
    assert!(matches!(reason, LossReason::PacketTooLarge { limit_bytes: 1000, .. }), "{reason}");
    drop(listener);
}

pub async fn a_message_above_the_limit_is_refused_and_the_session_goes_on(url: &str) {
    let small = SessionOptions { max_packet_bytes: 1000, ..options(url, "one", &["x"]) };
    let (outbox, mut inbox) = open(small).await;
    let refused =
        outbox.publish_confirmed(Message::new("x", vec![0; 1000])).await.expect_err("it is too large");
    assert!(matches!(refused, PublishError::TooLarge { .. }), "{refused}");
    outbox.publish(Message::new("wild/+", ""));
    assert_eq!(outbox.refused(), 2);
    let largest = vec![1; 1000 - 9 - 1];
    outbox.publish(Message::new("x", largest.clone()));
    assert_eq!(next(&mut inbox).await.payload, largest);
}

pub async fn one_publisher_reaches_four_subscribers_with_large_messages(url: &str) {
    let payload = Bytes::from(vec![9; 350_000]);
    let (outbox, _inbox) = open(options(url, "publisher", &[])).await;
    let mut inboxes = Vec::new();
    for number in 0..4 {
        inboxes.push(open(options(url, &format!("subscriber{number}"), &["data"])).await);
    }
    // 32 outstanding, as in a distribution: the next goes out when all four have an earlier one.
    for round in 0..128 + 32 {
        if round < 128 {
            outbox.publish(Message::new("data", payload.clone()));
        }
        if round >= 32 {
            for (_, inbox) in &mut inboxes {
                assert_eq!(next(inbox).await.payload.len(), payload.len());
            }
        }
    }
    assert_eq!(outbox.refused(), 0);
}

pub async fn bare_topics_and_wildcards_each_get_what_they_name(url: &str) {
    let (tracker, mut tracker_inbox) = open(options(url, "tracker", &["join", "join/+"])).await;
    let (torrent, mut torrent_inbox) = open(options(url, "t1", &["answer", "answer/t1"])).await;
    for topic in ["join", "join/t1", "join/t1/too-deep"] {
        torrent.publish(Message::new(topic, topic));
    }
    torrent.publish(Message::new("join/last", ""));
    for topic in ["join", "join/t1", "join/last"] {
        assert_eq!(next(&mut tracker_inbox).await.topic, topic);
    }
    for topic in ["answer/t2", "answer/t1", "answer"] {
        tracker.publish(Message::new(topic, ""));
    }
    for topic in ["answer/t1", "answer"] {
        assert_eq!(next(&mut torrent_inbox).await.topic, topic);
    }
}

pub async fn an_empty_retained_message_clears_what_was_kept(url: &str) {
    let (outbox, _inbox) = open(options(url, "one", &[])).await;
    outbox.publish(Message::retained("hello", "kept"));
    outbox.publish_confirmed(Message::retained("hello", "")).await.expect("the broker has it");
    let (late, mut inbox) = open(options(url, "two", &["hello", "end"])).await;
    late.publish(Message::new("end", ""));
    assert_eq!(next(&mut inbox).await.topic, "end");
}
