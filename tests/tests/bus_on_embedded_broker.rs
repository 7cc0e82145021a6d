//! The bus on the broker that the demo embeds.

mod bus_suite;

use std::net::{Ipv4Addr, SocketAddr};

use broker::{EmbeddedBroker, StartError};
use bus::{LossReason, Message};
use bus_suite::{loss, next, open, options};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

bus_suite::test_on!(
    EmbeddedBroker::start(ANY_PORT).await.unwrap(),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_the_sessions_and_frees_the_port_for_the_next_broker() {
    let broker = EmbeddedBroker::start(ANY_PORT).await.unwrap();
    let (address, url) = (broker.address(), broker.url());
    let (_outbox, mut inbox) = open(options(&url, "one", &["x"])).await;
    broker.stop().await;
    assert_eq!(loss(&mut inbox).await, LossReason::ClosedByBroker);

    let _broker = EmbeddedBroker::start(address).await.unwrap();
    let (outbox, mut inbox) = open(options(&url, "one", &["x"])).await;
    outbox.publish(Message::new("x", "again"));
    assert_eq!(next(&mut inbox).await.payload, "again");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let broker = EmbeddedBroker::start(ANY_PORT).await.unwrap();
    let error = EmbeddedBroker::start(broker.address()).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&broker.address().to_string()), "{error}");
}
