//! The broker of the demo. It keeps nothing, so a restart with what it keeps is one with nothing.

use std::net::SocketAddr;
use std::thread;

use broker::EmbeddedBroker;
use mds_tests::brokers::State;
use mds_tests::brokers::shared::Shared;
use mds_tests::loopback::own_address;
use tokio::runtime::Runtime;

use crate::suite::{RunningBroker, suite_on};

/// With a runtime of its own: it outlives the test that has started it.
struct Embedded {
    runtime: Option<Runtime>,
    broker: Option<EmbeddedBroker>,
    address: SocketAddr,
}

impl Embedded {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let broker = apart(&runtime, EmbeddedBroker::start((own_address(), 0).into())).unwrap();
        Self { address: broker.address(), runtime: Some(runtime), broker: Some(broker) }
    }
}

/// Tests wait for their own runtime; this one has a thread to be waited for.
fn apart<T: Send>(runtime: &Runtime, work: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| scope.spawn(|| runtime.block_on(work)).join().unwrap())
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.broker = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl RunningBroker for Embedded {
    fn urls(&self) -> Vec<String> {
        vec![format!("mqtt://{}", self.address)]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self, _: State) {
        let runtime = self.runtime.as_ref().unwrap();
        if let Some(broker) = self.broker.take() {
            apart(runtime, broker.stop());
        }
        self.broker = Some(apart(runtime, EmbeddedBroker::start(self.address)).unwrap());
    }
}

static BROKER: Shared<Embedded> = Shared::new();

suite_on!(BROKER.get(Embedded::start), true);
