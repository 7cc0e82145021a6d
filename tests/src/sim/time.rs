//! How time passes: whatever is due is handed out, one input at a time, in an order that the seed decides.

use std::time::Duration;

use distribution::Moment;
use protocol::ClientId;

use super::broker::Publication;
use super::cluster::Cluster;

/// Most inputs at one instant: more is a loop that makes no progress.
const BUSY: usize = 200_000;

#[derive(Debug)]
enum Due {
    Copy { to: ClientId, place: usize },
    Write(ClientId),
    Tick(ClientId),
    Fetch(ClientId),
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
        loop {
            if let Some(due) = self.next_due() {
                self.take(due);
                continue;
            }
            match self.next_moment().filter(|next| *next <= end) {
                Some(next) => self.now = next,
                None => break,
            }
            self.busy = 0;
        }
        self.now = end;
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
        let mut due: Vec<Due> = Vec::new();
        let copies = self.broker.deliverable(self.now).into_iter();
        due.extend(copies.map(|(to, place)| Due::Copy { to, place }));
        for (id, node) in &self.nodes {
            if node.next_write().is_some_and(|at| at <= self.now) {
                due.push(Due::Write(id.clone()));
            }
            if node.next_fetch().is_some_and(|at| at <= self.now) {
                due.push(Due::Fetch(id.clone()));
            }
            if node.next_tick().is_some_and(|at| at <= self.now) {
                due.push(Due::Tick(id.clone()));
            }
        }
        (!due.is_empty()).then(|| due.swap_remove(self.rng.below(due.len())))
    }

    fn next_moment(&self) -> Option<Moment> {
        let nodes =
            self.nodes.values().flat_map(|node| [node.next_write(), node.next_tick(), node.next_fetch()]);
        nodes.flatten().chain(self.broker.next_delivery()).min()
    }

    fn take(&mut self, due: Due) {
        self.steps += 1;
        self.busy += 1;
        assert!(self.busy < BUSY, "no time passes: {due:?}\n{}", self.report());
        if let Due::Fetch(id) = due {
            let said = self.end_fetch(&id);
            return self.publish_if_connected(&id, said);
        }
        let (now, rng) = (self.now, &mut self.rng);
        let (id, said) = match due {
            Due::Fetch(id) => (id, Vec::new()),
            Due::Copy { to, place } => {
                let message = self.broker.take(&to, place);
                let node = self.nodes.get_mut(&to).expect("a subscriber is a participant");
                let said = node.hear(&message, &self.topics, now, rng);
                (to, said)
            }
            Due::Write(id) => {
                let said = self.nodes.get_mut(&id).expect("a participant").end_write(now, rng);
                (id, said)
            }
            Due::Tick(id) => {
                let said = self.nodes.get_mut(&id).expect("a participant").tick(now, rng);
                (id, said)
            }
        };
        self.publish_if_connected(&id, said);
    }

    fn publish_if_connected(&mut self, id: &ClientId, said: Vec<Publication>) {
        if self.broker.is_connected(id) {
            self.publish(id, said);
        }
    }
}
