//! The processes: what is done to them, and how they are put right again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::COPIES;
use super::content::FRAGMENT_BYTES;
use super::ledger::Ledger;
use super::plan::{Fault, Step, Upheaval, Victim};
use super::report::Faults;
use super::traffic::Addresses;
use crate::client::Client;
use crate::daemons::{Daemon, Site};
use crate::mosquitto::Mosquitto;

/// How long a daemon that was asked to end may take.
const ENDING: Duration = Duration::from_secs(45);

/// How long a torrent may be gone before what it held is copied again: so short that it happens.
const REPAIR_AFTER: &str = "8s";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Up,
    /// For so many further steps.
    Halted(usize),
    /// For so many further steps.
    Down(usize),
}

impl Condition {
    /// A step has passed; whether it is over.
    fn passes(&mut self) -> bool {
        match self {
            Self::Up => false,
            Self::Halted(steps) | Self::Down(steps) => {
                *steps = steps.saturating_sub(1);
                *steps == 0
            }
        }
    }
}

/// One daemon.
#[derive(Debug)]
struct Member {
    name: String,
    is_tracker: bool,
    daemon: Daemon,
    condition: Condition,
}

/// Broker, tracker and torrents.
#[derive(Debug)]
pub struct Cluster {
    broker: Mosquitto,
    broker_condition: Condition,
    site: Site,
    /// The tracker first.
    members: Vec<Member>,
    addresses: Arc<Addresses>,
    trackers_started: usize,
}

impl Cluster {
    /// Starts all and waits until the torrents have joined.
    pub async fn start(torrents: usize) -> Self {
        let broker = Mosquitto::start_with_memory();
        let site = Site::new(broker.url());
        let names: Vec<String> = (1..=torrents).map(|number| format!("t{number}")).collect();
        let directories = names.iter().map(|name| site.data_directory(name)).collect();
        let addresses = Arc::new(Addresses::new(site.data_directory("tracker-1"), directories));
        let mut members = vec![Member::start(&site, "tracker-1", true)];
        members.extend(names.iter().map(|name| Member::start(&site, name, false)));
        let tracker = Client::of(&members[0].daemon.endpoint().await);
        tracker.counts_torrents(i32::try_from(torrents).expect("few")).await;
        Self { broker, broker_condition: Condition::Up, site, members, addresses, trackers_started: 1 }
    }

    /// Where they are, now and later.
    pub fn addresses(&self) -> Arc<Addresses> {
        self.addresses.clone()
    }

    /// The tracker first.
    pub async fn clients(&mut self) -> Vec<Client> {
        let mut clients = Vec::new();
        for member in &mut self.members {
            clients.push(Client::of(&member.daemon.endpoint().await));
        }
        clients
    }

    /// One fault; those before it that have lasted long enough are put right. Whom something is wrong with already is put right, too, or,
    /// if it is only halted, killed as it is.
    pub async fn carry_out(&mut self, step: &Step, faults: &mut Faults, ledger: &Ledger) {
        self.find_ended(ledger);
        if self.broker_condition.passes() {
            self.heal_broker();
        }
        for place in 0..self.members.len() {
            if self.members[place].condition.passes() {
                self.heal_member(place, ledger);
            }
        }
        match step.victim {
            Victim::Broker => self.strike_broker(step, faults),
            Victim::Tracker => self.strike_member(0, step, faults, ledger).await,
            Victim::Torrent(place) => self.strike_member(place + 1, step, faults, ledger).await,
        }
    }

    fn strike_broker(&mut self, step: &Step, faults: &mut Faults) {
        match (self.broker_condition, step.fault) {
            (Condition::Down(_), _) | (Condition::Halted(_), Fault::Halt | Fault::Restart) => {
                self.heal_broker()
            }
            (Condition::Up, Fault::Halt) => {
                self.broker.pause();
                self.broker_condition = Condition::Halted(step.lasts + 1);
                faults.halts += 1;
            }
            (Condition::Up, Fault::Restart) => {
                self.broker.stop();
                self.broker_condition = Condition::Down(step.lasts + 1);
                faults.restarts += 1;
            }
            (Condition::Up | Condition::Halted(_), Fault::Kill) => {
                self.broker.kill();
                self.broker_condition = Condition::Down(step.lasts + 1);
                faults.broker_kills += 1;
            }
            (Condition::Up | Condition::Halted(_), Fault::KillAndForget) => {
                self.broker.kill();
                self.broker.forget();
                self.broker_condition = Condition::Down(step.lasts + 1);
                faults.broker_losses += 1;
            }
        }
    }

    fn heal_broker(&mut self) {
        match self.broker_condition {
            Condition::Up => {}
            Condition::Halted(_) => self.broker.resume(),
            Condition::Down(_) => self.broker.restart(),
        }
        self.broker_condition = Condition::Up;
    }

    async fn strike_member(&mut self, place: usize, step: &Step, faults: &mut Faults, ledger: &Ledger) {
        let member = &mut self.members[place];
        match (member.condition, step.fault) {
            (Condition::Down(_), _) | (Condition::Halted(_), Fault::Halt | Fault::Restart) => {
                self.heal_member(place, ledger);
            }
            (Condition::Up, Fault::Halt) => {
                member.daemon.pause();
                // A lease lasts ten seconds: some are longer away, most not.
                member.condition = Condition::Halted(2 * step.lasts + 1);
                faults.halts += 1;
            }
            (Condition::Up, Fault::Restart) => {
                member.end(ledger).await;
                member.condition = Condition::Down(step.lasts + 1);
                faults.restarts += 1;
            }
            (Condition::Up | Condition::Halted(_), Fault::Kill | Fault::KillAndForget) => {
                member.daemon.kill();
                member.condition = Condition::Down(step.lasts + 1);
                match member.is_tracker {
                    true => faults.tracker_kills += 1,
                    false => faults.torrent_kills += 1,
                }
            }
        }
    }

