//! Why a configuration cannot be used: the place, the key, and what to write in its stead.

use std::fmt;
use std::path::PathBuf;

use super::origin::Origin;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML. The text of the line is not repeated: a password may stand in it.
    #[error("{}, line {line}: this is not TOML: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The file has a key that this daemon does not know.
    #[error("{}, line {line}: there is no setting {key:?}{}", path.display(), did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The key.
        key: String,
        /// The setting whose name is most like it, if one is like it at all.
        nearest: Option<String>,
    },
    /// A value in the file is of the wrong kind, e.g. a text where a number should be.
    #[error("{}, line {line}: {key}: {reason}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A value cannot be used.
    #[error("{key} = {value:?}{}: {reason}", told_by(origin.as_ref()))]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Where the value comes from; none if it is the default, or not known.
        origin: Option<Origin>,
        /// What is wrong with it.
        reason: String,
    },
    /// Flags and file do not fit together.
    #[error("the configuration cannot be put together: {0}")]
    Merge(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; --print-config shows all there are".to_owned(),
        |nearest| format!("; did you mean {nearest:?}?"),
    )
}

fn told_by(origin: Option<&Origin>) -> String {
    origin.map_or_else(String::new, |origin| format!(" ({origin})"))
}

/// A value that cannot be used.
pub fn value_error(key: &'static str, value: &str, reason: impl fmt::Display) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), origin: None, reason: reason.to_string() }
}
