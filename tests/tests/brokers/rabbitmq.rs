//! One node of RabbitMQ with its MQTT plug-in, as it is recommended.

use std::net::SocketAddr;

use mds_tests::brokers::State;
use mds_tests::brokers::rabbitmq::{PACKAGE, RabbitMq};
use mds_tests::brokers::shared::Shared;
use mds_tests::needs_program;

use crate::refused::asks_for_passwords;
use crate::suite::{RunningBroker, suite_on};

impl RunningBroker for RabbitMq {
    fn urls(&self) -> Vec<String> {
        Self::urls(self)
    }

    fn address(&self) -> SocketAddr {
        Self::address(self)
    }

    fn restart(&mut self, state: State) {
        Self::restart(self, state);
    }
}

static BROKER: Shared<RabbitMq> = Shared::new();

suite_on!(BROKER.get(RabbitMq::start), PACKAGE.is_installed_or_skip());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_passwords_only_those_who_know_one_get_in() {
    needs_program!(PACKAGE);
    let broker = BROKER.get(RabbitMq::start);
    let broker = broker.read().await;
    // The user that every RabbitMQ has, for connections from its own machine. Nobody else is known without a password.
    asks_for_passwords(broker.address(), ("guest", "guest"), ("guest", "guest")).await;
}
