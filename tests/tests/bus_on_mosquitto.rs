//! The bus on a real Mosquitto.

mod bus_suite;

use std::time::{Duration, Instant};

use bus::{LossReason, Message, OpenError, Refusal};
use bus_suite::{loss, next, open, options};
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;

bus_suite::test_on!(
    {
        needs_mosquitto!();
        Mosquitto::start()
    },
    a_mebibyte_arrives_as_it_was_sent,
    a_retained_message_reaches_who_subscribes_later,
    a_session_that_is_dropped_leaves_its_will,
    a_session_that_is_closed_leaves_no_will,
    everything_published_before_a_close_arrives,
    a_second_client_with_the_same_id_ends_the_first_session,
    ten_thousand_small_messages_all_arrive_in_order,
    large_messages_both_ways_on_every_connection_do_not_block_each_other,
    a_packet_above_the_limit_ends_the_session_with_both_sizes,
    a_message_above_the_limit_is_refused_and_the_session_goes_on,
    one_publisher_reaches_four_subscribers_with_large_messages,
    bare_topics_and_wildcards_each_get_what_they_name,
    an_empty_retained_message_clears_what_was_kept,
);

#[tokio::test]
async fn a_killed_broker_is_noticed_and_a_new_session_can_be_opened_on_the_next() {
    needs_mosquitto!();
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

#[tokio::test]
async fn a_wrong_password_is_rejected_with_what_to_do() {
    needs_mosquitto!();
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

/// How long two clients take to answer each other forty times.
async fn conversation(url: &str) -> Duration {
    let (ask, mut answers) = open(options(url, "one", &["answer"])).await;
    let (answer, mut questions) = open(options(url, "two", &["question"])).await;
    let start = Instant::now();
    for _ in 0..40 {
        ask.publish(Message::new("question", "?"));
        next(&mut questions).await;
        answer.publish(Message::new("answer", "!"));
        next(&mut answers).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn a_broker_that_gathers_small_packets_does_not_hold_up_a_conversation() {
    needs_mosquitto!();
    let at_once = Mosquitto::start_with("allow_anonymous true\nset_tcp_nodelay true\n");
    let gathers = Mosquitto::start_with("allow_anonymous true\nset_tcp_nodelay false\n");
    // A busy machine slows both down. What is held up costs 40 ms an answer.
    let expected = conversation(&at_once.url()).await;
    let needed = conversation(&gathers.url()).await;
    assert!(needed < 2 * expected + Duration::from_millis(600), "{needed:?}, and {expected:?} at once");
}
