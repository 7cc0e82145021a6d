//! How the demo tells what it does: steps, commands, and what came of them. Silent where programs listen.

use std::cell::Cell;

use serde::Serialize;

use crate::exit::Failure;
use crate::output::Output;

/// The demo's narrator.
#[derive(Debug)]
pub struct Story {
    output: Output,
    steps: Cell<u32>,
}

impl Story {
    /// A narrator who has said nothing yet.
    pub const fn new(output: Output) -> Self {
        Self { output, steps: Cell::new(0) }
    }

    /// The first line.
    pub fn title(&self, text: &str) -> Result<(), Failure> {
        self.line(text)
    }

    /// Begins the next step.
    pub fn step(&self, text: &str) -> Result<(), Failure> {
        self.steps.set(self.steps.get() + 1);
        self.line(&format!("\n{}. {text}", self.steps.get()))
    }

    /// A command that would do the same.
    pub fn command(&self, text: &str) -> Result<(), Failure> {
        self.line(&format!("   $ {text}"))
    }

    /// What came of it.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        self.line(&format!("   {text}"))
    }

    /// What programs hear instead of all that.
    pub fn answer(&self, value: &impl Serialize) -> Result<(), Failure> {
        if self.output.json { self.output.value(value) } else { Ok(()) }
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        if self.output.json { Ok(()) } else { self.output.line(text) }
    }
}

/// A text as it can be typed into a shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_can_be_typed() {
        for (path, typed) in [("/tmp/a-b.bin", "/tmp/a-b.bin"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(path), typed);
        }
    }
}
