//! What every daemon needs besides its work: configuration, logs, signals, exit codes, a clock, HTTP and metrics.

pub mod clock;
pub mod config;
pub mod exit;
pub mod hearing;
pub mod http;
pub mod link;
pub mod logging;
pub mod metrics;
pub mod own_fragments;
pub mod scrub;
pub mod serving;
pub mod shutdown;
pub mod start;
pub mod turns;

pub use clock::Clock;
pub use exit::{ExitCode, Failure};
pub use own_fragments::OwnFragments;
pub use shutdown::Shutdown;
