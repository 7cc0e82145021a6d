//! The test kit: what the suites in `tests/tests` share.

pub mod mosquitto;
pub mod sim;
