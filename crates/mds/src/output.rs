//! What is printed: lines and tables for people, JSON for programs.
//!
//! Standard output may be closed at any time (`mds ls | head`), so nothing here uses `println!`, which would panic.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Answers are JSON.
    pub json: bool,
}

impl Output {
    /// Prints a line.
    ///
    /// # Errors
    /// If standard output is closed or broken.
    pub fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Prints a value as JSON.
    ///
    /// # Errors
    /// If standard output is closed or broken.
    pub fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::output(&error.into()))?;
        self.line(&text)
    }

    /// Prints a table: columns are as wide as they must be, the last one is not padded.
    ///
    /// # Errors
    /// If standard output is closed or broken.
    pub fn table(self, header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        table(header, rows).iter().try_for_each(|line| self.line(line))
    }

    /// Prints a value of a list that does not end, as JSON on one line.
    ///
    /// # Errors
    /// If standard output is closed or broken.
    pub fn value_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::output(&error.into()))?;
        self.line(&text)
    }

    /// Says something on standard error that is neither an answer nor the end. For programs it is an object with one field, `warning`.
    pub fn warn(self, text: &str) {
        // Nobody to tell if standard error is closed.
        let _ = if self.json {
            writeln!(io::stderr(), "{}", serde_json::json!({ "warning": text }))
        } else {
            writeln!(io::stderr(), "mds: {text}")
        };
    }

    /// Prints a failure on standard error. What it says may be a daemon's words.
    pub fn failure(self, failure: &Failure) {
        if failure.is_closed_output() {
            return;
        }
        if self.json {
            let text = serde_json::to_string(failure).unwrap_or_else(|_| failure.message.clone());
            let _ = writeln!(io::stderr(), "{text}");
        } else {
            self.warn(&told(failure));
        }
    }
}

fn told(failure: &Failure) -> String {
    printable(&failure.message)
}

/// Whether a person reads standard output. Only then are digests shortened.
pub fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

/// A digest for a table: whole for scripts, the first 12 digits for people; both are accepted as a REF.
pub fn shown_digest(digest: &str) -> String {
    if is_for_people() { digest.chars().take(12).collect() } else { digest.to_owned() }
}

/// A text from the network without what could steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c }).collect()
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A size for people, e.g. `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // One digit behind the point of a number below 1024: the rounding of f64 does not show.
    let mut number = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while number >= 1023.95 {
        let Some(next) = units.next() else { break };
        number /= 1024.0;
        unit = Some(next);
    }
    format!("{number:.1} {}", unit.unwrap_or(&"B"))
}

/// `1 fragment`, `2 fragments`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let header: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max())
        .map(Option::unwrap_or_default)
        .collect();
    lines
        .iter()
        .map(|line| {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                text.push_str(cell);
                if column + 1 < line.len() {
                    let padding = widths.get(column).copied().unwrap_or_default() + 2;
                    text.extend(std::iter::repeat_n(' ', padding.saturating_sub(width(cell))));
                }
            }
            text
        })
        .collect()
}

/// How many places a cell takes. A colour takes none; in what comes from the network there are no escapes, see [`printable`].
fn width(cell: &str) -> usize {
    let mut letters = cell.chars();
    let mut width = 0;
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.find(|letter| *letter == 'm');
        } else {
            width += 1;
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use endpoint::client::CallError;
    use protocol::EndpointUri;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_size_has_one_digit_behind_the_point() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (32 << 20, "32.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned(), "x y".to_owned()],
            vec!["ünï".into(), "22".into(), String::new()],
        ];
        assert_eq!(table(&["id", "n", "name"], &rows), ["id   n   name", "a    1   x y", "ünï  22  "]);
    }

    #[test]
    fn a_colour_takes_no_place() {
        assert_eq!(width("\u{1b}[32mok\u{1b}[0m"), 2);
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b ü"), "a\u{fffd}[31m\u{fffd}b ü");
    }

    #[test]
    fn neither_can_what_a_daemon_says() {
        let endpoint: EndpointUri = "grpc://a:1".parse().unwrap();
        let status = Status::not_found("gone\u{1b}]0;title\u{7}");
        let failure = Failure::refused(&CallError::new(&endpoint, &status));
        assert!(told(&failure).contains("gone\u{fffd}]0;title\u{fffd}"), "{failure:?}");
        assert!(!told(&failure).contains(char::is_control));
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(count(1, "copy of 2"), "1 copy of 2");
        assert_eq!(count(0, "fragment"), "0 fragments");
    }
}
