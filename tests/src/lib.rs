//! The test kit: what the suites in `tests/tests` share.

pub mod binaries;
pub mod brokers;
pub mod certificates;
pub mod client;
pub mod daemons;
pub mod http;
pub mod liar;
pub mod loopback;
pub mod mosquitto;
pub mod mqtt;
pub mod python;
pub mod recorder;
pub mod silence;
pub mod sim;
pub mod small_disk;
pub mod soak;
pub mod spec_only;
pub mod specification;
pub mod wait;
