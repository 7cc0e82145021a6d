//! When a fragment lacks holders, and when the tracker's own bytes of it may go.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::{ClientId, Hash, Revision};

use super::{Leftovers, Tries};
use crate::command::TrackerCommand;
use crate::copies::Copies;
use crate::rules::Rule;
use crate::time::Moment;
use crate::tracker::Tracker;

impl Tracker {
    pub(in crate::tracker) fn target(&self) -> usize {
        self.config.copies.target(self.lasting_members())
    }

    /// How many torrents are registered whose copies count.
    pub(in crate::tracker) fn lasting_members(&self) -> usize {
        let registered = |client: &&ClientId| self.members.registered(client).is_some();
        let draining = self.view.orders().draining.iter().filter(registered).count();
        self.members.registered_count() - draining
    }

    pub(in crate::tracker) fn missing_copies(&self, fragment: &Hash) -> usize {
        self.target().saturating_sub(self.copies(fragment))
    }

    /// How many copies of a fragment there are that count.
    pub(in crate::tracker) fn copies(&self, fragment: &Hash) -> usize {
        self.view.lasting_holders(fragment).count()
    }

    /// The tracker answers for these fragments until enough holders have them. Nobody has to be asked for their bytes any more.
    pub(in crate::tracker) fn own(&mut self, fragments: &[Hash]) {
        fragments.iter().for_each(|fragment| self.repairs.forget(fragment));
        self.distributions.own(fragments.iter().copied());
    }

    /// The same, of a fragment that holders have as well.
    pub(in crate::tracker) fn borrow(&mut self, fragment: Hash) {
        self.repairs.forget(&fragment);
        self.distributions.borrow(fragment);
    }

    /// Sends a fragment of the own store on its way, if it lacks holders when its turn comes; or else lets go of it.
    pub(in crate::tracker) fn enqueue(&mut self, fragment: Hash) {
        self.distributions.enqueue(fragment, Tries::default());
    }

    fn enqueue_or_release(&mut self, fragment: Hash) {
        if self.missing_copies(&fragment) > 0 {
            self.distributions.enqueue(fragment, Tries::default());
        } else {
            self.hold_until_confirmed(fragment);
        }
    }

    pub(super) fn hold_until_confirmed(&mut self, fragment: Hash) {
        if self.distributions.owns(&fragment) {
            let revision = self.view.revision();
            if self.is_confirmed(&fragment, revision) {
                self.let_go(vec![fragment]);
            } else {
                self.distributions.releasable.insert(fragment, revision);
            }
        }
    }

    /// After a start, once whoever was registered before is back (or had its time): what still lacks holders is distributed. Says whether
    /// it has come to that.
    pub(super) fn poll_returning(&mut self, now: Moment) -> bool {
        let Some(returning) = &self.distributions.returning else { return true };
        if returning.until > now {
            return false;
        }
        self.distributions.returning = None;
        let unwanted = self.take_up(self.distributions.own.clone());
        if !self.distributions.may_have_forgotten || !Rule::UnknownIsAdopted.is_kept() {
            self.discard(unwanted);
            return true;
        }
        let until = now + self.time_to_come_back();
        self.distributions.leftovers = Leftovers { fragments: unwanted.into_iter().collect(), until };
        true
    }

