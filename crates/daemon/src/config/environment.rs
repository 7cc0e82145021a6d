//! What variables of the environment say, and what they do not say.
//!
//! One that is empty says nothing, as Compose has it for `${X:-}`. A value that cannot be used is told with the variable it comes from,
//! not only with the flag that would say the same.
//!
//! Other programs' variables may begin like ours (the platform's, the tool's, the other daemon's in a file that all share), so one that
//! is like none of the settings is let be. One that differs by a slip of the finger would be ignored in silence, and is refused.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error};

/// What all variables of the settings begin with.
const PREFIX: &str = "MDS_";

/// The command line, for which variables that are empty are not there.
pub(super) fn without_empty(command: Command) -> Command {
    command.mut_args(|argument| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            argument.env(None::<&'static str>)
        } else {
            argument
        }
    })
}

/// The variable from which the value comes that `error` is about; none if a flag told it.
pub(super) fn blamed(
    command: &Command,
    error: &Error,
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<String> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = shown.split(' ').next()?;
    let name = flag.strip_prefix("--")?;
    let is_told = |argument: OsString| {
        let argument = argument.to_string_lossy();
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if arguments.any(is_told) {
        return None;
    }
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name))?;
    Some(argument.get_env()?.to_str()?.to_owned())
}

/// The first of `variables` that is no setting's and yet almost one's, and the one that it is like.
pub(super) fn mistyped(
    command: &Command,
    variables: impl Iterator<Item = String>,
) -> Option<(String, String)> {
    let known: Vec<&str> =
        command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let mut unknown: Vec<String> =
        variables.filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str())).collect();
    unknown.sort_unstable();
    unknown.into_iter().find_map(|name| {
        let slips = |known: &&str| strsim::damerau_levenshtein(&name, known);
        let nearest = known.iter().copied().min_by_key(slips)?;
        (slips(&nearest) <= slips_forgiven(nearest)).then(|| (name.clone(), nearest.to_owned()))
    })
}

/// How many letters may be wrong, missing or too many; a short name says something else soon.
fn slips_forgiven(known: &str) -> usize {
    match known.len() - PREFIX.len() {
        0..4 => 0,
        4..6 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn mistyped_among(variables: &[&str]) -> Option<(String, String)> {
        let settings = ["MDS_ID", "MDS_HTTP", "MDS_COPIES", "MDS_LOG_FORMAT"];
        let arguments = settings.map(|name| Arg::new(name).env(name).long(name));
        mistyped(&Command::new("tracker").args(arguments), variables.iter().map(ToString::to_string))
    }

    #[test]
    fn a_slip_of_the_finger_is_found() {
        for (told, meant) in [
            ("MDS_COPYS", "MDS_COPIES"),
            ("MDS_COPEIS", "MDS_COPIES"),
            ("MDS_HTTPS", "MDS_HTTP"),
            ("MDS_LOGFORMAT", "MDS_LOG_FORMAT"),
        ] {
            assert_eq!(mistyped_among(&["PATH", told]), Some((told.to_owned(), meant.to_owned())));
        }
    }

    #[test]
    fn what_is_a_setting_or_like_none_is_let_be() {
        let others =
            ["MDS_IP", "MDS_LOG", "MDS_ENDPOINT", "MDS_PORT_7401_TCP", "MDS_COPIES", "XMDS_COPYS", "MDS_"];
        assert_eq!(mistyped_among(&others), None);
    }
}
