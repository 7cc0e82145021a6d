//! The test kit: what the suites in `tests/tests` share.

pub mod certificates;
pub mod mosquitto;
pub mod sim;
