//! What must hold for everything that was said.

use std::collections::{BTreeMap, BTreeSet};

use super::{Heard, Record};
use crate::specification::{Issuer, event_on};

impl Heard {
    /// Everything said was an event as the specification has it.
    ///
    /// # Panics
    /// With all that was not.
    pub fn assert_all_valid(&self) {
        assert!(self.invalid.is_empty(), "invalid: {:#?}", self.invalid);
    }

    /// One event has one identifier, and one identifier names one event: where it was said twice, it was the same.
    ///
    /// # Panics
    /// With the event that was not.
    pub fn assert_identifiers_are_unique(&self) {
        let mut seen: BTreeMap<&str, &Record> = BTreeMap::new();
        for record in &self.events {
            if let Some(first) = seen.insert(record.text("EventId"), record) {
                assert_eq!(first.event.name, record.event.name);
                assert_eq!(first.properties, record.properties, "one identifier for two events");
            }
        }
    }

    /// Every event is by whom it says, as far as the payload shows: torrents' by one of `torrents`, and on a direct topic by or
    /// for the one whose topic it is; the tracker's with epoch and instance.
    ///
    /// # Panics
    /// With the event that is not.
    pub fn assert_issuers(&self, torrents: &[&str]) {
        for record in &self.events {
            let (client, direct) = (record.client(), record.direct.as_deref());
            match record.event.issuer {
                Issuer::Torrent => {
                    assert!(torrents.contains(&client), "by nobody we know: {record:?}");
                    assert!(direct.is_none_or(|direct| direct == client), "on another's topic: {record:?}");
                }
                Issuer::Tracker if record.properties.contains_key("Probe") => {}
                Issuer::Tracker => {
                    let is_named = record.number("Epoch").is_some() && !record.text("Instance").is_empty();
                    assert!(is_named, "by no tracker of ours: {record:?}");
                    let is_for = |direct| match record.event.name {
                        "FragmentDistributionDelivered" => record.texts("Receivers").contains(&direct),
                        "TrackerHello" => torrents.contains(&direct),
                        _ => client == direct,
                    };
                    assert!(direct.is_none_or(is_for), "to somebody else: {record:?}");
                }
            }
        }
    }

    /// Each of these fragments went through its distribution in order: started, requested, delivered, obtained, ended; who obtained
    /// it had been among the receivers, and who is named at the end had obtained it.
    ///
    /// # Panics
    /// With the fragment that did not.
    pub fn assert_order(&self, fragments: &BTreeSet<String>) {
        let mut of_fragment: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in self.events.iter().filter(|record| record.event.topic.starts_with("fragments/")) {
            of_fragment.entry(record.text("Hash")).or_default().push(record);
        }
        for fragment in fragments {
            let story = of_fragment.get(fragment.as_str()).unwrap_or_else(|| panic!("{fragment}: nothing"));
            let mut course = Course::default();
            for record in story {
                if let Err(problem) = course.take(record) {
                    panic!("{fragment}: {problem} at {record:#?} of {story:#?}");
                }
            }
            assert!(course.has_ended, "{fragment}: never ended with a receiver: {story:#?}");
        }
    }
}

/// How far the distribution of one fragment has come.
#[derive(Default)]
struct Course<'a> {
    is_started: bool,
    requested: BTreeSet<&'a str>,
    receivers: BTreeSet<&'a str>,
    obtained: BTreeSet<&'a str>,
    has_ended: bool,
}

