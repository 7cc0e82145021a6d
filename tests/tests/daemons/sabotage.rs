//! The rules that daemons keep on their way to the broker are needed: with each of them something ends as it should, and without it, and
//! without what stands behind it, it does not.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use distribution::rules::Rule;
use mds_tests::daemons::{Daemon, Site};
use mds_tests::loopback::own_address;
use mds_tests::mosquitto::Mosquitto;
use mds_tests::needs_mosquitto;
use mds_tests::recorder::checks::connections;
use mds_tests::wait::{self, DEADLINE};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{Server, content};

#[tokio::test]
async fn no_rule_of_the_daemons_can_be_left_out() {
    needs_mosquitto!();
    for rule in Rule::OF_DAEMONS.iter().copied() {
        assert!(ends_well(rule, &[]).await, "with every rule, and {rule:?} among them");
        let without = [&[rule], behind(rule)].concat();
        assert!(!ends_well(rule, &without).await, "nobody noticed that {rule:?} was not kept");
    }
}

/// What stands behind a rule: without probes the largest packet does not come back either, and of two trackers the lower one steps down
/// when it hears of the higher one.
fn behind(rule: Rule) -> &'static [Rule] {
    if rule == Rule::ProbesComeBack {
        &[Rule::LargestPacketIsTried]
    } else if matches!(rule, Rule::OneClientId | Rule::LooksBeforeItReturns) {
        &[Rule::LowerStepsDown]
    } else {
        &[]
    }
}

/// Whether that for which there is the rule ends as it should where trackers do not keep some.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other rules are those of the machines")]
async fn ends_well(rule: Rule, without: &[Rule]) -> bool {
    match rule {
        Rule::ProbesComeBack => is_told_of_an_access_list(without).await,
        Rule::LargestPacketIsTried => is_told_of_a_size_limit(without).await,
        Rule::AttemptsAreSpaced => leaves_a_broker_in_peace(without).await,
        Rule::OneClientId => is_thrown_out(without).await,
        Rule::LooksBeforeItReturns => gives_way(without).await,
        _ => panic!("{rule:?} is not tried"),
    }
}

/// A tracker that does not keep these rules, or keeps all.
fn tracker_without(rules: &[Rule], site: &Site, name: &str, arguments: &[&str]) -> Daemon {
    if rules.is_empty() {
        return site.tracker(name, arguments);
    }
    site.tracker_without(rules, Path::new(env!("CARGO_BIN_EXE_sabotaged_tracker")), name, arguments)
}

async fn is_told_of_an_access_list(without: &[Rule]) -> bool {
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("acl");
    fs::write(&list, "topic read #\n").unwrap();
    let settings = format!("allow_anonymous true\nacl_file {}\n", list.display());
    ends_at(&Mosquitto::start_with(&settings), without).await
}

async fn is_told_of_a_size_limit(without: &[Rule]) -> bool {
    ends_at(&Mosquitto::start_with("allow_anonymous true\nmessage_size_limit 100000\n"), without).await
}

/// Whether a tracker ends with code 4 in place of being online for nobody.
async fn ends_at(broker: &Mosquitto, without: &[Rule]) -> bool {
    let site = Site::new(broker.url());
    let mut tracker = tracker_without(without, &site, "tracker", &[]);
    wait::until("it is online, or has ended", async || {
        tracker.count_in_output("online broker") > 0 || !tracker.is_running()
    })
    .await;
    if tracker.is_running() {
        return false;
    }
    assert_eq!(tracker.exit_code().await, Some(4), "{}", tracker.output());
    true
}

/// Whether a broker that hangs up is asked four times at the earliest after 6 s: at once, within half a second, 2 s and 4 s later. However
/// slow the machine is, that takes no less; and without pauses eight attempts are far from the minute that they would take with them.
async fn leaves_a_broker_in_peace(without: &[Rule]) -> bool {
    if without.is_empty() {
        attempts_take(4, without).await >= Duration::from_secs(6)
    } else {
        attempts_take(8, without).await >= Duration::from_secs(60)
    }
}

/// How long a tracker takes to try so often to connect to a broker that hangs up at once.
async fn attempts_take(attempts: usize, without: &[Rule]) -> Duration {
    let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
    let site = Site::new(format!("mqtt://{}", listener.local_addr().unwrap()));
    let start = Instant::now();
    let _tracker = tracker_without(without, &site, "tracker", &["--retry-connect", "true"]);
    for _ in 0..attempts {
        drop(timeout(DEADLINE, listener.accept()).await.expect("it tries again").unwrap());
    }
    start.elapsed()
}

/// Two trackers that do not keep these rules, of which the second takes over: it is in charge when this ends.
async fn one_takes_over(site: &Site, without: &[Rule]) -> (Server, Server) {
    let mut first = Server::of(tracker_without(without, site, "first", &[])).await;
    first.daemon.says("epoch=1").await;
    let mut second = Server::of(tracker_without(without, site, "second", &["--takeover"])).await;
    second.daemon.says("epoch=2").await;
    (first, second)
}

/// Whether the broker ends the connection of the first tracker when the second connects, in place of letting both be in charge.
async fn is_thrown_out(without: &[Rule]) -> bool {
    let broker = Mosquitto::start();
    let site = Site::new(broker.url());
    let (mut first, second) = one_takes_over(&site, without).await;
    if without.is_empty() {
        return first.daemon.exit_code().await == Some(5);
    }
    for server in [&first, &second] {
        server.client.put("accepted.bin", Cursor::new(content(1, 1000))).await;
    }
    !first.daemon.is_running()
}

/// Whether the first tracker leaves the place to the second, in place of throwing it out in turn, and so on for ever.
async fn gives_way(without: &[Rule]) -> bool {
    let broker = Mosquitto::start();
    let site = Site::new(broker.url());
    let (mut first, _second) = one_takes_over(&site, without).await;
    let count = || connections(&broker.log())["tracker"];
    wait::until("one gives way, or they fight", async || !first.daemon.is_running() || count() >= 5).await;
    count() == 2
}
