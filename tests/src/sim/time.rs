//! How time passes: whatever is due is handed out, one input at a time, in an order that the seed decides.

use std::time::Duration;

use distribution::Moment;

use super::cluster::Cluster;

/// Most inputs at one instant: more is a loop that makes no progress.
const BUSY: usize = 200_000;

/// Something due, by the places of subscribers and participants in their order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    Copy { subscriber: usize, place: usize },
    Write(usize),
    Turn(usize),
    Tick(usize),
    Fetch(usize),
}

impl Cluster {
    /// Hands one input to one machine; first lets time pass if nothing is due. False if nothing will ever be due.
    pub fn step(&mut self) -> bool {
        if let Some(due) = self.next_due() {
            self.take(due);
            return true;
        }
        let Some(next) = self.next_moment() else { return false };
        self.now = next;
        self.busy = 0;
        true
    }

    /// Goes on for this long.
    pub fn run_for(&mut self, wait: Duration) {
        let end = self.now + wait;
        while self.step_until(end) {}
    }

    /// Hands one input to one machine, if there is one due before `end`; if not, it is `end`, and false.
    pub fn step_until(&mut self, end: Moment) -> bool {
        loop {
            if let Some(due) = self.next_due() {
                self.take(due);
                return true;
            }
            self.busy = 0;
            match self.next_moment().filter(|next| *next <= end) {
                Some(next) => self.now = next,
                None => {
                    self.now = self.now.max(end);
                    return false;
                }
            }
        }
    }

    /// Goes on until `done`, for at most ten minutes.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(600);
        while !done(self) {
            assert!(self.step() && self.now <= end, "never: {what}\n{}", self.report());
        }
    }

    fn next_due(&mut self) -> Option<Due> {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let copies = self.broker.deliverable(self.now);
        due.extend(copies.map(|(subscriber, place)| Due::Copy { subscriber, place }));
        for (place, (id, node)) in self.nodes.iter().enumerate() {
            if self.paused.contains(id) {
                continue;
            }
            let now = self.local(id);
            if node.is_in_turn() {
                due.push(Due::Turn(place));
            }
            if node.next_write().is_some_and(|at| at <= now) {
                due.push(Due::Write(place));
            }
            if node.next_fetch().is_some_and(|at| at <= now) {
                due.push(Due::Fetch(place));
            }
            if node.next_tick().is_some_and(|at| at <= now) {
                due.push(Due::Tick(place));
            }
        }
        let next = (!due.is_empty()).then(|| due[self.rng.below(due.len())]);
        self.due = due;
        next
    }

    fn next_moment(&self) -> Option<Moment> {
        let nodes = self.nodes.iter().filter(|(id, _)| !self.paused.contains(*id));
        let nodes = nodes.filter_map(|(id, node)| {
            let next = [node.next_write(), node.next_tick(), node.next_fetch()].into_iter().flatten().min();
            next.map(|local| self.clock(id).global(local))
        });
        nodes.chain(self.broker.next_delivery()).min()
    }

    fn take(&mut self, due: Due) {
        self.steps += 1;
        self.busy += 1;
        assert!(self.busy < BUSY, "no time passes: {due:?}\n{}", self.report());
        let participant = |place| self.nodes.keys().nth(place).cloned().expect("a participant");
        match due {
            Due::Copy { subscriber, place } => {
                let (id, message) = self.broker.take(subscriber, place);
                let (now, rng) = (self.local(&id), &mut self.rng);
                let node = self.nodes.get_mut(&id).expect("a subscriber is a participant");
                let said = node.hear(&message, &self.topics, now, rng);
                self.after(&id, said);
            }
            Due::Fetch(place) => {
                let id = participant(place);
                let said = self.end_fetch(&id);
                self.after(&id, said);
            }
            Due::Write(place) => {
                let id = participant(place);
                let (now, rng) = (self.local(&id), &mut self.rng);
                let said = self.nodes.get_mut(&id).expect("a participant").end_write(now, rng);
                self.after(&id, said);
            }
            Due::Turn(place) => {
                let id = participant(place);
                let (now, rng) = (self.local(&id), &mut self.rng);
                let said = self.nodes.get_mut(&id).expect("a participant").end_turn(now, rng);
                self.after(&id, said);
            }
            Due::Tick(place) => {
                let id = participant(place);
                let (now, rng) = (self.local(&id), &mut self.rng);
                let said = self.nodes.get_mut(&id).expect("a participant").tick(now, rng);
                self.after(&id, said);
            }
        }
    }
}
