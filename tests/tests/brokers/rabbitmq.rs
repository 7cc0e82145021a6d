//! One node of RabbitMQ with its MQTT plug-in, as it is recommended.

use std::net::SocketAddr;

use mds_tests::brokers::State;
use mds_tests::brokers::rabbitmq::{PACKAGE, RabbitMq};
use mds_tests::brokers::shared::Shared;

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
