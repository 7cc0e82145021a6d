//! What every daemon needs besides its work: configuration, logs, signals, exit codes, a clock, health and metrics.

pub mod clock;
pub mod config;
pub mod exit;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod shutdown;

pub use clock::Clock;
pub use exit::{ExitCode, Failure};
pub use shutdown::Shutdown;
