//! Which torrents are registered, since when they were not heard, and what they have confirmed: leases and goodbyes.
//!
//! This is about connections, not about content: none of it is in the view or on disk.

use std::collections::BTreeMap;

use protocol::event::{
    ClientGoodbye, ClientHeartbeat, ClientUnregistered, Issuer, UnregisteredReason, reason,
};
use protocol::{ClientId, EventId, Feature, Features, Incarnation, InstanceId, Revision};

use super::Tracker;
use crate::command::Audience;
use crate::limits::Rhythm;
use crate::rules::Rule;
use crate::time::Moment;
use crate::view::Change;

/// How a torrent stands with the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Registered and heard.
    Registered,
    /// Registered, but its connection broke: it gets no fragments, and loses its registration when its lease ends.
    Suspect,
    /// Was registered once.
    Unregistered,
}

/// A torrent that is or was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who it is, and by which request it was registered.
    pub issuer: Issuer,
    /// How it stands.
    pub state: MemberState,
    /// The features that both speak.
    pub features: Features,
    /// Up to where it has confirmed the view's changes.
    pub confirmed: Revision,
    /// When it was last heard.
    pub last_heard: Moment,
    last_heartbeat: Option<LastHeartbeat>,
}

/// What a torrent said of its view and inventory, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastHeartbeat {
    id: EventId,
    said: ClientHeartbeat,
    /// The tracker's view then.
    at: Revision,
}

impl Member {
    /// One that has just joined has confirmed nothing: what it listed may have turned out to be damaged meanwhile, and then it joins again
    /// before it says a heartbeat.
    pub(super) fn registered(issuer: Issuer, features: Features, now: Moment) -> Self {
        let confirmed = if Rule::InventoryIsProven.is_kept() { Revision(0) } else { Revision(u64::MAX) };
        let state = MemberState::Registered;
        Self { issuer, state, features, confirmed, last_heard: now, last_heartbeat: None }
    }

    /// Whether it has confirmed `revision`. One that sends no heartbeats confirms with its *Obtained*, which was counted before.
    pub(super) fn has_confirmed(&self, revision: Revision) -> bool {
        !self.sends_heartbeats() || self.confirmed >= revision
    }

    /// Whether it has confirmed what it listed when it joined.
    fn has_confirmed_its_join(&self) -> bool {
        self.has_confirmed(Revision(1))
    }

    const fn sends_heartbeats(&self) -> bool {
        self.features.has(Feature::Lease)
    }

    fn is_in(&self) -> bool {
        self.state != MemberState::Unregistered
    }

    /// Whether it is this very start of the torrent, with this data directory, that speaks.
    fn is(&self, issuer: &Issuer) -> bool {
        (self.issuer.instance, self.issuer.incarnation) == (issuer.instance, issuer.incarnation)
    }
}

/// All torrents that are or were registered.
#[derive(Debug, Default)]
pub struct Members {
    members: BTreeMap<ClientId, Member>,
}

impl Members {
    pub fn iter(&self) -> impl Iterator<Item = (&ClientId, &Member)> {
        self.members.iter()
    }

    pub fn register(&mut self, member: Member) {
        self.members.insert(member.issuer.client.clone(), member);
    }

    /// The member, if it is registered.
    pub fn registered(&self, client: &ClientId) -> Option<&Member> {
        self.members.get(client).filter(|member| member.is_in())
    }

    /// Whether the issuer is registered: this start of it, with this data directory, and no other (S5).
    pub fn speaks_as_registered(&self, issuer: &Issuer) -> bool {
        let any = !Rule::VotesOfRegisteredStarts.is_kept();
        self.registered(&issuer.client).is_some_and(|member| any || member.is(issuer))
    }

    /// Whatever it says, it lives.
    pub fn heard(&mut self, issuer: &Issuer, now: Moment) {
        if let Some(member) = self.members.get_mut(&issuer.client).filter(|member| member.is(issuer)) {
            member.last_heard = now;
        }
    }

