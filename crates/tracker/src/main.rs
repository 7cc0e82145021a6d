//! The binary: reads the configuration, runs the tracker, gives the exit code.

use std::process::ExitCode;

use tracker::config::Arguments;

fn main() -> ExitCode {
    malloc::set_up();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    daemon::exit::conclude("tracker", tracker::run(Arguments::of_process()).await)
}
