//! Variables of the environment that are almost a setting's.
//!
//! Other programs' variables may begin like ours (the platform's, the tool's, the other daemon's in a file that all share), so one that
//! is like none of the settings is let be. One that differs by a slip of the finger would be ignored in silence, and is refused.

use clap::Command;

/// What all variables of the settings begin with.
const PREFIX: &str = "MDS_";

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
        let nearest = known.iter().copied().min_by_key(|known| slips(&known))?;
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