    fn heal_member(&mut self, place: usize, ledger: &Ledger) {
        let member = &mut self.members[place];
        match member.condition {
            Condition::Up => {}
            Condition::Halted(_) => member.daemon.resume(),
            Condition::Down(_) => {
                if member.is_tracker {
                    ledger.tracker_starts();
                }
                *member = Member::start(&self.site, &member.name, member.is_tracker);
            }
        }
        member.condition = Condition::Up;
    }

    /// Nobody is down any more.
    pub async fn heal(&mut self, ledger: &Ledger) {
        self.find_ended(ledger);
        self.heal_broker();
        (0..self.members.len()).for_each(|place| self.heal_member(place, ledger));
    }

    /// A daemon ends only when somebody ends it. One that did otherwise is told, and started again.
    pub fn find_ended(&mut self, ledger: &Ledger) {
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            if !matches!(member.condition, Condition::Down(_)) && !member.daemon.is_running() {
                ledger.violated(format!(
                    "{} ended by itself:\n{}",
                    member.name,
                    last_lines(&member.daemon.output(), 12)
                ));
                member.condition = Condition::Down(0);
                self.heal_member(place, ledger);
            }
        }
    }

    /// What may happen only while everything has its copies, and nobody puts anything in.
    pub async fn upheave(&mut self, upheaval: Upheaval, faults: &mut Faults, ledger: &Ledger) {
        match upheaval {
            Upheaval::None => {}
            Upheaval::WipedTorrent(place) => {
                let member = &mut self.members[place + 1];
                member.daemon.kill();
                fs::remove_dir_all(self.site.data_directory(&member.name)).expect("a disk can be emptied");
                *member = Member::start(&self.site, &member.name, false);
                faults.torrent_kills += 1;
                faults.wiped += 1;
            }
            Upheaval::TakeOver => self.take_over(faults, ledger).await,
        }
    }

    async fn take_over(&mut self, faults: &mut Faults, ledger: &Ledger) {
        self.trackers_started += 1;
        let name = format!("tracker-{}", self.trackers_started);
        let standby = Member::start(&self.site, &name, true);
        let stands_by = async {
            while standby.daemon.count_in_output("standing by") == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(ENDING, stands_by).await.is_err() {
            ledger
                .violated(format!("{name} does not stand by:\n{}", last_lines(&standby.daemon.output(), 12)));
        }
        let mut before = std::mem::replace(&mut self.members[0], standby);
        before.daemon.kill();
        // A disk that comes back could bring files back whose removal it missed.
        fs::remove_dir_all(self.site.data_directory(&before.name)).expect("a disk can be emptied");
        self.addresses.set_tracker(self.site.data_directory(&name));
        faults.tracker_kills += 1;
        faults.take_overs += 1;
    }

    /// Writes what all daemons have said beside other temporary files, for whoever looks for the cause.
    pub fn keep_logs(&self, seed: u64) {
        let directory: PathBuf = std::env::temp_dir().join(format!("soak-{seed}-{}", std::process::id()));
        let write = |name: &str, text: &str| fs::write(directory.join(format!("{name}.log")), text);
        let kept = fs::create_dir_all(&directory).and_then(|()| {
            self.members.iter().try_for_each(|member| write(&member.name, &member.daemon.output()))?;
            write("broker", &self.broker.log())
        });
        match kept {
            Ok(()) => eprintln!("soak: the logs are in {}", directory.display()),
            Err(error) => eprintln!("soak: the logs cannot be kept: {error}"),
        }
    }
}

impl Member {
    fn start(site: &Site, name: &str, is_tracker: bool) -> Self {
        let fragment_size = FRAGMENT_BYTES.to_string();
        let copies = COPIES.to_string();
        let daemon = if is_tracker {
            let settings =
                ["--copies", &copies, "--fragment-size", &fragment_size, "--repair-after", REPAIR_AFTER];
            // With an old memory the broker may know of a tracker that is long gone.
            site.tracker(name, &[&settings[..], &["--standby", "--retry-connect"]].concat())
        } else {
            site.torrent(name, &["--retry-connect"])
        };
        Self { name: name.to_owned(), is_tracker, daemon, condition: Condition::Up }
    }

    async fn end(&mut self, ledger: &Ledger) {
        self.daemon.terminate();
        let ended = timeout(ENDING, async {
            while self.daemon.is_running() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        if ended.await.is_err() {
            ledger.violated(format!(
                "{} does not end:\n{}",
                self.name,
                last_lines(&self.daemon.output(), 12)
            ));
            return self.daemon.kill();
        }
        let code = self.daemon.exit_code().await;
        // One that has only just started does not know the signal yet, and ends of it.
        let had_begun = !self.daemon.output().is_empty();
        if code != Some(0) && (code.is_some() || had_begun) {
            ledger.violated(format!(
                "{} ended with {code:?}:\n{}",
                self.name,
                last_lines(&self.daemon.output(), 12)
            ));
        }
    }
}

fn last_lines(text: &str, number: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(number)..].join("\n")
}
