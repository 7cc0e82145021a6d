//! The binary: reads the configuration, runs the tracker, gives the exit code.

use std::process::ExitCode;

use tracker::config::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    daemon::exit::conclude("tracker", tracker::run(Arguments::of_process()).await)
}
