//! Client Join, the tracker's side.
//!
//! Alternative 1 and 2 (request or answer lost): the torrent asks again and gets the same answer. Alternative 3: denied. Alternative 4
//! (confirmation lost): the pending join expires here and the torrent, which has not seen itself registered, asks again.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::{ClientJoinDenied, ClientJoinRequested, Issuer, TrackerEnvelope};
use protocol::{ClientId, DeniedCode, EventId, Features, Hash};

use super::Tracker;
use super::members::Member;
use crate::command::TrackerCommand;
use crate::rules::Rule;
use crate::time::Moment;
use crate::view::{Adoption, Change, FileInfo, JoinAnswer, JoinRefused, answer_join};

/// A join that was accepted and is not confirmed.
#[derive(Debug)]
struct PendingJoin {
    request: EventId,
    issuer: Issuer,
    features: Features,
    /// Names the answer, also where it is repeated, and says up to which change it reaches.
    envelope: TrackerEnvelope,
    answer: JoinAnswer,
    adoption: Adoption,
    deadline: Moment,
}

/// The joins that wait for their confirmation.
#[derive(Debug, Default)]
pub struct Joins {
    pending: BTreeMap<ClientId, PendingJoin>,
}

impl Joins {
    /// The torrent gave up. An earlier start of it, or another data directory, speaks for itself alone.
    pub fn forget(&mut self, issuer: &Issuer) {
        if self.of(issuer).is_some() {
            self.pending.remove(&issuer.client);
        }
    }

    fn of(&self, issuer: &Issuer) -> Option<&PendingJoin> {
        let join = self.pending.get(&issuer.client)?;
        let same = (join.issuer.instance, join.issuer.incarnation) == (issuer.instance, issuer.incarnation);
        same.then_some(join)
    }

    /// Whether a later start of the same torrent is joining.
    fn is_older(&self, issuer: &Issuer) -> bool {
        self.pending.get(&issuer.client).is_some_and(|join| {
            join.issuer.instance == issuer.instance && join.issuer.incarnation > issuer.incarnation
        })
    }

    /// No file uses these fragments any more. Whoever is joining deletes them when it hears of that, also if another file uses them by then.
    pub fn give_up(&mut self, fragments: &BTreeSet<Hash>) {
        for join in self.pending.values_mut() {
            join.adoption.stored.retain(|fragment| !fragments.contains(fragment));
        }
    }

    pub fn is_pending(&self, client: &ClientId) -> bool {
        self.pending.contains_key(client)
    }

    pub fn clear(&mut self) {
        self.pending.clear();
    }

    pub fn expire(&mut self, now: Moment) {
        self.pending.retain(|_, join| join.deadline > now);
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        self.pending.values().map(|join| join.deadline).min()
    }
}

impl Tracker {
    pub(super) fn handle_join_requested(
        &mut self,
        id: EventId,
        issuer: &Issuer,
        request: &ClientJoinRequested,
        now: Moment,
    ) {
        let features = request.features.shared_with(Features::all());
        if self.joins.is_older(issuer)
            || self.handle_seen_tracker(request.seen_epoch, request.seen_instance, now)
        {
            return;
        }
        if self.joins.pending.get(&issuer.client).is_some_and(|join| join.request == id) {
            if !Rule::RepeatsAreAnswered.is_kept() {
                return;
            }
            return self.repeat_answer(&issuer.client);
        }
        let mut decided = self.decide_join(issuer, request);
        // One that does not get in does not make anybody forget.
        if decided.is_ok() && self.may_have_deleted_before(request.registered_by, request.registered_epoch) {
            self.forget_deletions();
            decided = self.decide_join(issuer, request);
        }
        match decided {
            Ok((answer, adoption)) => {
                let deadline = now + self.config.limits.join_timeout;
                let issuer = Issuer { registration: Some(id), ..issuer.clone() };
                let client = issuer.client.clone();
                let envelope = self.envelope(Some(self.view.revision()), Some(id));
                let join =
                    PendingJoin { request: id, issuer, features, envelope, answer, adoption, deadline };
                self.joins.pending.insert(client.clone(), join);
                self.repeat_answer(&client);
            }
            Err(refused) => self.deny(&issuer.client, features, id, refused),
        }
    }

    fn decide_join(
        &self,
        issuer: &Issuer,
        request: &ClientJoinRequested,
    ) -> Result<(JoinAnswer, Adoption), JoinRefused> {
        let other = |reason: String| Err(JoinRefused { code: DeniedCode::Other, reason });
        if self.members.is_held_by_another_instance(issuer) {
            return other(format!(
                "{} is registered from another data directory: give this torrent another --id, or stop the other",
                issuer.client
            ));
        }
        let limit = self.config.limits.pending_joins;
        if self.joins.pending.len() >= limit && !self.joins.pending.contains_key(&issuer.client) {
            return other(format!("{limit} torrents are joining already: ask again"));
        }
        let client = &issuer.client;
        let (answer, adoption) =
            answer_join(&self.view, client, request, |fragment| self.is_spare(issuer, fragment))?;
        let size_bytes = event_bytes(&answer);
        if size_bytes > self.config.max_event_bytes {
            return other(format!(
                "the view takes {size_bytes} bytes, more than one event may have ({} bytes): raise max_event_bytes everywhere",
                self.config.max_event_bytes
            ));
        }
        Ok((answer, adoption))
    }

