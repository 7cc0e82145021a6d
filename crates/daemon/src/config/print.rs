//! The settings shown: as a configuration file with the origin of each value, and as a reference for documents.

use std::fmt::Write;
use std::io::{ErrorKind, Write as _, stdout};

use clap::{Args, Command};
use serde::Serialize;

use super::load::keys;
use super::origin::Origins;
use crate::{ExitCode, Failure};

/// Where the origins begin, if the values leave room.
const COLUMN: usize = 44;

/// The settings as a configuration file, each with its origin as a comment. `in_use` has the defaults filled in, and no secrets.
#[must_use]
pub fn print<S: Args + Serialize>(in_use: &S, origins: &Origins) -> String {
    let table = match toml::Table::try_from(in_use) {
        Ok(table) => table,
        Err(error) => return format!("# {error}\n"),
    };
    let mut text = String::new();
    for key in keys::<S>() {
        let origin = origins.get(&key).map_or_else(|| "default".to_owned(), ToString::to_string);
        // Writing to a string does not fail.
        let _ = match table.get(&key) {
            Some(value) => {
                let set = format!("{key} = {value}");
                writeln!(text, "{set:COLUMN$}  # {origin}")
            }
            None => writeln!(text, "# {key} is not set"),
        };
    }
    text
}

/// Puts a text that was asked for on standard output.
///
/// # Errors
/// If it does not take it.
pub fn show(text: &str) -> Result<(), Failure> {
    let shown = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush());
    // Whoever closed it has read enough.
    let shown =
        shown.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) });
    shown
        .map_err(|error| Failure::text(ExitCode::Failed, format!("cannot write to standard output: {error}")))
}

/// What there is to know about one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the configuration file.
    pub key: String,
    /// Its flag, with what stands for the value.
    pub flag: String,
    /// Its variable in the environment.
    pub variable: String,
    /// Its default, as TOML; none if it has none that is always the same.
    pub default: Option<String>,
    /// What it does.
    pub help: String,
}

/// All settings of a daemon, for documents. `defaults` has every default filled in.
#[must_use]
pub fn reference<S: Args + Serialize>(defaults: &S) -> Vec<Setting> {
    let table = toml::Table::try_from(defaults).unwrap_or_default();
    let command = S::augment_args(Command::new("settings"));
    let setting = |argument: &clap::Arg| {
        let key = argument.get_id().to_string();
        let placeholder = argument.get_value_names().and_then(|names| names.first());
        Setting {
            flag: format!(
                "--{} {}",
                argument.get_long().unwrap_or_default(),
                placeholder.map_or("VALUE", |name| name.as_str())
            ),
            variable: argument.get_env().unwrap_or_default().to_string_lossy().into_owned(),
            default: table.get(&key).map(ToString::to_string),
            help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
            key,
        }
    };
    command.get_arguments().map(setting).collect()
}
