//! What happens to participants: they connect, are cut off, stop, fall, start again, and their disks decay.

use std::time::Duration;

use protocol::{ClientId, Hash};

use super::broker::Publication;
use super::clock::Clock;
use super::cluster::{Cluster, client};
use super::node::Node;
use distribution::Moment;

impl Cluster {
    /// What the clock of a participant shows.
    #[must_use]
    pub fn local(&self, id: &ClientId) -> Moment {
        self.clock(id).local(self.now)
    }

    pub(super) fn clock(&self, id: &ClientId) -> Clock {
        self.clocks.get(id).copied().unwrap_or_default()
    }

    /// Gives a participant a clock of its own. Before it starts: no clock jumps.
    pub fn set_clock(&mut self, id: &ClientId, clock: Clock) {
        self.clocks.insert(id.clone(), clock);
    }

    /// Somebody sets the wall clock of a participant's machine back.
    pub fn set_wall_clock_back(&mut self, id: &ClientId, by: Duration) {
        let clock = self.clock(id).set_back(by);
        self.clocks.insert(id.clone(), clock);
    }

    /// Connects a participant that runs.
    pub fn connect(&mut self, id: &ClientId) {
        self.unsaid.remove(id);
        let now = self.local(id);
        let node = self.nodes.get_mut(id).unwrap_or_else(|| panic!("there is no {id}"));
        let said = node.connect(id, &self.topics, &mut self.broker, (self.now, now), &mut self.rng);
        self.after(id, said);
    }

    /// The participant alone believes that its connection is gone, and connects again at once; the broker may throw it out for that. Says
    /// whether it is connected.
    pub fn take_over(&mut self, id: &ClientId) -> bool {
        let is_jailed = self.broker.jails(id, self.now);
        if is_jailed {
            self.cut(id.as_str());
        } else {
            self.connection_lost(id);
            self.connect(id);
        }
        !is_jailed
    }

    /// The connection breaks: both sides notice, and the will is published.
    pub fn cut(&mut self, id: &str) {
        let id = client(id);
        self.broker.cut(&id, self.now, &mut self.rng);
        self.connection_lost(&id);
    }

    /// The participant notices that its connection is gone.
    pub fn connection_lost(&mut self, id: &ClientId) {
        self.unsaid.remove(id);
        let now = self.local(id);
        let node = self.nodes.get_mut(id).unwrap_or_else(|| panic!("there is no {id}"));
        let said = node.connection_lost(now, &mut self.rng);
        self.after(id, said);
    }

    /// The process ends at once, and the broker publishes its will.
    pub fn crash(&mut self, id: &str) {
        let id = client(id);
        self.node_mut(&id).crash();
        self.gone(&id);
    }

    /// The same, and its disk may hold some of what it was being told.
    pub fn fall(&mut self, id: &ClientId) {
        let node = self.nodes.get_mut(id).unwrap_or_else(|| panic!("there is no {id}"));
        node.fall(&mut self.rng);
        self.gone(id);
    }

    fn gone(&mut self, id: &ClientId) {
        self.paused.remove(id);
        self.unsaid.remove(id);
        self.broker.cut(id, self.now, &mut self.rng);
    }

    /// The process starts again on what its disk holds, and connects.
    pub fn restart(&mut self, id: &str) {
        let id = client(id);
        let node = self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no {id}"));
        node.start(&mut self.rng);
        self.connect(&id);
    }

    /// The process says goodbye and ends.
    pub fn shut_down(&mut self, id: &str) {
        let id = client(id);
        let now = self.local(&id);
        let node = self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no {id}"));
        let said = node.shut_down(now, &mut self.rng);
        self.after(&id, said);
        self.broker.disconnect(&id);
    }

    /// The process is stopped, and knows nothing of the time that passes.
    pub fn pause(&mut self, id: &ClientId) {
        self.broker.stall(id);
        self.paused.insert(id.clone());
    }

    /// It goes on.
    pub fn resume(&mut self, id: &ClientId) {
        self.paused.remove(id);
        if !self.unsaid.contains_key(id) {
            self.broker.unstall(id, self.now);
        }
    }

    /// Nothing gets through between the participant and the broker, and neither knows it yet.
    pub fn cut_off(&mut self, id: &ClientId) {
        if self.broker.is_connected(id) {
            self.broker.stall(id);
            self.unsaid.entry(id.clone()).or_default();
        }
    }

    /// Everything that was held up gets through.
    pub fn let_through(&mut self, id: &ClientId) {
        if !self.paused.contains(id) {
            self.broker.unstall(id, self.now);
        }
        if let Some(said) = self.unsaid.remove(id) {
            self.publish(id, said);
        }
    }

    /// The broker ends, and with it every connection; nobody's will is published.
    pub fn restart_broker(&mut self, keeps_retained: bool) {
        let lost = self.broker.restart(keeps_retained);
        for id in lost {
            self.connection_lost(&id);
        }
    }

    /// Fragments on the disk of one of our torrents go bad, and it finds that.
    pub fn damage(&mut self, id: &str, fragments: &[Hash]) {
        let id = client(id);
        let now = self.local(&id);
        let Some(Node::Torrent(node)) = self.nodes.get_mut(&id) else { panic!("{id} is not our torrent") };
        let said = node.damage(fragments, now, &mut self.rng);
        self.after(&id, said);
    }

    /// A participant that runs reads all that it has.
    pub fn scrub(&mut self, id: &ClientId) {
        let now = self.local(id);
        let node = self.nodes.get_mut(id).unwrap_or_else(|| panic!("there is no {id}"));
        if node.is_running() {
            let said = node.scrub(now, &mut self.rng);
            self.after(id, said);
        }
    }

    /// Says something as `from`, connected or not.
    pub fn publish(&mut self, from: &ClientId, said: Vec<Publication>) {
        for publication in said {
            self.broker.publish(from, publication, self.now, &mut self.rng);
        }
    }

    /// A participant has done something: what it said is on its way, and it may have ended on it.
    pub(super) fn after(&mut self, id: &ClientId, said: Vec<Publication>) {
        if let Some(unsaid) = self.unsaid.get_mut(id) {
            unsaid.extend(said);
        } else if self.broker.is_connected(id) {
            self.publish(id, said);
        }
        let Some(node) = self.nodes.get_mut(id) else { return };
        let deleted = node.take_deleted();
        self.deleted.extend(deleted.into_iter().map(|fragment| (id.clone(), fragment)));
        if node.is_running() && node.fuse().is_some_and(|fuse| fuse.is_blown()) {
            self.fallen.push(id.clone());
            self.fall(id);
        }
    }
}
