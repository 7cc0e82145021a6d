//! The fenced blocks of a page, and the commands in them.

use std::fs;
use std::path::{Path, PathBuf};

/// What stands between two fences.
#[derive(Debug)]
pub struct Block {
    /// The page that it is on, as a path in the repository.
    pub page: &'static str,
    /// The heading above it.
    pub heading: String,
    /// What stands behind the opening fence: nothing where the block holds commands, `text` where it is to be looked at.
    pub language: String,
    /// The lines, each with its number in the file.
    pub lines: Vec<(usize, String)>,
}

impl Block {
    /// The commands as a shell takes them: without comments and empty lines.
    pub fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        let without_comment = |line: &str| line.find(" #").unwrap_or(line.len());
        let lines = self.lines.iter().filter(|(_, line)| !line.starts_with('#'));
        lines
            .map(move |(number, line)| (*number, line[..without_comment(line)].trim_end()))
            .filter(|(_, command)| !command.is_empty())
    }

    /// Whether one of its lines has this in it.
    pub fn holds(&self, text: &str) -> bool {
        self.lines.iter().any(|(_, line)| line.contains(text))
    }
}

/// Where the repository is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks of a page, in order.
pub fn of(page: &'static str) -> Vec<Block> {
    parse(page, &file(page))
}

fn parse(page: &'static str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut heading = "";
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), blocks.last_mut()) {
            (Some(_), _) if inside => inside = false,
            (Some(language), _) => {
                let [heading, language] = [heading, language].map(str::to_owned);
                blocks.push(Block { page, heading, language, lines: Vec::new() });
                inside = true;
            }
            (None, Some(block)) if inside => block.lines.push((number, line.to_owned())),
            (None, _) if line.starts_with('#') => heading = line.trim_start_matches('#').trim(),
            (None, _) => {}
        }
    }
    assert!(!inside, "a block of {page} has no end");
    blocks
}

#[test]
fn commands_are_what_a_shell_would_run() {
    let blocks = parse(
        "page",
        "# One\n```\n# a comment\nrun this   # and why\n\nand this\n```\n## Two\n```text\n# no\n```\n",
    );
    let commands: Vec<_> = blocks[0].commands().collect();
    assert_eq!(commands, [(4, "run this"), (6, "and this")]);
    assert_eq!((blocks[0].heading.as_str(), blocks[0].language.as_str()), ("One", ""));
    assert_eq!((blocks[1].heading.as_str(), blocks[1].language.as_str()), ("Two", "text"));
}
