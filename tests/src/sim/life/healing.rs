//! The end of all faults: everybody runs, is connected and has room; then everything has to come right, and to stay so.

use std::time::Duration;

use crate::sim::checks::Unrest;
use crate::sim::faults::Weather;

use super::Life;
use super::violation::{Kind, Violation};

/// How long what was late may take to arrive.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// How long everything may take to come right.
const HEALING: Duration = Duration::from_secs(600);
/// After so many steps it is looked at again whether it has.
const STEPS: usize = 24;
/// For how long it has to stay right.
const REST: Duration = Duration::from_secs(12);

impl Life {
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.note("no more faults");
        self.agenda.clear();
        let weather = &mut self.cluster.broker.faults.weather;
        *weather = Weather::default();
        self.cluster.broker.profile.queue = usize::MAX;
        self.end_second_tracker();
        for id in self.machines() {
            self.make_room(&id);
            self.make_readable(&id);
        }
        let from = self.cluster.now;
        self.bring_everybody_back();
        self.wait(STRAGGLERS)?;
        self.bring_everybody_back();
        for id in self.torrents.clone() {
            self.cluster.drain(id.as_str(), false);
        }
        self.scrub_everything();
        let end = from + HEALING;
        loop {
            let unrest = self.cluster.unrest();
            if unrest.is_none() && self.agenda.is_empty() {
                break;
            }
            if let Some(unrest) = unrest.filter(|_| self.cluster.now > end) {
                return Err(violation(unrest, "never at rest"));
            }
            // Who steps down or falls only now is started again like anybody before.
            while let Some((_, act)) = self.agenda.pop(self.cluster.now) {
                self.act(act)?;
            }
            let mut steps = 0;
            while steps < STEPS || self.cluster.is_in_turn() {
                self.cluster.step();
                self.watch()?;
                steps += 1;
            }
        }
        self.figures.longest_healing = self.cluster.now.since(from);
        self.note("at rest");
        let revision = self.cluster.tracker().view().revision();
        self.wait(REST)?;
        if let Some(unrest) = self.cluster.unrest_between_steps() {
            return Err(violation(unrest, "at rest, and then not"));
        }
        if self.cluster.tracker().view().revision() != revision {
            return Err(Violation::new(Kind::Divergent, "the view changes at rest".into()));
        }
        if self.draw.chance(1, 8) {
            self.cluster.check_trace();
        }
        self.ledger.check_at_rest(&self.cluster)
    }

    fn wait(&mut self, wait: Duration) -> Result<(), Violation> {
        self.live_until(self.cluster.now + wait)?;
        self.watch()
    }

    fn bring_everybody_back(&mut self) {
        for id in self.machines() {
            if self.cluster.node(&id).is_running() {
                if let Some(fuse) = self.cluster.node_mut(&id).fuse() {
                    fuse.replace();
                }
                self.cluster.resume(&id);
                self.cluster.let_through(&id);
                if !self.cluster.broker.is_connected(&id) {
                    self.cluster.connection_lost(&id);
                    self.cluster.connect(&id);
                }
            } else {
                self.cluster.restart(id.as_str());
            }
        }
    }

    fn scrub_everything(&mut self) {
        self.machines().iter().for_each(|id| self.cluster.scrub(id));
    }
}

fn violation(unrest: Unrest, when: &str) -> Violation {
    Violation::new(unrest.kind, format!("{when}: {}", unrest.what))
}
