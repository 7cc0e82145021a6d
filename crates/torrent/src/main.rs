//! The binary: reads the configuration, runs the torrent, gives the exit code.

use std::process::ExitCode;

use torrent::config::Arguments;

fn main() -> ExitCode {
    malloc::set_up();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    daemon::exit::conclude("torrent", torrent::run(Arguments::of_process()).await)
}