    /// Sends those of the own fragments on their way that a file needs. Answers the others.
    fn take_up(&mut self, own: BTreeSet<Hash>) -> Vec<Hash> {
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|fragment| self.view.is_in_a_file(fragment));
        wanted.into_iter().for_each(|fragment| self.enqueue_or_release(fragment));
        unwanted
    }

    fn time_to_come_back(&self) -> Duration {
        self.config.repair_after.max(self.config.rhythm.lease)
    }

    /// Whoever may come back has had its time: what no file needs now is needed by none. As long as nobody has come, nobody can tell.
    pub(super) fn poll_leftovers(&mut self, now: Moment) {
        if !self.distributions.may_have_forgotten || self.distributions.leftovers.until > now {
            return;
        }
        if self.members.registered_count() == 0 {
            self.distributions.leftovers.until = now + self.time_to_come_back();
            return;
        }
        let left = std::mem::take(&mut self.distributions.leftovers.fragments);
        let unwanted = self.take_up(left);
        self.distributions.may_have_forgotten = false;
        self.commands.push_back(TrackerCommand::LeftoversDecided);
        self.discard(unwanted);
    }

    /// The bytes are still here. Until they are tried again nobody counts on them.
    pub(in crate::tracker) fn handle_not_deleted(&mut self, fragments: Vec<Hash>, now: Moment) {
        let delays = self.config.limits.retry_delay;
        self.distributions.undeleted.add(fragments, now, delays, &mut self.draw);
    }

    /// What was let go of and could not be deleted goes now, as after a start: what lacks copies by now is worth more than its room.
    pub(super) fn poll_undeleted(&mut self, now: Moment) {
        let mut left = self.distributions.undeleted.take_due(now);
        left.retain(|fragment| !self.distributions.owns(fragment));
        left.iter().for_each(|fragment| self.borrow(*fragment));
        let unwanted = self.take_up(left);
        self.discard(unwanted);
    }

    /// A torrent has joined: it holds what it listed and nothing else, whatever it said before. `expected` is what it held then, and what
    /// the files need that it brought.
    pub(in crate::tracker) fn torrent_registered(
        &mut self,
        client: &ClientId,
        mut expected: BTreeSet<Hash>,
        now: Moment,
    ) {
        self.forget_in_flight(client, now);
        self.distributions.is_back(client, now);
        expected.extend(self.repairs.is_back(client));
        self.torrent_available();
        // What it does not bring back is missing (S9).
        expected.into_iter().for_each(|fragment| self.consider_repair(fragment));
        self.target_changed();
    }

    /// A torrent takes fragments now: whatever found no place may find one, and what it brought may be enough.
    pub(in crate::tracker) fn torrent_available(&mut self) {
        self.distributions.wake_all();
        self.wake_repairs();
        self.enqueue_lacking();
        self.release_confirmed();
    }

    /// A torrent is no longer registered: it answers nothing more, and what it held may lack a copy.
    pub(in crate::tracker) fn torrent_gone(&mut self, client: &ClientId, now: Moment) {
        self.forget_in_flight(client, now);
        self.enqueue_lacking();
        self.target_changed();
        self.release_confirmed();
    }

    /// With a copy at every torrent, each one that comes makes one more copy of everything needed.
    pub(in crate::tracker) fn target_changed(&mut self) {
        if self.config.copies == Copies::All && !self.distributions.awaits_returns() {
            self.consider_repair_of_all();
        }
    }

    /// Where copies were enough and no longer are, while the tracker still has the bytes.
    pub(in crate::tracker) fn enqueue_lacking(&mut self) {
        let releasable = self.distributions.releasable.keys();
        let lacking: Vec<Hash> =
            releasable.filter(|fragment| self.missing_copies(fragment) > 0).copied().collect();
        lacking.into_iter().for_each(|fragment| self.distributions.enqueue(fragment, Tries::default()));
    }

    /// Whether enough holders have confirmed the change that made them holders (S6).
    fn is_confirmed(&self, fragment: &Hash, revision: Revision) -> bool {
        let confirmed = self.view.lasting_holders(fragment).filter(|holder| {
            let member = self.members.registered(holder);
            member.is_some_and(|member| member.has_confirmed(revision))
                || !Rule::ReleaseWhenConfirmed.is_kept()
        });
        confirmed.count() >= self.needed(fragment)
    }

    /// How many holders let the tracker's own bytes go. Of what it fetched from a holder, every holder there is may be enough, if there are
    /// two: it is better off than it was then.
    fn needed(&self, fragment: &Hash) -> usize {
        let target = self.lasting_target();
        if self.distributions.borrowed.contains(fragment) {
            target.min(self.copies(fragment).max(2))
        } else {
            target
        }
    }

    /// The copies aimed at if everybody comes back who may.
    fn lasting_target(&self) -> usize {
        let absent = self.repairs.absent_besides(&self.view.orders().draining);
        self.config.copies.target(self.lasting_members() + absent)
    }

    /// Deletes the own bytes of every fragment that is safe with its holders.
    pub(in crate::tracker) fn release_confirmed(&mut self) {
        let releasable = self.distributions.releasable.iter();
        let released = releasable.filter(|(fragment, revision)| self.is_confirmed(fragment, **revision));
        let released: Vec<Hash> = released.map(|(fragment, _)| *fragment).collect();
        self.let_go(released);
    }

    /// Where copies are still missing, they are wanted as before.
    fn let_go(&mut self, fragments: Vec<Hash>) {
        self.discard(fragments.clone());
        fragments.into_iter().for_each(|fragment| self.consider_repair(fragment));
    }

    /// No file uses these fragments any more: whatever is under way with them ends.
    pub(in crate::tracker) fn give_up(&mut self, fragments: impl IntoIterator<Item = Hash>) {
        let mut own = Vec::new();
        for fragment in fragments {
            self.repairs.forget(&fragment);
            self.call_off(fragment);
            if self.distributions.owns(&fragment) {
                own.push(fragment);
            }
        }
        self.discard(own);
    }

    /// The own bytes of these fragments are needed from now on. Nobody has carried out yet what was ordered since the last turn of the event
    /// loop: what was to be deleted then stays.
    pub(in crate::tracker) fn keep(&mut self, fragments: &[Hash]) {
        let ordered = self.commands.iter_mut().filter_map(|command| {
            if let TrackerCommand::Discard { fragments } = command { Some(fragments) } else { None }
        });
        let ordered: Vec<&mut Vec<Hash>> = ordered.collect();
        if ordered.is_empty() || !Rule::NeededAgainStays.is_kept() {
            return;
        }
        let kept: BTreeSet<&Hash> = fragments.iter().collect();
        ordered.into_iter().for_each(|ordered| ordered.retain(|fragment| !kept.contains(fragment)));
    }

    /// Whether one of them could not be deleted before does not matter any more: this deletion will tell.
    pub(in crate::tracker) fn discard(&mut self, fragments: Vec<Hash>) {
        if !fragments.is_empty() {
            for fragment in &fragments {
                self.distributions.disown(fragment);
                self.distributions.undeleted.forget(fragment);
            }
            self.commands.push_back(TrackerCommand::Discard { fragments });
        }
    }
}
