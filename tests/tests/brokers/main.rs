//! One suite of what the daemons need of a broker, on every broker that is supported.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod embedded;
mod mosquitto;
mod nats;
mod rabbitmq;
mod rabbitmq_cluster;
mod refused;
mod suite;
