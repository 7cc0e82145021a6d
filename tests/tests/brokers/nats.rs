//! NATS with JetStream, as it is recommended.

use std::net::SocketAddr;

use mds_tests::brokers::State;
use mds_tests::brokers::nats::{Nats, PACKAGE};
use mds_tests::brokers::shared::Shared;
use mds_tests::daemons::Site;
use mds_tests::needs_program;

use crate::refused::{asks_for_passwords, ends_with_code_4};
use crate::suite::{RunningBroker, suite_on};

impl RunningBroker for Nats {
    fn urls(&self) -> Vec<String> {
        vec![self.url()]
    }

    fn address(&self) -> SocketAddr {
        Self::address(self)
    }

    fn restart(&mut self, state: State) {
        Self::restart(self, state);
    }
}

static BROKER: Shared<Nats> = Shared::new();

suite_on!(BROKER.get(Nats::start), PACKAGE.is_installed_or_skip());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_below_a_fragment_ends_the_tracker_with_code_4_and_a_smaller_fragment_gets_through() {
    needs_program!(PACKAGE);
    // 2.9 does not hold MQTT to max_payload; what waits for one client it does limit.
    let limits =
        [("max_payload:", "max_payload: 64KB".to_owned()), ("max_pending:", "max_pending: 100KB".to_owned())];
    let broker = Nats::start_with(&limits);
    let site = Site::new(broker.url());
    let says = ["365912 bytes", "max_payload", "max_pending", "--fragment-size"];
    ends_with_code_4(site.tracker("tracker", &[]), &says).await;
    let mut tracker = site.tracker("tracker", &["--fragment-size", "16384"]);
    tracker.says("online").await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_messages_on_their_way_than_nats_allows_ends_the_tracker_with_code_4() {
    needs_program!(PACKAGE);
    let broker = Nats::start_with(&[("max_ack_pending:", "max_ack_pending: 10000".to_owned())]);
    let site = Site::new(broker.url());
    ends_with_code_4(site.tracker("tracker", &[]), &["refuses the subscription", "max_ack_pending"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_passwords_only_those_who_know_one_get_in() {
    needs_program!(PACKAGE);
    let users = "server_name: mds\nauthorization { users = [{user: tracker, password: one}, {user: t1, password: two}] }";
    let broker = Nats::start_with(&[("server_name:", users.to_owned())]);
    let address = broker.address();
    asks_for_passwords(address, ("tracker", "one"), ("t1", "two")).await;
}
