//! Where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::ConfigError;
use super::environment;

/// Where a value comes from that is not the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => {
                // A line break in the path would end the comment that this stands in.
                let path = path.display().to_string().replace(char::is_control, "\u{fffd}");
                write!(f, "file {path}, line {line}")
            }
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The origin of every setting that was told, by its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// What was told by flags and environment.
    #[must_use]
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let told = command.get_arguments().filter_map(|argument| {
            let key = argument.get_id().as_str();
            let source = matches.value_source(key)?;
            let origin = if source == ValueSource::CommandLine {
                Origin::Flag(format!("--{}", argument.get_long()?))
            } else if source == ValueSource::EnvVariable {
                Origin::Environment(argument.get_env()?.to_string_lossy().into_owned())
            } else {
                // Defaults are not clap's here.
                return None;
            };
            Some((key.to_owned(), origin))
        });
        Self(told.collect())
    }

    /// Where the value of `key` comes from; none if it is the default.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    pub(super) fn insert(&mut self, key: &str, origin: Origin) {
        self.0.insert(key.to_owned(), origin);
    }

    /// The error with the origin of the value that it is about.
    #[must_use]
    pub fn explain(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Value { key, value, origin: _, reason } => {
                ConfigError::Value { key, value, origin: self.get(key).cloned(), reason }
            }
            ConfigError::Unreadable { .. }
            | ConfigError::Malformed { .. }
            | ConfigError::UnknownKey { .. }
            | ConfigError::Kind { .. }
            | ConfigError::Merge(_) => error,
        }
    }
}

/// Reads the arguments of the process, and which of them came from the environment; a variable that is empty says nothing. Ends the
/// process where they make no sense, or ask for help; also where a variable of the environment is almost a setting's.
#[must_use]
pub fn read<A: CommandFactory + FromArgMatches>() -> (A, Origins) {
    let mut command = environment::without_empty(A::command());
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let matches = parsed.unwrap_or_else(|mut error| {
        if let Some(variable) = environment::blamed(&command, &error, std::env::args_os()) {
            let tip = format!("the value comes from the environment: {variable}");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    });
    let origins = Origins::of(&command, &matches);
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some((told, nearest)) = environment::mistyped(&A::command(), variables) {
        let message = format!("{told} in the environment is no setting; did you mean {nearest}?");
        command.error(ErrorKind::UnknownArgument, message).exit();
    }
    match A::from_arg_matches(&matches) {
        Ok(arguments) => (arguments, origins),
        Err(error) => error.format(&mut command).exit(),
    }
}