    fn repeat_answer(&mut self, client: &ClientId) {
        let Some(join) = self.joins.pending.get(client) else { return };
        let (to, envelope, event) =
            (Self::audience(client, join.features), join.envelope, join.answer.clone().into());
        self.commands.push_back(TrackerCommand::Say { to, envelope, event });
    }

    fn deny(&mut self, client: &ClientId, features: Features, request: EventId, refused: JoinRefused) {
        let denied = ClientJoinDenied {
            client_identifier: client.clone(),
            reason_code: refused.code,
            reason: Some(refused.reason),
        };
        self.answer(Self::audience(client, features), request, denied);
    }

    /// `id` names the confirmation, `confirmed` the answer that it confirms: one that confirms an earlier answer says nothing of this one
    /// (S11). A torrent that knows only the specification does not say.
    pub(super) fn handle_join_succeeded(
        &mut self,
        id: EventId,
        confirmed: Option<EventId>,
        issuer: &Issuer,
        now: Moment,
    ) {
        let Some(join) = self.joins.of(issuer) else { return };
        if confirmed.is_some_and(|answer| answer != join.envelope.event_id) && Rule::AnswersMatch.is_kept() {
            return;
        }
        let Some(mut join) = self.joins.pending.remove(&issuer.client) else { return };
        // Another torrent may have registered since the answer: its endpoints and its files are in the view now.
        let taken = join.adoption.registration.endpoints.iter().find_map(|endpoint| {
            self.view.client_of_endpoint(endpoint).filter(|owner| **owner != issuer.client)
        });
        if let Some(owner) = taken {
            let reason = format!("an endpoint of this torrent belongs to {owner}, which registered first");
            let refused = JoinRefused { code: DeniedCode::EndpointConflict, reason };
            return self.deny(&issuer.client, join.features, join.request, refused);
        }
        self.drop_what_no_longer_fits(&mut join.adoption);
        let mut expected = self.view.inventory(&issuer.client);
        if !self.repairs.will_look_through() {
            expected.extend(join.adoption.files.values().flat_map(FileInfo::distinct_fragments));
        }
        if !Rule::InventoryDecides.is_kept() {
            join.adoption.stored.extend(&expected);
        }
        let changes = join.adoption.changes(&issuer.client);
        self.apply_all(&changes);
        self.commit_answer(changes, Some(id), join.adoption.into_event(issuer.client.clone()));
        self.members.register(Member::registered(join.issuer, join.features, now));
        self.torrent_registered(&issuer.client, expected, now);
    }

    /// Whether a torrent that comes back need not keep its copy (S7): it is not counted now, and enough others are, each confirmed since
    /// this tracker's start by an inventory or an *Obtained*. What somebody brings who was not seen before is kept.
    fn is_spare(&self, issuer: &Issuer, fragment: &Hash) -> bool {
        if !Rule::OrdersNeedProof.is_kept() {
            return self.view.holders(fragment).any(|holder| *holder != issuer.client);
        }
        if !self.members.is_returning(issuer) || self.view.client(&issuer.client).is_some() {
            return false;
        }
        let others = self.view.lasting_holders(fragment);
        let confirmed = others.filter(|holder| self.members.is_proven(holder)).count();
        confirmed >= self.config.copies.target(self.lasting_members() + 1)
    }

    /// What came into the view since the answer, from somebody who joined faster, wins. The torrent will hear of it when it joins again,
    /// which the digest in its heartbeat brings about.
    fn drop_what_no_longer_fits(&self, adoption: &mut Adoption) {
        if adoption.fragments.is_empty() && adoption.files.is_empty() {
            return;
        }
        let mut view = self.view.clone();
        adoption.fragments.retain(|hash, size_bytes| {
            let fits = !view.is_deleted_fragment(hash)
                && view.apply(&Change::FragmentAdded { hash: *hash, size_bytes: *size_bytes }).is_ok();
            if !fits {
                adoption.stored.remove(hash);
            }
            fits
        });
        adoption.files.retain(|hash, file| {
            !view.is_deleted_file(hash)
                && view.apply(&Change::FilePublished { hash: *hash, file: file.clone() }).is_ok()
        });
    }
}

/// About how many bytes an answer takes on the bus: hashes are 64 digits, and each entry has its punctuation.
fn event_bytes(answer: &JoinAnswer) -> u64 {
    const HASH: usize = 67;
    const ENTRY: usize = 100;
    let files = answer.add_file_infos.values().map(|file| 400 + file.fragment_sequence.len() * HASH);
    let clients = answer.clients.values().map(|client| 600 + client.stored_fragments.len() * HASH);
    let removed = answer.remove_file_infos.len() + answer.remove_fragment_infos.len();
    let total =
        files.chain(clients).sum::<usize>() + answer.add_fragment_infos.len() * ENTRY + removed * HASH;
    total as u64 + 1024
}
