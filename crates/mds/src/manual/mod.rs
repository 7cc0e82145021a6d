//! What a shell completes, and what `man` shows, of all three programs: both come from the command lines themselves.

#[cfg(test)]
mod documents;

use std::fs;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};

use crate::cli::{Cli, Completions, Man, Program};
use crate::exit::Failure;
use crate::output::Output;

/// Prints the completions of one program.
///
/// # Errors
/// If standard output is closed or broken.
pub fn completions(completions: &Completions, output: Output) -> Result<(), Failure> {
    let text = completing(completions);
    output.line(String::from_utf8_lossy(&text).trim_end())
}

fn completing(completions: &Completions) -> Vec<u8> {
    let mut command = command(completions.program, completions.packaged);
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(completions.shell, &mut command, name, &mut text);
    text
}

/// Writes a page for each program and each command of it.
///
/// # Errors
/// If the disk refuses.
pub fn pages(man: &Man, output: Output) -> Result<(), Failure> {
    let written = fs::create_dir_all(&man.directory).and_then(|()| {
        [Program::Mds, Program::Tracker, Program::Torrent]
            .into_iter()
            .try_for_each(|program| clap_mangen::generate_to(command(program, man.packaged), &man.directory))
    });
    written.map_err(|error| Failure::io("written", &man.directory, &error))?;
    if output.json { output.value(&serde_json::json!({ "directory": man.directory })) } else { Ok(()) }
}

/// The command line of a program, without what is not meant for users. In a package, where `tracker` would be too general a name, the
/// daemons have another one.
fn command(program: Program, packaged: bool) -> Command {
    match program {
        Program::Mds => {
            let all = Cli::command();
            let mut shown = Command::new("mds").version(env!("CARGO_PKG_VERSION")).args(all.get_arguments());
            let text = |text: Option<&StyledStr>| text.map(ToString::to_string).unwrap_or_default();
            shown = shown.about(text(all.get_about())).after_help(text(all.get_after_help()));
            shown.subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()))
        }
        Program::Tracker => named(tracker::config::Arguments::command(), packaged, "mds-tracker"),
        Program::Torrent => named(torrent::config::Arguments::command(), packaged, "mds-torrent"),
    }
}

fn named(command: Command, packaged: bool, name: &'static str) -> Command {
    if packaged { command.name(name) } else { command }
}

/// Whether a command needs no network, and what it does.
pub fn answer(command: &crate::cli::Command, output: Output) -> Option<Result<(), Failure>> {
    use crate::cli::Command as Of;
    match command {
        Of::Completions(wanted) => Some(completions(wanted, output)),
        Of::Man(man) => Some(pages(man, output)),
        Of::Put(_)
        | Of::Get(_)
        | Of::List(_)
        | Of::Info(_)
        | Of::Remove(_)
        | Of::Peers(_)
        | Of::Drain(_)
        | Of::Status
        | Of::Verify(_)
        | Of::Events(_)
        | Of::Watch(_)
        | Of::Demo(_)
        | Of::Tracker(_)
        | Of::Torrent(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_program_completes_in_every_shell_and_hides_what_is_hidden() {
        for program in [Program::Mds, Program::Tracker, Program::Torrent] {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
                let text = completing(&Completions { shell, program, packaged: false });
                let text = String::from_utf8(text).unwrap();
                let shown = if program == Program::Mds { "verify" } else { "broker-password-file" };
                assert!(text.contains(shown) && !text.contains("end-with-stdin"), "{program:?} {shell}");
            }
        }
    }

    #[test]
    fn what_is_packaged_completes_under_the_name_that_it_has_there() {
        for (program, packaged, name) in [
            (Program::Mds, true, "mds"),
            (Program::Tracker, true, "mds-tracker"),
            (Program::Torrent, true, "mds-torrent"),
            (Program::Tracker, false, "tracker"),
        ] {
            let text = completing(&Completions { shell: Shell::Bash, program, packaged });
            let text = String::from_utf8(text).unwrap();
            assert!(text.lines().any(|line| line.trim().ends_with(&format!("default {name}"))), "{text}");
        }
    }

    #[test]
    fn there_is_a_page_for_every_command_and_both_daemons() {
        let directory = tempfile::tempdir().unwrap();
        pages(&Man { directory: directory.path().join("man1"), packaged: false }, Output { json: false })
            .unwrap();
        for page in ["mds.1", "mds-put.1", "mds-watch.1", "mds-man.1", "tracker.1", "torrent.1"] {
            let text = fs::read_to_string(directory.path().join("man1").join(page)).unwrap();
            assert!(text.starts_with(".ie") && text.contains(".SH NAME"), "{page}");
        }
        assert!(!directory.path().join("man1/mds-tracker.1").exists());
    }

    #[test]
    fn the_page_of_a_packaged_daemon_is_called_as_the_daemon_is() {
        let directory = tempfile::tempdir().unwrap();
        pages(&Man { directory: directory.path().to_owned(), packaged: true }, Output { json: false })
            .unwrap();
        for daemon in ["tracker", "torrent"] {
            let text = fs::read_to_string(directory.path().join(format!("mds-{daemon}.1"))).unwrap();
            assert!(text.contains(&format!("\\fBmds\\-{daemon}\\fR")), "{text}");
            assert!(!directory.path().join(format!("{daemon}.1")).exists());
        }
    }
}
