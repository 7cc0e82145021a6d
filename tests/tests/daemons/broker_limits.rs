//! Alternatives 2 and 3 of the startups: a broker that does not let the daemon do its work. On MQTT 3.1.1 most of that shows only in
//! what does not come.

use mds_tests::needs_mosquitto;
use std::fs;

use mds_tests::daemons::{Daemon, Site};
use mds_tests::mosquitto::Mosquitto;
use tempfile::TempDir;

/// Ends with code 4, and says all of this.
async fn ends(mut daemon: Daemon, says: &[&str]) {
    assert_eq!(daemon.exit_code().await, Some(4), "{}", daemon.output());
    for text in says {
        assert!(daemon.output().contains(text), "{text:?} is not in {}", daemon.output());
    }
}

/// Mosquitto's own plug-in for rights, which refuses subscriptions openly.
const PLUGINS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/mosquitto_dynamic_security.so",
];

#[tokio::test]
async fn a_refused_subscription_ends_both_daemons_with_code_4_and_names_the_topic() {
    needs_mosquitto!();
    let plugin = PLUGINS.iter().find(|path| fs::exists(path).unwrap());
    let plugin = plugin.expect("the package mosquitto of Debian holds mosquitto_dynamic_security.so");
    let directory = TempDir::new().unwrap();
    let rights = directory.path().join("rights.json");
    // Everything is allowed but to subscribe to what is about fragments.
    let rules = r#"{
        "defaultACLAccess": {
            "publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true
        },
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}]}],
        "roles": [{"rolename": "all", "acls": [
            {"acltype": "subscribePattern", "topic": "fragments/#", "priority": 1, "allow": false}
        ]}],
        "anonymousGroup": "all"
    }"#;
    fs::write(&rights, rules).unwrap();
    let settings =
        format!("allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {}\n", rights.display());
    let broker = Mosquitto::start_with(&settings);
    let site = Site::new(broker.url());
    let says = ["refuses the subscription to", "\"fragments/distribution/", "access list"];
    ends(site.tracker("tracker", &[]), &says).await;
    ends(site.torrent("t1", &[]), &says).await;
}

#[tokio::test]
async fn an_access_list_that_swallows_the_trackers_events_ends_it_with_code_4() {
    needs_mosquitto!();
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("acl");
    fs::write(&list, "topic read #\n").unwrap();
    let broker = Mosquitto::start_with(&format!("allow_anonymous true\nacl_file {}\n", list.display()));
    let site = Site::new(broker.url());
    let says = ["does not bring back", "tracker/hello/", "access list"];
    ends(site.tracker("tracker", &[]), &says).await;
}

#[tokio::test]
async fn a_size_limit_below_a_fragment_ends_the_tracker_with_code_4() {
    needs_mosquitto!();
    let broker = Mosquitto::start_with("allow_anonymous true\nmessage_size_limit 100000\n");
    let site = Site::new(broker.url());
    let says = ["largest size", "message_size_limit", "--fragment-size", "tracker/hello/tracker"];
    ends(site.tracker("tracker", &[]), &says).await;
}

#[tokio::test]
async fn a_packet_limit_below_a_fragment_ends_the_tracker_with_code_4() {
    needs_mosquitto!();
    // Here the broker does not swallow what is too large: it hangs up.
    let broker = Mosquitto::start_with("allow_anonymous true\nmax_packet_size 100000\n");
    let site = Site::new(broker.url());
    let says = ["packet limit", "max_packet_size", "--fragment-size"];
    ends(site.tracker("tracker", &[]), &says).await;
}

#[tokio::test]
async fn a_broker_without_qos_1_ends_both_daemons_with_code_4() {
    needs_mosquitto!();
    let broker = Mosquitto::start_with("allow_anonymous true\nmax_qos 0\n");
    let site = Site::new(broker.url());
    ends(site.tracker("tracker", &[]), &["grants the subscription", "QoS 0 only", "max_qos"]).await;
    // Its Last Will is refused before it can subscribe.
    ends(site.torrent("t1", &[]), &["Last Wills with QoS 1", "max_qos"]).await;
}

#[tokio::test]
async fn a_broker_that_retains_nothing_ends_the_tracker_with_code_4() {
    needs_mosquitto!();
    let broker = Mosquitto::start_with("allow_anonymous true\nretain_available false\n");
    let site = Site::new(broker.url());
    ends(site.tracker("tracker", &[]), &["Last Wills", "retained", "retain_available"]).await;
}

#[tokio::test]
async fn a_size_limit_that_a_smaller_fragment_fits_into_does_not_matter() {
    needs_mosquitto!();
    let broker = Mosquitto::start_with("allow_anonymous true\nmessage_size_limit 100000\n");
    let site = Site::new(broker.url());
    let mut tracker = site.tracker("tracker", &["--fragment-size", "32768"]);
    tracker.says("online").await;
    tracker.stop().await;
}
