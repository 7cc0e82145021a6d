//! The demo's broker: an MQTT broker inside the process, so that the demo needs nothing installed.
//!
//! It keeps nothing on disk and lets anybody in, so it listens where it is told to and nowhere else: give it a
//! loopback address. In production and in the deterministic tests the broker is Mosquitto; nothing but the demo
//! depends on this crate.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mqtt5::broker::config::StorageConfig;
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

/// Largest packet, in bytes: eight times the largest fragment, so that no encoding of one comes near it.
pub const MAX_PACKET_BYTES: usize = 64 << 20;

/// How long [`EmbeddedBroker::stop`] lets open connections end by themselves.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker for MQTT 3.1.1 and 5 that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
    shutdown: BrokerShutdown,
    running: JoinHandle<()>,
}

/// Tells the broker to end.
struct BrokerShutdown(BrokerShutdownHandle);

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not one of this machine.
    #[error("the embedded broker cannot listen on {address}: {source}; choose another address, or port 0")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The broker itself refuses to start.
    #[error("the embedded broker does not start on {address}: {message}")]
    Broker {
        /// The address that was asked for.
        address: SocketAddr,
        /// What it says.
        message: String,
    },
}

impl EmbeddedBroker {
    /// Starts a broker that listens on `address`; port 0 takes a free one. Connections are accepted from the
    /// moment this returns. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]: the address cannot be used.
    pub async fn start(address: SocketAddr) -> Result<Self, StartError> {
        // The broker says only in words why it cannot listen: ask the system first.
        TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let refused = |message: String| StartError::Broker { address, message };
        let mut broker =
            MqttBroker::with_config(config(address)).await.map_err(|error| refused(error.to_string()))?;
        let address = broker.local_addr().ok_or_else(|| refused("it has no listener".to_owned()))?;
        let shutdown = BrokerShutdown(broker.shutdown_handle());
        let mut ready = broker.ready_receiver();
        let running = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                warn!(%address, %error, "the embedded broker failed");
            }
        });
        let broker = Self { address, shutdown, running };
        match ready.wait_for(|&ready| ready).await {
            Ok(_) => Ok(broker),
            Err(_) => Err(refused("it ended at once; its log says why".to_owned())),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as the daemons want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Ends all connections and frees the port.
    pub async fn stop(mut self) {
        self.shutdown.0.shutdown();
        if timeout(STOP_TIMEOUT, &mut self.running).await.is_err() {
            warn!(address = %self.address, "the embedded broker did not stop in time and is cut off");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shutdown.0.shutdown();
        self.running.abort();
    }
}

impl std::fmt::Debug for BrokerShutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrokerShutdown")
    }
}

fn config(address: SocketAddr) -> BrokerConfig {
    BrokerConfig::default()
        .with_bind_address(address)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_sys_topics_enabled(false)
        // Every session is clean, so there is nothing to keep, in memory or on disk.
        .with_storage(StorageConfig::default().with_persistence(false))
}
