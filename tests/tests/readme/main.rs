//! Every example of README.md and of the pages for programs is run as it stands there: here, by `.ci/run` or by `tests/compose/run.sh`.
//! One that is not known here fails, so none can be added that nobody runs.

mod blocks;
mod examples;
mod walk;

use mds_tests::{binaries, needs_mosquitto};

use examples::{DEMO, EXAMPLES, Example, TO_BE_LOOKED_AT, example};
use walk::Walk;

/// The page that starts everything.
const README: &str = "README.md";

/// All pages whose examples are run.
const PAGES: [&str; 3] = [README, "docs/http.md", "docs/grpc.md"];

#[test]
fn every_example_is_run_somewhere() {
    let blocks: Vec<_> = PAGES.into_iter().flat_map(blocks::of).collect();
    for block in &blocks {
        let (page, (number, first)) = (block.page, block.lines.first().expect("a block is not empty"));
        match block.language.as_str() {
            "" => {
                for (number, command) in block.commands() {
                    assert!(example(command).is_some(), "{page}:{number}: nothing runs this: {command}");
                }
            }
            "text" => assert!(
                TO_BE_LOOKED_AT.iter().any(|known| block.holds(known)),
                "{page}:{number}: nothing is known of this block: {first}"
            ),
            other => panic!("{page}:{number}: nothing runs a block of {other}"),
        }
    }
    for (command, _) in EXAMPLES {
        let is_told = blocks.iter().any(|block| block.commands().any(|(_, told)| told == *command));
        assert!(is_told, "this is on no page any more: {command}");
    }
}

#[test]
fn what_is_run_elsewhere_is_there() {
    let [ci, compose] = [".ci/run", "tests/compose/run.sh"].map(blocks::file);
    let dockerfile = blocks::file("docker/Dockerfile").replace("\\\n", " ");
    let requirements = blocks::file("tests/python/requirements.txt");
    for (command, how) in EXAMPLES {
        match how {
            Example::Ci(line) => {
                assert!(ci.lines().any(|has| has == *line), ".ci/run does not run `{line}` for `{command}`");
            }
            Example::Compose => {
                let line = format!("readme '{command}'");
                assert!(
                    compose.lines().any(|has| has.starts_with(&line)),
                    "tests/compose/run.sh does not run `{command}`"
                );
            }
            Example::Build => {
                let build = dockerfile.lines().find(|line| line.starts_with("RUN cargo build"));
                let build = build.expect("docker/Dockerfile builds the programs");
                for part in ["--release", "-p tracker", "-p torrent", "-p mds"] {
                    assert!(build.contains(part), "docker/Dockerfile does not build with {part}");
                }
            }
            Example::Prepare => {
                for package in command.split(' ').skip(2) {
                    let line = format!("{package}==");
                    assert!(
                        requirements.lines().any(|has| has.starts_with(&line)),
                        "{package} is not required"
                    );
                }
            }
            Example::Ends(_) | Example::Python(_) | Example::Setting => {}
            Example::Tracker | Example::Torrent | Example::Events | Example::Watch => {}
        }
    }
    let run = ci.lines().any(|line| line.trim() == "tests/compose/run.sh");
    assert!(run, ".ci/run does not run tests/compose/run.sh");
}

#[tokio::test]
async fn the_commands_do_what_the_readme_says() {
    needs_mosquitto!();
    walks(&mut Walk::new(), README).await;
}

#[tokio::test]
async fn the_commands_do_what_the_page_about_http_says() {
    needs_mosquitto!();
    walks(&mut Walk::with_daemons().await, "docs/http.md").await;
}

#[tokio::test]
async fn the_commands_do_what_the_page_about_grpc_says() {
    needs_mosquitto!();
    walks(&mut Walk::with_daemons().await, "docs/grpc.md").await;
}

async fn walks(walk: &mut Walk, page: &'static str) {
    for block in blocks::of(page).iter().filter(|block| block.language.is_empty()) {
        walk.through(block).await;
    }
}

/// Numbers and places differ from run to run.
fn alike(line: &str) -> String {
    let mut alike = String::new();
    for character in line.trim().chars() {
        let character = match character {
            '0'..='9' => '0',
            '█' | '▒' | '·' => '▒',
            other => other,
        };
        if !(matches!(character, '0' | '▒') && alike.ends_with(character)) {
            alike.push(character);
        }
    }
    alike
}

#[test]
fn the_demo_says_what_the_readme_shows() {
    let blocks = blocks::of(README);
    let shown = blocks.iter().find(|block| block.holds(DEMO)).expect("the README shows the demo");
    let demo = std::process::Command::new(binaries::mds()).args(["demo", "--once"]).output();
    let demo = demo.expect("the tool can be started");
    let said = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{said}\n{}", String::from_utf8_lossy(&demo.stderr));
    let mut rest = said.lines();
    for (number, line) in &shown.lines {
        let begin = alike(line.trim_end_matches('…').trim_end());
        assert!(
            rest.any(|line| alike(line).starts_with(&begin)),
            "{README}:{number}: not said there: {line}\n{said}"
        );
    }
}
