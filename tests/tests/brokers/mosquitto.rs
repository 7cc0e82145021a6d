//! Mosquitto with the configuration that is recommended, and with persistence besides, so that a restart has something to keep.

use std::fs;
use std::net::SocketAddr;

use mds_tests::brokers::shared::Shared;
use mds_tests::brokers::{State, shipped, with_lines};
use mds_tests::mosquitto::{Mosquitto, PACKAGE};

use crate::suite::{RunningBroker, suite_on};

fn start() -> Mosquitto {
    // The listener is the kit's.
    let replaced = [("listener ", String::new()), ("persistence ", "persistence true".to_owned())];
    Mosquitto::start_with(&with_lines(&shipped("mosquitto.conf"), &replaced))
}

impl RunningBroker for Mosquitto {
    fn urls(&self) -> Vec<String> {
        vec![self.url()]
    }

    fn address(&self) -> SocketAddr {
        Self::address(self)
    }

    fn restart(&mut self, state: State) {
        match state {
            State::Kept => {
                self.stop();
                assert!(self.directory().join("mosquitto.db").is_file(), "it has kept something");
            }
            State::Lost => {
                self.kill();
                // There is none if nothing was saved yet.
                let _ = fs::remove_file(self.directory().join("mosquitto.db"));
            }
        }
        Self::restart(self);
    }
}

static BROKER: Shared<Mosquitto> = Shared::new();

suite_on!(BROKER.get(start), PACKAGE.is_installed_or_skip());