    /// The tracker was deaf, so nobody's silence counts.
    pub fn all_heard(&mut self, now: Moment) {
        self.members.values_mut().filter(|member| member.is_in()).for_each(|member| member.last_heard = now);
    }

    pub fn registered_count(&self) -> usize {
        self.members.values().filter(|member| member.is_in()).count()
    }

    /// Whether its copies can be relied on now: it is heard, and has confirmed what it listed.
    pub fn is_proven(&self, client: &ClientId) -> bool {
        self.takes_fragments(client) && self.members.get(client).is_some_and(Member::has_confirmed_its_join)
    }

    /// Whether fragments may go to it now.
    pub fn takes_fragments(&self, client: &ClientId) -> bool {
        self.members.get(client).is_some_and(|member| member.state == MemberState::Registered)
    }

    pub fn all_unregistered(&mut self) {
        self.members.values_mut().for_each(|member| member.state = MemberState::Unregistered);
    }

    /// Whether the issuer speaks as registered by an earlier request of the same start. What it had then it may have deleted when it joined
    /// again, on the tracker's order (S10).
    pub fn is_of_an_earlier_registration(&self, issuer: &Issuer) -> bool {
        let by_another = |member: &Member| {
            let requests = issuer.registration.zip(member.issuer.registration);
            requests.is_some_and(|(told, known)| told != known)
        };
        let registered = self.registered(&issuer.client).filter(|member| member.is(issuer));
        registered.is_some_and(by_another) && Rule::EarlierRegistrationsAreIgnored.is_kept()
    }

    /// Whether the issuer is an earlier start of a torrent that has been seen since (S10).
    pub fn is_older(&self, issuer: &Issuer) -> bool {
        let seen = self.members.get(&issuer.client).map(|member| &member.issuer);
        seen.filter(|_| Rule::OlderStartsAreIgnored.is_kept()).is_some_and(|seen| {
            same(seen.instance, issuer.instance) && later(seen.incarnation, issuer.incarnation)
        })
    }

    /// Whether the issuer's identifier is in use by a torrent with another data directory that still lives.
    pub fn is_held_by_another_instance(&self, issuer: &Issuer) -> bool {
        let member = self.members.get(&issuer.client);
        member.is_some_and(|member| {
            member.state == MemberState::Registered
                && member.issuer.instance.is_some()
                && member.issuer.instance != issuer.instance
        })
    }

    /// Whether the issuer was registered before, with the same data directory, and no longer is.
    pub fn is_returning(&self, issuer: &Issuer) -> bool {
        let member = self.members.get(&issuer.client).filter(|member| !member.is_in());
        member.is_some_and(|member| same(member.issuer.instance, issuer.instance))
    }

    pub fn next_lease_end(&self, rhythm: &Rhythm) -> Option<Moment> {
        let leased = self.members.values().filter(|member| member.is_in() && member.sends_heartbeats());
        leased.map(|member| member.last_heard + rhythm.lease).min()
    }
}

fn same(one: Option<InstanceId>, other: Option<InstanceId>) -> bool {
    one.is_some() && one == other
}

fn later(seen: Option<Incarnation>, told: Option<Incarnation>) -> bool {
    seen.zip(told).is_some_and(|(seen, told)| seen > told)
}

impl Tracker {
    pub(super) fn handle_goodbye(&mut self, issuer: &Issuer, goodbye: &ClientGoodbye, now: Moment) {
        self.joins.forget(issuer);
        let registered = self.members.members.get_mut(&issuer.client).filter(|member| member.is_in());
        let Some(member) = registered.filter(|member| member.is(issuer)) else { return };
        let lost = goodbye.reason.as_deref() == Some(reason::CONNECTION_LOST);
        if lost && member.sends_heartbeats() {
            member.state = MemberState::Suspect;
        } else if lost {
            self.unregister(&issuer.client, UnregisteredReason::ConnectionLost, now);
        } else {
            self.unregister(&issuer.client, UnregisteredReason::Leaving, now);
        }
    }

