//! A life of the service, drawn from a seed: for some minutes things go wrong while users go on, then nothing goes wrong any more, and
//! everything has to come right.
//!
//! | file | what is there |
//! |---|---|
//! | `setting` | who is there, and which faults there are |
//! | `nemesis`, `agenda` | what goes wrong, and when it comes right |
//! | `users` | what goes in, out and away meanwhile |
//! | `ledger` | what was accepted, deleted and destroyed, kept outside the service |
//! | `healing` | the end of all faults, and what is asked for then |
//! | `violation`, `figures`, `run` | what comes of it, for one seed or for many |

mod agenda;
mod figures;
mod healing;
mod ledger;
mod nemesis;
mod run;
mod setting;
mod users;
mod violation;

use std::time::Duration;

use distribution::Moment;
use protocol::ClientId;

use crate::sim::clock::Clock;
use crate::sim::cluster::{Cluster, client};
use crate::sim::node::Node;
use crate::sim::rng::Rng;
use crate::sim::store::RealStore;
use crate::sim::torrent_node::Writes;
use crate::sim::volume::Volume;

pub use agenda::{Act, Agenda};
pub use figures::{Fault, Figures};
pub use ledger::{Ledger, Standing};
pub use run::{Broken, Lived, live, simulate};
pub use setting::Setting;
pub use violation::{Kind, Violation};

/// A life.
#[derive(Debug)]
pub struct Life {
    cluster: Cluster,
    setting: Setting,
    /// What is drawn besides what the cluster draws.
    draw: Rng,
    ledger: Ledger,
    agenda: Agenda,
    torrents: Vec<ClientId>,
    figures: Figures,
    /// What happened, for people; kept only where somebody wants to read it.
    notes: Option<Vec<String>>,
}

impl Life {
    /// A service whose participants have just been started.
    #[must_use]
    pub fn begin(seed: u64, is_told: bool) -> Self {
        let mut draw = Rng::new(seed ^ 0x5eed);
        let setting = Setting::draw(&mut draw);
        let mut cluster = Cluster::new(seed);
        cluster.broker.behave(setting.profile);
        cluster.broker.latency = setting.latency;
        cluster.broker.faults.weather = setting.weather;
        let torrents: Vec<ClientId> =
            (0..setting.torrents).map(|number| client(&Setting::torrent(number))).collect();
        let everybody = std::iter::once(cluster.tracker_id()).chain(torrents.iter().cloned());
        for (id, drift) in everybody.zip(&setting.drift_per_mille) {
            cluster.set_clock(&id, Clock::drifting(*drift));
        }
        let mut tracker = cluster.new_tracker(setting.tracker_config());
        let store = setting.is_stored.then(|| RealStore::new(&mut cluster.rng));
        tracker.disk.volume = Volume::on(store);
        tracker.gathers = setting.gathers;
        cluster.start_tracker_with(tracker);
        for (id, writes) in torrents.iter().zip(&setting.writes) {
            let mut node = cluster.new_torrent(id.as_str());
            let store = setting.is_stored.then(|| RealStore::new(&mut cluster.rng));
            node.disk.volume = Volume::on(store);
            node.writes = Writes::Within(*writes);
            node.gathers = setting.gathers;
            cluster.start_torrent_with(node, id.as_str());
        }
        let ledger = Ledger::new(setting.copies);
        let (agenda, figures) = (Agenda::default(), Figures { seeds: 1, ..Figures::default() });
        let notes = is_told.then(Vec::new);
        Self { cluster, setting, draw, ledger, agenda, torrents, figures, notes }
    }

    fn note(&mut self, what: &str) {
        if let Some(notes) = &mut self.notes {
            notes.push(format!("{:>8} {what}", self.cluster.now.0));
        }
    }

