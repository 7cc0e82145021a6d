//! Client Join, the tracker's side.
//!
//! Alternative 1 and 2 (request or answer lost): the torrent asks again and gets the same answer. Alternative 3: denied. Alternative 4
//! (confirmation lost): the pending join expires here and the torrent, which has not seen itself registered, asks again.

use std::collections::BTreeMap;

use protocol::event::{ClientJoinDenied, ClientJoinRequested, Issuer};
use protocol::{ClientId, DeniedCode, EventId, Features};

use super::Tracker;
use super::members::Member;
use crate::time::Moment;
use crate::view::{Adoption, Change, JoinAnswer, JoinRefused, answer_join};

/// A join that was accepted and is not confirmed.
#[derive(Debug)]
struct PendingJoin {
    request: EventId,
    issuer: Issuer,
    features: Features,
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
    pub fn forget(&mut self, client: &ClientId) {
        self.pending.remove(client);
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
        if self.joins.pending.get(&issuer.client).is_some_and(|join| join.request == id) {
            return self.repeat_answer(&issuer.client);
        }
        match self.decide_join(issuer, request) {
            Ok((answer, adoption)) => {
                let deadline = now + self.config.limits.join_timeout;
                let issuer = issuer.clone();
                let client = issuer.client.clone();
                let join = PendingJoin { request: id, issuer, features, answer, adoption, deadline };
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
        let (answer, adoption) = answer_join(&self.view, &issuer.client, request, |_| false)?;
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
        let (to, request, answer) =
            (Self::audience(client, join.features), join.request, join.answer.clone());
        let revision = self.view.revision();
        self.answer(to, request, Some(revision), answer);
    }

    fn deny(&mut self, client: &ClientId, features: Features, request: EventId, refused: JoinRefused) {
        let denied = ClientJoinDenied {
            client_identifier: client.clone(),
            reason_code: refused.code,
            reason: Some(refused.reason),
        };
        self.answer(Self::audience(client, features), request, None, denied);
    }

    pub(super) fn handle_join_succeeded(&mut self, issuer: &Issuer, now: Moment) {
        let Some(join) = self.joins.pending.get(&issuer.client) else { return };
        if (join.issuer.instance, join.issuer.incarnation) != (issuer.instance, issuer.incarnation) {
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
        let mut changes = join.adoption.changes(&issuer.client);
        changes.retain(|change| self.view.apply(change).is_ok());
        let applied = |wanted: &Change| changes.iter().any(|change| change == wanted);
        join.adoption
            .files
            .retain(|hash, file| applied(&Change::FilePublished { hash: *hash, file: file.clone() }));
        join.adoption.fragments.retain(|hash, size_bytes| {
            applied(&Change::FragmentAdded { hash: *hash, size_bytes: *size_bytes })
        });
        self.commit(changes, join.adoption.into_event(issuer.client.clone()));
        self.members.register(Member::registered(issuer.clone(), join.features, self.view.revision(), now));
        self.torrent_available(&issuer.client);
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