    pub(super) fn handle_heartbeat(
        &mut self,
        id: EventId,
        issuer: &Issuer,
        heartbeat: &ClientHeartbeat,
        now: Moment,
    ) {
        let client = &issuer.client;
        if !self.members.speaks_as_registered(issuer) {
            if !self.joins.is_pending(client) {
                self.say_hello(Audience::One(client.clone()));
            }
            return;
        }
        let is_in_step = self.is_in_step(id, client, heartbeat);
        let at = self.view.revision();
        let Some(member) = self.members.members.get_mut(client) else { return };
        member.last_heard = now;
        member.last_heartbeat = Some(LastHeartbeat { id, said: *heartbeat, at });
        let was_suspect =
            std::mem::replace(&mut member.state, MemberState::Registered) == MemberState::Suspect;
        if is_in_step && heartbeat.revision > member.confirmed {
            member.confirmed = heartbeat.revision;
            self.release_confirmed();
        }
        if was_suspect {
            self.torrent_available();
        }
        if !is_in_step {
            self.say_hello(Audience::One(client.clone()));
        }
    }

    /// Whether the torrent has the view that it should have, and the fragments that the view says. If not, it has to join again.
    fn is_in_step(&self, id: EventId, client: &ClientId, heartbeat: &ClientHeartbeat) -> bool {
        let Some(member) = self.members.registered(client) else { return false };
        if !Rule::GapsAreNoticed.is_kept() {
            return true;
        }
        let revision = self.view.revision();
        // The same one again says nothing new.
        let last = member.last_heartbeat.filter(|last| last.id != id);
        if heartbeat.revision < revision {
            // It may be on its way. But what was there at the last heartbeat had its time, unless the torrent is busy catching up.
            return !last.is_some_and(|last| {
                last.said.revision == heartbeat.revision && last.said.revision < last.at
            });
        }
        if heartbeat.revision > revision || heartbeat.digest != self.view.digest() {
            return false;
        }
        // What it has just obtained is not in the view yet; what it keeps for longer has been forgotten by somebody.
        let inventory = self.view.client(client).map(|known| known.inventory.hash());
        inventory == Some(heartbeat.inventory_digest)
            || last.is_none_or(|last| last.said != *heartbeat)
            || self.distributions.is_receiver(client)
    }

    pub(super) fn poll_leases(&mut self, now: Moment) {
        if !Rule::SilentAreGone.is_kept() {
            return;
        }
        let lease = self.config.rhythm.lease;
        let ended =
            |member: &Member| member.is_in() && member.sends_heartbeats() && member.last_heard + lease <= now;
        let expired: Vec<ClientId> = self
            .members
            .iter()
            .filter(|(_, member)| ended(member))
            .map(|(client, _)| client.clone())
            .collect();
        expired.iter().for_each(|client| self.unregister(client, UnregisteredReason::LeaseExpired, now));
    }

    fn unregister(&mut self, client: &ClientId, reason: UnregisteredReason, now: Moment) {
        if let Some(member) = self.members.members.get_mut(client) {
            member.state = MemberState::Unregistered;
        }
        let held = self.view.inventory(client);
        let until = now + self.config.repair_after;
        self.repairs.await_return_of(client.clone(), held.into_iter().collect(), until);
        let change = Change::ClientUnregistered { client: client.clone() };
        self.apply_all(std::slice::from_ref(&change));
        self.commit(vec![change], ClientUnregistered { client_identifier: client.clone(), reason });
        self.torrent_gone(client, now);
    }

    /// Applies changes that cannot break an invariant.
    pub(super) fn apply_all(&mut self, changes: &[Change]) {
        for change in changes {
            let applied = self.view.apply(change);
            debug_assert!(applied.is_ok(), "{change:?}: {applied:?}");
        }
    }
}