    /// Lives for as long as the setting says, then asks for everything to be well.
    ///
    /// # Errors
    /// If a rule is broken.
    pub fn live(&mut self) -> Result<(), Violation> {
        let end = self.cluster.now + self.setting.stretch;
        self.agenda.push(self.cluster.now, Act::Next);
        self.live_until(end)?;
        self.heal()?;
        self.figures.count_many("Overflow", self.cluster.broker.overflowed);
        self.figures.simulated = self.cluster.now.since(Moment(0));
        self.figures.steps = self.cluster.steps as u64;
        self.figures.accepted = self.ledger.accepted;
        self.figures.removed = self.ledger.removed;
        self.figures.excused = self.ledger.excused;
        let kept = self.ledger.files().filter(|(_, standing)| *standing == Standing::Kept);
        self.figures.kept = kept.count() as u64;
        Ok(())
    }

    /// Time passes, and what is on the agenda happens.
    fn live_until(&mut self, end: Moment) -> Result<(), Violation> {
        while let Some((at, act)) = self.agenda.pop(end) {
            while self.cluster.step_until(at) {
                self.watch()?;
            }
            self.act(act)?;
            self.watch()?;
            self.ledger.forget_what_is_healed(&self.cluster);
        }
        while self.cluster.step_until(end) {
            self.watch()?;
        }
        Ok(())
    }

    /// After every step: nothing needed was deleted, and whose process has ended is started again.
    fn watch(&mut self) -> Result<(), Violation> {
        self.ledger.check_deleted(&mut self.cluster)?;
        if std::mem::take(&mut self.cluster.tracker_node_mut().has_forgotten_deletions) {
            self.ledger.deletions_forgotten();
        }
        for id in std::mem::take(&mut self.cluster.fallen) {
            self.note(&format!("{id} fell"));
            self.figures.count("Fallen");
            self.comes_back(&id);
        }
        let beaten = self
            .cluster
            .tracker_nodes()
            .find(|(_, node)| node.stepped_down.is_some() && node.running().is_some());
        if let Some(id) = beaten.map(|(id, _)| id.clone()) {
            self.note(&format!("{id} steps down"));
            self.figures.count("StepDown");
            self.cluster.shut_down(id.as_str());
            self.comes_back(&id);
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), Violation> {
        match act {
            Act::Next => {
                let wait = self.draw.wait(self.setting.pause);
                self.agenda.push(self.cluster.now + Duration::from_millis(1) + wait, Act::Next);
                if self.draw.chance(self.setting.faults_of_hundred, 100) {
                    return self.strike();
                }
                return self.use_service();
            }
            Act::Start(id) if self.cluster.knows(&id) && !self.cluster.node(&id).is_running() => {
                self.note(&format!("{id} starts"));
                self.make_room(&id);
                self.cluster.restart(id.as_str());
            }
            Act::Connect(id)
                if self.cluster.knows(&id) && self.is_up(&id) && !self.cluster.broker.is_connected(&id) =>
            {
                self.cluster.connect(&id);
            }
            Act::GiveUp(id) if self.cluster.broker.is_stalled(&id) => {
                self.cluster.broker.cut(&id, self.cluster.now, &mut self.cluster.rng);
            }
            Act::Notice(id) | Act::Resume(id) if !self.cluster.broker.is_connected(&id) => {
                self.cluster.resume(&id);
                if self.cluster.node(&id).is_running() {
                    self.cluster.connection_lost(&id);
                    self.connects_again(&id);
                }
            }
            Act::Resume(id) => self.cluster.resume(&id),
            Act::LetThrough(id) => self.cluster.let_through(&id),
            Act::MakeRoom(id) => self.make_room(&id),
            Act::MakeReadable(id) => self.make_readable(&id),
            Act::EndRogue => self.end_second_tracker(),
            Act::Start(_) | Act::Connect(_) | Act::GiveUp(_) | Act::Notice(_) => {}
        }
        Ok(())
    }

    fn make_readable(&mut self, id: &ClientId) {
        if let Some(volume) = self.cluster.node_mut(id).volume() {
            volume.is_unreadable = false;
        }
    }

    fn make_room(&mut self, id: &ClientId) {
        let place = self.torrents.iter().position(|torrent| torrent == id);
        let writes = place.map_or(Duration::ZERO, |place| self.setting.writes[place]);
        match self.cluster.node_mut(id) {
            Node::Tracker(node) => node.is_full = false,
            Node::Torrent(node) => node.writes = Writes::Within(writes),
            Node::SpecTracker(_) | Node::SpecTorrent(_) => {}
        }
    }
}
