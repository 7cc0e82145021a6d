//! What goes wrong while the service works, and when it comes right again.

use std::time::Duration;

use protocol::{ClientId, Hash};

use crate::sim::cluster::client;
use crate::sim::node::Node;
use crate::sim::store::RealStore;
use crate::sim::torrent_node::{TorrentNode, Writes};
use crate::sim::tracker_node::{TrackerDisk, TrackerNode};
use crate::sim::volume::Volume;

use super::Life;
use super::agenda::Act;
use super::figures::Fault;
use super::violation::Violation;

/// After so long without a packet the broker gives a client up.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The tracker that should not be. Where a broker has several nodes it may even have the first one's identifier; here it has its own.
fn second_tracker() -> ClientId {
    client("second-tracker")
}

impl Life {
    /// Something goes wrong, if it can now.
    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        let Some(fault) = self.draw_fault() else { return Ok(()) };
        let anybody = self.anybody();
        let torrent = self.any_torrent();
        let happened = match fault {
            Fault::Crash => self.crash(&anybody),
            Fault::CrashPoint => self.arm(&anybody),
            Fault::Leave => self.leave(&torrent),
            Fault::Cut => self.cut(&anybody),
            Fault::TakeOver => self.take_over(&anybody),
            Fault::Pause => self.pause(&anybody),
            Fault::Partition => self.cut_off(&anybody),
            Fault::PowerCut => self.cut_power(),
            Fault::BrokerRestart => self.restart_broker(),
            Fault::FullDisk => self.fill_disk(&anybody),
            Fault::Unreadable => self.hide_disk(&anybody),
            Fault::WipedTorrent => self.wipe_torrent(&torrent),
            Fault::WipedTracker => self.wipe_tracker(),
            Fault::Rot => self.rot(&anybody),
            Fault::Scrub => self.scrub(&anybody),
            Fault::SecondTracker => self.start_second_tracker(),
        };
        if happened {
            self.figures.count(format!("{fault:?}"));
            self.note(&format!("{fault:?} ({anybody} or {torrent})"));
        }
        self.ledger.check_nothing_lost(&self.cluster)
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let all: usize = self.setting.faults.iter().map(|(_, weight)| weight).sum();
        let mut left = self.draw.below(all.max(1));
        let mut faults = self.setting.faults.iter();
        faults
            .find(|(_, weight)| left.checked_sub(*weight).map(|rest| left = rest).is_none())
            .map(|(fault, _)| *fault)
    }

    fn any_torrent(&mut self) -> ClientId {
        let place = self.draw.below(self.torrents.len());
        self.torrents[place].clone()
    }

    /// The tracker as often as any three torrents.
    fn anybody(&mut self) -> ClientId {
        if self.draw.below(self.torrents.len() + 3) < 3 {
            self.cluster.tracker_id()
        } else {
            self.any_torrent()
        }
    }

    /// Whether a process runs and is not stopped.
    pub(super) fn is_up(&self, id: &ClientId) -> bool {
        self.cluster.node(id).is_running() && !self.cluster.paused.contains(id)
    }

    fn away(&mut self) -> Duration {
        let longest = [100, 2_000, 15_000, 70_000][self.draw.below(4)];
        self.draw.wait(Duration::from_millis(longest))
    }

    /// It is started again in a while.
    pub(super) fn comes_back(&mut self, id: &ClientId) {
        let away = self.away();
        self.agenda.push(self.cluster.now + away, Act::Start(id.clone()));
    }

    /// It connects again in a while, as a client with a growing delay does.
    pub(super) fn connects_again(&mut self, id: &ClientId) {
        let wait = self.draw.wait(Duration::from_secs(8));
        self.agenda.push(self.cluster.now + wait, Act::Connect(id.clone()));
    }

    fn crash(&mut self, id: &ClientId) -> bool {
        if !self.cluster.node(id).is_running() {
            return false;
        }
        self.cluster.fall(id);
        self.comes_back(id);
        true
    }

    fn arm(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) {
            return false;
        }
        let others = u32::try_from(self.draw.below(24)).unwrap_or(0);
        if let Some(fuse) = self.cluster.node_mut(id).fuse() {
            fuse.arm(others);
        }
        true
    }

    fn leave(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) {
            return false;
        }
        self.cluster.shut_down(id.as_str());
        self.comes_back(id);
        true
    }

    fn cut(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) || !self.cluster.broker.is_connected(id) {
            return false;
        }
        self.cluster.cut(id.as_str());
        self.connects_again(id);
        true
    }

    fn take_over(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) || !self.cluster.broker.is_connected(id) {
            return false;
        }
        for _ in 0..1 + self.draw.below(3) {
            if !self.cluster.node(id).is_running() {
                break;
            }
            if !self.cluster.take_over(id) {
                self.connects_again(id);
                break;
            }
        }
        true
    }

    fn pause(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) || !self.cluster.broker.is_connected(id) {
            return false;
        }
        let long = self.draw.wait(Duration::from_secs(50));
        let now = self.cluster.now;
        self.cluster.pause(id);
        if long > KEEP_ALIVE {
            self.agenda.push(now + KEEP_ALIVE, Act::GiveUp(id.clone()));
        }
        self.agenda.push(now + long, Act::Resume(id.clone()));
        true
    }

    fn cut_off(&mut self, id: &ClientId) -> bool {
        if !self.is_up(id) || !self.cluster.broker.is_connected(id) {
            return false;
        }
        let long = self.draw.wait(Duration::from_secs(50));
        let now = self.cluster.now;
        self.cluster.cut_off(id);
        if long > KEEP_ALIVE {
            // The two sides find it out by themselves.
            self.agenda.push(now + KEEP_ALIVE, Act::GiveUp(id.clone()));
            let client = self.draw.wait(Duration::from_secs(5));
            self.agenda.push(now + KEEP_ALIVE + client, Act::Notice(id.clone()));
        } else {
            self.agenda.push(now + long, Act::LetThrough(id.clone()));
        }
        true
    }

    fn cut_power(&mut self) -> bool {
        let everywhere = self.draw.chance(1, 3);
        let with_broker = everywhere || self.draw.chance(1, 2);
        if with_broker {
            self.lose_broker();
        }
        for id in self.machines() {
            if (everywhere || self.draw.chance(1, 2)) && self.cluster.node(&id).is_running() {
                self.cluster.fall(&id);
                self.comes_back(&id);
            }
        }
        true
    }

    fn restart_broker(&mut self) -> bool {
        self.lose_broker();
        true
    }

    fn lose_broker(&mut self) {
        let connected = self.machines().into_iter().filter(|id| self.cluster.broker.is_connected(id));
        let connected: Vec<ClientId> = connected.collect();
        let (by_signal, at_once) = self.setting.profile.retained_survives;
        let keeps_retained = if self.draw.chance(1, 2) { by_signal } else { at_once };
        self.cluster.restart_broker(keeps_retained);
        connected.iter().for_each(|id| self.connects_again(id));
    }

    fn torrent_node_mut(&mut self, id: &ClientId) -> &mut TorrentNode {
        self.cluster.torrent_node_mut(id.as_str())
    }

    /// Some disks take nothing more until their process is started again: after a sync that failed a store writes no more.
    fn fill_disk(&mut self, id: &ClientId) -> bool {
        match self.cluster.node_mut(id) {
            Node::Tracker(node) => node.is_full = true,
            Node::Torrent(node) => node.writes = Writes::Fail,
            Node::SpecTracker(_) | Node::SpecTorrent(_) => {}
        }
        let long = self.draw.wait(Duration::from_secs(40));
        if self.draw.chance(2, 3) {
            self.agenda.push(self.cluster.now + long, Act::MakeRoom(id.clone()));
        }
        true
    }

    fn hide_disk(&mut self, id: &ClientId) -> bool {
        let Some(volume) = self.cluster.node_mut(id).volume() else { return false };
        volume.is_unreadable = true;
        let long = self.draw.wait(Duration::from_secs(40));
        self.agenda.push(self.cluster.now + long, Act::MakeReadable(id.clone()));
        true
    }

    fn start_second_tracker(&mut self) -> bool {
        let id = second_tracker();
        if self.cluster.knows(&id) {
            return false;
        }
        let node = TrackerNode::new(&id, self.cluster.topics(), self.setting.tracker_config());
        self.cluster.add(&id, Node::Tracker(Box::new(node)));
        let long = self.draw.wait(Duration::from_secs(60));
        self.agenda.push(self.cluster.now + long, Act::EndRogue);
        true
    }

    pub(super) fn end_second_tracker(&mut self) {
        let id = second_tracker();
        if self.cluster.knows(&id) {
            if self.is_up(&id) && self.draw.chance(1, 2) {
                self.cluster.shut_down(id.as_str());
            }
            self.cluster.forget(&id);
        }
    }

    /// Everybody's machine.
    pub(super) fn machines(&self) -> Vec<ClientId> {
        let mut machines = self.torrents.clone();
        machines.extend(self.cluster.tracker_nodes().map(|(id, _)| id.clone()));
        machines
    }

    /// Whether the copies of these fragments may be destroyed there: if not, only in a cruel life.
    fn may_destroy(&self, id: &ClientId, fragments: &[Hash]) -> bool {
        self.setting.is_cruel
            || fragments.iter().all(|fragment| {
                if *id == self.cluster.tracker_id() {
                    self.ledger.survives_without_tracker(&self.cluster, fragment)
                } else {
                    self.ledger.survives_without(&self.cluster, fragment, id)
                }
            })
    }

    fn wipe_torrent(&mut self, id: &ClientId) -> bool {
        let held: Vec<Hash> =
            self.cluster.torrent_node(id.as_str()).disk.volume.fragments.keys().copied().collect();
        if !self.may_destroy(id, &held) {
            return false;
        }
        for fragment in &held {
            self.ledger.destroyed_on_torrent(&self.cluster, fragment, id);
        }
        if self.cluster.node(id).is_running() {
            self.cluster.fall(id);
            self.comes_back(id);
        }
        self.replace_disk(id);
        true
    }

    /// An empty disk, with a real store on it in some lives.
    pub(super) fn replace_disk(&mut self, id: &ClientId) {
        let rng = &mut self.cluster.rng;
        let mut disk = TorrentNode::empty_disk(rng);
        disk.volume.store = self.setting.is_stored.then(|| RealStore::new(rng));
        self.torrent_node_mut(id).disk = disk;
    }

    fn wipe_tracker(&mut self) -> bool {
        let id = self.cluster.tracker_id();
        if !self.setting.is_cruel && !self.draw.chance(1, 4) {
            return false;
        }
        self.ledger.tracker_wiped(&self.cluster);
        if self.cluster.node(&id).is_running() {
            self.cluster.fall(&id);
            self.comes_back(&id);
        }
        let store = self.setting.is_stored.then(|| RealStore::new(&mut self.cluster.rng));
        self.cluster.tracker_node_mut().disk =
            TrackerDisk { volume: Volume::on(store), ..TrackerDisk::default() };
        true
    }

    fn rot(&mut self, id: &ClientId) -> bool {
        let held: Vec<Hash> = match self.cluster.node(id) {
            Node::Torrent(node) => node.disk.volume.that_may_rot().collect(),
            Node::Tracker(node) => node.disk.volume.that_may_rot().collect(),
            Node::SpecTracker(_) | Node::SpecTorrent(_) => Vec::new(),
        };
        let mut hit = Vec::new();
        for fragment in held {
            if self.draw.chance(1, 4) && self.may_destroy(id, &[fragment]) {
                hit.push(fragment);
            }
        }
        for fragment in &hit {
            if *id == self.cluster.tracker_id() {
                self.ledger.destroyed_at_tracker(&self.cluster, fragment);
                self.cluster.tracker_node_mut().disk.volume.rot(*fragment);
            } else {
                self.ledger.destroyed_on_torrent(&self.cluster, fragment, id);
                self.torrent_node_mut(id).disk.volume.rot(*fragment);
            }
        }
        !hit.is_empty()
    }

    fn scrub(&mut self, id: &ClientId) -> bool {
        if self.is_up(id) {
            self.cluster.scrub(id);
        }
        self.is_up(id)
    }
}
