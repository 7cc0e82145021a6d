//! From the command line to the exit code.

use std::process::ExitCode;

use clap::error::ErrorKind;
use endpoint::client::Cluster;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Child, Cli, Command};
use crate::demo::end_with_stdin;
use crate::exit::{Code, Failure};
use crate::output::Output;
use crate::signals::Signals;
use crate::{demo, drain, events, get, info, list, manual, peers, put, remove, status, verify, watch};

/// Runs the tool with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output { json: cli.json };
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&Failure::new(
                Code::Failed,
                "NO_RUNTIME",
                format!("no thread can be started: {error}"),
            ));
            return ExitCode::from(Code::Failed as u8);
        }
    };
    match cli.command {
        Command::Tracker(tracker) => {
            run_child(&runtime, "tracker", &tracker.child, tracker::run(tracker.arguments))
        }
        Command::Torrent(torrent) => {
            run_child(&runtime, "torrent", &torrent.child, torrent::run(torrent.arguments))
        }
        Command::Put(_)
        | Command::Get(_)
        | Command::List(_)
        | Command::Info(_)
        | Command::Remove(_)
        | Command::Peers(_)
        | Command::Drain(_)
        | Command::Status
        | Command::Verify(_)
        | Command::Events(_)
        | Command::Watch(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Demo(_) => {
            let result = runtime.block_on(run(cli, output));
            // A thread that still waits for standard input must not hold up the end.
            runtime.shutdown_background();
            match result {
                Ok(code) => code,
                Err(failure) => {
                    output.failure(&failure);
                    ExitCode::from(failure.number())
                }
            }
        }
    }
}

async fn run(cli: Cli, output: Output) -> Result<ExitCode, Failure> {
    if let Some(answered) = manual::answer(&cli.command, output) {
        return answered.map(|()| ExitCode::SUCCESS);
    }
    start_logging();
    let signals =
        |error| Failure::new(Code::Failed, "NO_SIGNALS", format!("signals cannot be received: {error}"));
    let mut signals = Signals::listen().map_err(signals)?;
    if let Command::Demo(demo) = &cli.command {
        return demo::run(demo, output, signals).await.map(|()| ExitCode::SUCCESS);
    }
    // What these two have begun at the tracker is to be ended there, too.
    if let Command::Put(put) = &cli.command {
        let cluster = connected(&cli, &mut signals).await?;
        return put::run(&cluster, put, output, &mut signals).await.map(|()| ExitCode::SUCCESS);
    }
    if let Command::Watch(watch) = &cli.command {
        let cluster = connected(&cli, &mut signals).await?;
        return watch::run(&cluster, watch, output, &mut signals).await.map(|()| ExitCode::SUCCESS);
    }
    tokio::select! {
        result = ask(&cli, output) => result,
        () = signals.next() => Err(interrupted(&cli.command)),
    }
}

async fn connected(cli: &Cli, signals: &mut Signals) -> Result<Cluster, Failure> {
    tokio::select! {
        connected = Cluster::connect(cli.endpoints()?) => Ok(connected?),
        () = signals.next() => Err(Failure::interrupted()),
    }
}

fn interrupted(command: &Command) -> Failure {
    let mut failure = Failure::interrupted();
    if matches!(command, Command::Get(_)) {
        failure.message.push_str(": what is there is kept, and the same command goes on from it");
    }
    failure
}

/// The commands that talk to a network.
async fn ask(cli: &Cli, output: Output) -> Result<ExitCode, Failure> {
    let cluster = Cluster::connect(cli.endpoints()?).await?;
    match &cli.command {
        Command::Get(get) => get::run(&cluster, get, output).await?,
        Command::List(list) => list::run(&cluster, list, output).await?,
        Command::Info(info) => info::run(&cluster, info, output).await?,
        Command::Remove(remove) => remove::run(&cluster, remove, output).await?,
        Command::Drain(drain) => drain::run(&cluster, drain, output).await?,
        Command::Peers(peers) => peers::run(&cluster, peers, output).await?,
        Command::Status => return Ok(ExitCode::from(status::run(&cluster, output).await?)),
        Command::Verify(verify) => return Ok(ExitCode::from(verify::run(&cluster, verify, output).await?)),
        Command::Events(events) => events::run(&cluster, events, output).await?,
        Command::Put(_)
        | Command::Watch(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Demo(_)
        | Command::Tracker(_)
        | Command::Torrent(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn run_child(
    runtime: &Runtime,
    program: &str,
    child: &Child,
    daemon: impl Future<Output = Result<(), daemon::Failure>>,
) -> ExitCode {
    if child.end_with_stdin {
        end_with_stdin();
    }
    daemon::exit::conclude(program, runtime.block_on(daemon))
}

/// The tool itself says what there is to say; `MDS_LOG` shows what goes on beneath.
fn start_logging() {
    if std::env::var_os("MDS_LOG").is_some() {
        daemon::logging::start(daemon::logging::LogFormat::Text);
    }
}

/// Help and version are answers; everything else is a failure, in JSON if it was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && !is_answer {
        let message = error.to_string();
        let message = message.trim().trim_start_matches("error: ");
        Output { json }.failure(&Failure::new(Code::Usage, "USAGE", message));
    } else {
        // Nobody to tell if it cannot be printed.
        let _ = error.print();
    }
    if is_answer { ExitCode::SUCCESS } else { ExitCode::from(Code::Usage as u8) }
}