impl<'a> Course<'a> {
    fn take(&mut self, record: &'a Record) -> Result<(), &'static str> {
        let client = record.client();
        let check = |is_so: bool, problem| if is_so { Ok(()) } else { Err(problem) };
        match record.event.name {
            "FragmentDistributionStarted" => self.is_started = true,
            "FragmentDistributionRequested" => {
                check(self.is_started, "requested before it was started")?;
                self.requested.insert(client);
            }
            "FragmentDistributionDelivered" => {
                let receivers = record.texts("Receivers");
                let all_asked = receivers.iter().all(|receiver| self.requested.contains(receiver));
                check(!receivers.is_empty() && all_asked, "delivered to somebody who did not ask")?;
                self.receivers.extend(receivers);
            }
            "FragmentDistributionObtained" => {
                check(self.receivers.contains(client), "obtained before it was delivered")?;
                self.obtained.insert(client);
            }
            "FragmentDistributionEnded" => {
                let receivers = record.texts("Receivers");
                let all_have_it = receivers.iter().all(|receiver| self.obtained.contains(receiver));
                check(all_have_it, "ended with somebody who had not obtained it")?;
                self.has_ended |= !receivers.is_empty();
            }
            _ => {}
        }
        Ok(())
    }
}

/// Every message that Mosquitto has received was sent by who may say it: the tracker's events by `tracker`, a torrent's by the
/// torrent that the recorder heard it of. `log` is the broker's.
///
/// # Panics
/// With the message that was not.
pub fn assert_senders(log: &str, heard: &Heard, prefix: Option<&str>, tracker: &str, torrents: &[&str]) {
    let mut sent: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (sender, topic) in log.lines().filter_map(publication) {
        let Some((event, direct)) = event_on(topic, prefix) else { panic!("{sender} published on {topic}") };
        match event.issuer {
            Issuer::Torrent => {
                assert!(torrents.contains(&sender), "{sender} published on {topic}");
                *sent.entry((sender.to_owned(), topic.to_owned())).or_default() += 1;
            }
            // The tracker looks for another one under a temporary name.
            Issuer::Tracker if sender.starts_with("probe-") => assert_eq!(Some(sender), direct, "{topic}"),
            Issuer::Tracker => assert_eq!(sender, tracker, "{sender} published on {topic}"),
        }
    }
    let mut claimed: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in heard.events.iter().filter(|record| record.event.issuer == Issuer::Torrent) {
        let topic = prefix.into_iter().chain([record.event.topic]).chain(record.direct.as_deref());
        let topic = topic.collect::<Vec<_>>().join("/");
        *claimed.entry((record.client().to_owned(), topic)).or_default() += 1;
    }
    for (of, claims) in &claimed {
        let sent = sent.get(of).copied().unwrap_or_default();
        assert!(*claims <= sent, "{of:?} was heard {claims} times and sent {sent} times");
    }
}

/// Sender and topic, if this line of Mosquitto's log is about a message that it has received.
fn publication(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(": Received PUBLISH from ")?;
    let (sender, rest) = rest.split_once(" (")?;
    let topic = rest.split('\'').nth(1)?;
    Some((sender, topic))
}

/// How often each client has connected, by Mosquitto's log.
#[must_use]
pub fn connections(log: &str) -> BTreeMap<String, usize> {
    let mut connections = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("New client connected from ")) {
        // "New client connected from ADDRESS as NAME (p2, c1, k20)."
        let name = line.split(" as ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        *connections.entry(name.to_owned()).or_default() += 1;
    }
    connections
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::specification::sha256;

    /// What a recorder hears: topic and properties. Every event gets an identifier of its own.
    fn heard(said: &[(&str, Value)]) -> Heard {
        let mut heard = Heard::default();
        for (number, (topic, properties)) in said.iter().enumerate() {
            let (event, direct) = event_on(topic, None).unwrap();
            let mut properties = properties.as_object().unwrap().clone();
            properties.insert("EventId".to_owned(), number.to_string().into());
            let direct = direct.map(str::to_owned);
            heard.events.push(Record { event, direct, properties, is_retained: false });
        }
        heard
    }

    fn distribution() -> [(&'static str, Value); 5] {
        let hash = sha256(b"a");
        [
            ("fragments/distribution/started", json!({"Hash": hash, "Size": 1})),
            ("fragments/distribution/requested", json!({"Hash": hash, "ClientIdentifier": "t1"})),
            ("fragments/distribution/delivered", json!({"Hash": hash, "Receivers": ["t1"]})),
            ("fragments/distribution/obtained", json!({"Hash": hash, "ClientIdentifier": "t1"})),
            ("fragments/distribution/ended", json!({"Hash": hash, "Size": 1, "Receivers": ["t1"]})),
        ]
    }

    fn fails(check: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn a_distribution_is_in_order_or_it_is_not() {
        let fragments = BTreeSet::from([sha256(b"a")]);
        heard(&distribution()).assert_order(&fragments);
        for first in 0..4 {
            let mut swapped = distribution();
            swapped.swap(first, first + 1);
            let mut lacking = distribution().to_vec();
            lacking.remove(first);
            assert!(fails(|| heard(&swapped).assert_order(&fragments)), "{first} after the next");
            assert!(fails(|| heard(&lacking).assert_order(&fragments)), "{first} is missing");
        }
        assert!(fails(|| heard(&distribution()[..4]).assert_order(&fragments)), "it does not end");
        let mut of_nobody = distribution();
        of_nobody[4].1["Receivers"] = json!([]);
        assert!(fails(|| heard(&of_nobody).assert_order(&fragments)), "it ends with nobody");
    }

    #[test]
    fn who_says_what_another_should_say_is_found() {
        let hello = json!({"Epoch": 1, "Instance": "an instance"});
        let good = [("tracker/hello", hello), ("clients/goodbye/t1", json!({"ClientIdentifier": "t1"}))];
        heard(&good).assert_issuers(&["t1"]);
        let bad = [
            ("tracker/hello", json!({})),
            ("clients/goodbye", json!({})),
            ("clients/goodbye", json!({"ClientIdentifier": "t2"})),
            ("clients/goodbye/t2", json!({"ClientIdentifier": "t1"})),
            ("clients/join/denied/t1", json!({"Epoch": 1, "Instance": "i", "ClientIdentifier": "t2"})),
        ];
        for said in bad {
            assert!(fails(|| heard(std::slice::from_ref(&said)).assert_issuers(&["t1"])), "{said:?}");
        }
    }

    #[test]
    fn the_brokers_log_tells_who_has_sent_what_and_how_often_who_has_connected() {
        let line = |sender: &str, topic: &str| {
            format!("1795: Received PUBLISH from {sender} (d0, q1, r0, m7, '{topic}', ... (70 bytes))\n")
        };
        let goodbye = heard(&[("clients/goodbye", json!({"ClientIdentifier": "t1"}))]);
        let check = |log: &str| assert_senders(log, &goodbye, None, "tracker", &["t1", "t2"]);
        check(&(line("tracker", "tracker/hello") + &line("t1", "clients/goodbye")));
        check(&(line("probe-1", "tracker/hello/probe-1") + &line("t1", "clients/goodbye")));
        assert!(fails(|| check(&line("t2", "clients/goodbye"))), "another said it");
        assert!(fails(|| check(&(line("t1", "clients/goodbye") + &line("t1", "tracker/hello")))));
        assert!(fails(|| check(&(line("t1", "clients/goodbye") + &line("tracker", "clients/goodbye")))));
        assert!(fails(|| check(&(line("t1", "clients/goodbye") + &line("t1", "elsewhere")))));

        let log = "1795: New client connected from 127.0.0.1:5 as t1 (p2, c1, k20).\n\
                   1796: New client connected from 127.0.0.1:6 as t1 (p2, c1, k20, u'x').\n";
        assert_eq!(connections(log), BTreeMap::from([("t1".to_owned(), 2)]));
    }

    #[test]
    fn one_identifier_for_two_events_is_found() {
        let mut twice = heard(&distribution()[..1]);
        twice.events.push(twice.events[0].clone());
        twice.assert_identifiers_are_unique();
        twice.events[1].properties.insert("Size".to_owned(), 2.into());
        assert!(fails(|| twice.assert_identifiers_are_unique()));
    }
}
