//! NATS with JetStream, as it is recommended.

use std::net::SocketAddr;

use mds_tests::brokers::State;
use mds_tests::brokers::nats::{Nats, PACKAGE};
use mds_tests::brokers::shared::Shared;

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
