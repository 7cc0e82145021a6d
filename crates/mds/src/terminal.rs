//! What the terminal can show: colours, other letters than ASCII, and how wide it is.

use std::env;
use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

/// What a text says of how things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// All is well: green.
    Good,
    /// It should not stay so: yellow.
    Doubtful,
    /// Something is not there: red.
    Bad,
}

impl Colour {
    /// The colour of a state of a file or a torrent, or of a verdict.
    pub fn of_state(state: &str) -> Option<Self> {
        match state {
            "ok" | "healthy" | "registered" => Some(Self::Good),
            "degraded" | "suspect" => Some(Self::Doubtful),
            "unavailable" | "unregistered" => Some(Self::Bad),
            _ => None,
        }
    }
}

/// The text in its colour, where standard output is a terminal and nobody asked for none (`NO_COLOR`).
pub fn coloured(text: &str, colour: Option<Colour>) -> String {
    let number = match colour {
        _ if !shows_colours() => return text.to_owned(),
        None => return text.to_owned(),
        Some(Colour::Good) => 32,
        Some(Colour::Doubtful) => 33,
        Some(Colour::Bad) => 31,
    };
    format!("\u{1b}[{number}m{text}\u{1b}[0m")
}

fn shows_colours() -> bool {
    let told = |variable| env::var_os(variable).unwrap_or_default();
    io::stdout().is_terminal() && told("NO_COLOR").is_empty() && told("TERM") != "dumb"
}

/// How many characters a line of standard output holds; none if it is no terminal.
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    tcgetwinsize(stdout).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether letters other than ASCII come out as they are, as far as the environment tells.
pub fn is_unicode() -> bool {
    let told = |variable| env::var(variable).ok();
    is_utf8_locale(["LC_ALL", "LC_CTYPE", "LANG"].map(told))
}

/// The first that is set decides.
fn is_utf8_locale(told: [Option<String>; 3]) -> bool {
    let locale = told.into_iter().flatten().find(|locale| !locale.is_empty()).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let told =
            |all: &str, kind: &str, lang: &str| is_utf8_locale([all, kind, lang].map(|l| Some(l.to_owned())));
        assert!(told("", "", "de_DE.UTF-8") && told("C.utf8", "C", "C") && told("", "en_US.UTF-8", "C"));
        assert!(!told("C", "", "de_DE.UTF-8") && !told("", "", "de_DE@euro"));
        assert!(!is_utf8_locale([None, None, None]));
    }

    #[test]
    fn where_nobody_looks_there_are_no_colours() {
        // The output of a test is no terminal.
        assert!(io::stdout().is_terminal() || coloured("ok", Some(Colour::Good)) == "ok");
    }
}
