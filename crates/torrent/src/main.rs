//! The binary: reads the configuration, runs the torrent, gives the exit code.

use std::process::ExitCode;

use torrent::config::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    daemon::exit::conclude("torrent", torrent::run(Arguments::of_process()).await)
}
