//! What the tool says, word for word: `golden/answers.txt` is what a reviewer reads when something changes.
//!
//! `MDS_UPDATE_GOLDEN=1` writes the file anew. Addresses, times and the like, which are others in each run, are replaced.

use mds_tests::needs_mosquitto;
use std::env;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::content::bytes;
use crate::kit::{FRAGMENT_BYTES, Network};

/// Fields whose values are others in each run.
const CHANGING: [&str; 4] = ["last_seen", "view_digest", "view_revision", "version"];

/// The command lines, in this order. The files `one` and `maps/de/two` are there.
const COMMANDS: [&str; 34] = [
    "put one maps --wait 2",
    "put one --json --wait 2",
    "put one nothing",
    "put one nothing --json",
    "put one maps --name x",
    "ls",
    "ls --json",
    "list de",
    "info one",
    "stat maps/de/two --json",
    "peers",
    "peers one --json",
    "status",
    "status --json",
    "get maps/de/two",
    "get maps/de/two",
    "get maps/de/two --json",
    "get maps/de/two -f --json",
    "get one -o - --range 8+0",
    "get one -o part --range 3+4",
    "get one --range 1000000+1",
    "get nobody-knows-this",
    "get sha256:dead --json",
    "drain t9",
    "drain t9 --json",
    "drain t2 --no-wait --undo",
    "drain t2 --no-wait --undo --json",
    "rm one nothing nobody",
    "delete maps/de/two --json",
    "rm maps/de/two maps/de/two --json",
    "statsu",
    "put --wait none one",
    "status --endpoint nonsense",
    "ls --json",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_reads_as_it_is_written_down() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    network.write("one", &bytes(3 * FRAGMENT_BYTES + 1, 1));
    network.write("maps/de/two", b"");
    let mut said = String::new();
    for command in COMMANDS {
        let ran = network.mds().args(command.split(' ')).run().await;
        let stdout = String::from_utf8(ran.stdout).unwrap();
        said.push_str(&format!("$ mds {command}\n"));
        said.push_str(&shown(&stdout));
        said.push_str(&shown(&ran.stderr));
        if ran.code != Some(0) {
            said.push_str(&format!("[exit code {}]\n", ran.code.unwrap_or(-1)));
        }
        said.push('\n');
    }
    compare("answers.txt", said.trim_end());
}

/// The text without what changes from run to run.
fn shown(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            settle(&mut value);
            format!("{value:#}\n")
        }
        Err(_) => text.lines().map(|line| format!("{}\n", plain(line).trim_end())).collect(),
    }
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                if CHANGING.contains(&key.as_str()) {
                    *field = "…".into();
                } else {
                    settle(field);
                }
                if let (Value::Array(holders), "holders") = (field, key.as_str()) {
                    holders.sort_by_key(Value::to_string);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::String(text) => *text = plain(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Addresses and times become others of the same kind.
fn plain(text: &str) -> String {
    text.split_inclusive(' ')
        .map(|word| {
            let (word, space) = word.strip_suffix(' ').map_or((word, ""), |word| (word, " "));
            let word = match word.split_once("127.") {
                Some((before, _)) if before.is_empty() || before.ends_with("//") => {
                    format!("{before}HOST:PORT")
                }
                _ if word.len() == 24 && word.ends_with('Z') => "2000-01-01T00:00:00.000Z".to_owned(),
                _ => word.to_owned(),
            };
            word + space
        })
        .collect()
}

fn compare(name: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mds_cli/golden").join(name);
    if env::var_os("MDS_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{said}\n")).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden.trim_end() != said {
        let differs = golden.lines().zip(said.lines()).enumerate().find(|(_, (one, other))| one != other);
        panic!(
            "{} says something else, first at {differs:?}. If that is right, run again with MDS_UPDATE_GOLDEN=1.\n{said}",
            path.display()
        );
    }
}
