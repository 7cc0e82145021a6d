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
