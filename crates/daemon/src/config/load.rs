//! The file, and what was told laid over it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use clap::{Args, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::error::ConfigError;
use super::origin::{Origin, Origins};

/// How like two names must be before one is taken for the other mistyped, from 0 to 1.
const ALIKE: f64 = 0.75;

/// Settings, and where each comes from.
#[derive(Debug, Clone)]
pub struct Loaded<S> {
    /// The settings; what nobody told is not there.
    pub settings: S,
    /// Where they come from.
    pub origins: Origins,
}

/// Lays `flags` (which hold the environment, too) over the file; `told` says where each of them comes from.
///
/// # Errors
/// If the file cannot be read, or has a key that `S` does not know, or a value of the wrong kind.
pub fn load<S: Args + Serialize + DeserializeOwned>(
    file: Option<&Path>,
    flags: &S,
    told: &Origins,
) -> Result<Loaded<S>, ConfigError> {
    let merge = |error: &dyn std::fmt::Display| ConfigError::Merge(error.to_string());
    let (mut table, mut origins) = match file {
        None => (toml::Table::new(), Origins::default()),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            read::<S>(path, &text)?
        }
    };
    for (key, value) in toml::Table::try_from(flags).map_err(|error| merge(&error))? {
        let flag = || Origin::Flag(format!("--{}", key.replace('_', "-")));
        origins.insert(&key, told.get(&key).cloned().unwrap_or_else(flag));
        table.insert(key, value);
    }
    let settings = table.try_into().map_err(|error| merge(&error))?;
    Ok(Loaded { settings, origins })
}

/// The names of all settings, in the order of their declaration.
pub fn keys<S: Args>() -> Vec<String> {
    let command = S::augment_args(Command::new("settings"));
    command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}

/// Reads a file key by key, so that an error names the line and the key.
fn read<S: Args + DeserializeOwned>(path: &Path, text: &str) -> Result<(toml::Table, Origins), ConfigError> {
    let malformed = |error: toml::de::Error| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_of(text, error.span()),
        reason: error.message().to_owned(),
    };
    let table: toml::Table = toml::from_str(text).map_err(malformed)?;
    let spans = DeTable::parse(text).map_err(malformed)?;
    let known = keys::<S>();
    let mut origins = Origins::default();
    // In the order of the file: the first mistake is told first.
    let mut found: Vec<(usize, &str)> =
        spans.get_ref().keys().map(|key| (line_of(text, Some(key.span())), key.get_ref().as_ref())).collect();
    found.sort_unstable();
    for (line, key) in found {
        if !known.iter().any(|known| known == key) {
            let (path, key, nearest) = (path.to_owned(), key.to_owned(), nearest(key, &known));
            return Err(ConfigError::UnknownKey { path, line, key, nearest });
        }
        let alone: toml::Table =
            table.get_key_value(key).map(|(key, value)| (key.clone(), value.clone())).into_iter().collect();
        if let Err(error) = alone.try_into::<S>() {
            let (path, key, reason) = (path.to_owned(), key.to_owned(), error.message().to_owned());
            return Err(ConfigError::Kind { path, line, key, reason });
        }
        origins.insert(key, Origin::File { path: path.to_owned(), line });
    }
    Ok((table, origins))
}

fn nearest(key: &str, known: &[String]) -> Option<String> {
    let written = key.to_ascii_lowercase().replace('-', "_");
    let likeness = |known: &String| strsim::jaro_winkler(&written, known);
    let best = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) >= ALIKE).then(|| best.clone())
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}
