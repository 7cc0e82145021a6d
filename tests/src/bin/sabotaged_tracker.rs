//! A tracker that does not keep some of the rules (`distribution::rules`), for the tests that show that each is needed. Its environment
//! names them in [`SWITCHED_OFF`]; its arguments are a tracker's.

use std::process::ExitCode;

use distribution::rules::{Rule, switch_off};
use mds_tests::daemons::SWITCHED_OFF;
use tracker::config::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let names = std::env::var(SWITCHED_OFF).unwrap_or_default();
    for name in names.split(',') {
        let Some(rule) =
            Rule::OF_DAEMONS.iter().chain(Rule::OF_MACHINES).find(|rule| format!("{rule:?}") == name)
        else {
            eprintln!("{SWITCHED_OFF}: there is no rule {name:?}");
            return ExitCode::from(2);
        };
        switch_off(&[*rule]);
    }
    daemon::exit::conclude("tracker", tracker::run(Arguments::of_process()).await)
}
