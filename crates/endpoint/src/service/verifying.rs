//! Verifying what is on this daemon's disk, for somebody who waits for the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use protocol::Hash;
use tonic::Status;

use super::budget::Share;
use super::describe::int64;
use super::{EndpointApi, ONE_AT_A_TIME};
use crate::errors::Refusal;
use crate::fragments::{Fragments, ReadError, Verified};
use crate::names::parse_file_name;
use crate::proto::{self, digest_text};

/// How much is verified between two messages.
const STEP_BYTES: u64 = 8 << 20;
/// Most fragments that are verified between two messages: all of them may be damaged and named.
const STEP_FRAGMENTS: u64 = 4096;

/// What is still to be verified.
enum Rest {
    /// Everything behind this fragment; from the first on if there is none.
    Behind(Option<Hash>),
    /// Those of these fragments that are here.
    Of(BTreeSet<Hash>),
}

/// A verification between two messages.
struct Verification {
    fragments: Arc<dyn Fragments>,
    rest: Rest,
    fragment_count: u64,
    size_bytes: u64,
    /// Held until the stream is dropped.
    _share: Share,
}

impl EndpointApi {
    pub(super) async fn verification_stream(
        &self,
        request: &proto::VerifyFragmentsRequest,
    ) -> Result<BoxStream<'static, Result<proto::VerifyFragmentsResponse, Status>>, Refusal> {
        let rest = match request.parent.as_str() {
            "" => Rest::Behind(None),
            parent => {
                let file = parse_file_name("parent", parent)?;
                let known =
                    self.ask(move |catalog| Some(catalog.view().file(&file)?.fragments.clone())).await?;
                Rest::Of(known.ok_or(Refusal::FileNotFound(file))?.iter().copied().collect())
            }
        };
        let share = self.verifying.take(ONE_AT_A_TIME).await?;
        let fragments = Arc::clone(&self.fragments);
        let begun = Verification { fragments, rest, fragment_count: 0, size_bytes: 0, _share: share };
        let messages = stream::try_unfold(Some(begun), |verification| async {
            let Some(verification) = verification else { return Ok(None) };
            let step = tokio::task::spawn_blocking(move || verification.step()).await;
            let (message, verification) = step.map_err(|_| Refusal::ShuttingDown)??;
            Ok::<_, Status>(Some((message, verification)))
        });
        Ok(messages.boxed())
    }
}

impl Verification {
    /// Goes on; also gives what is left to do, if anything is.
    fn step(mut self) -> Result<(proto::VerifyFragmentsResponse, Option<Self>), Refusal> {
        let verified = match &mut self.rest {
            Rest::Behind(after) => {
                let verified = self.fragments.verify_next(after.as_ref(), STEP_BYTES).map_err(|error| {
                    tracing::error!(%error, "what is stored cannot be verified");
                    Refusal::StoreUnusable
                })?;
                *after = verified.next;
                verified
            }
            Rest::Of(wanted) => verify_some(&*self.fragments, wanted),
        };
        self.fragment_count += verified.fragments;
        self.size_bytes += verified.bytes;
        let message = proto::VerifyFragmentsResponse {
            fragment_count: int64(self.fragment_count),
            size_bytes: int64(self.size_bytes),
            damaged_digests: verified.damaged.iter().map(digest_text).collect(),
            unread_digests: verified.unread.iter().map(digest_text).collect(),
        };
        Ok((message, verified.next.is_some().then_some(self)))
    }
}

/// Verifies some of `wanted`, which it takes out.
fn verify_some(fragments: &dyn Fragments, wanted: &mut BTreeSet<Hash>) -> Verified {
    let mut verified = Verified::default();
    while verified.bytes < STEP_BYTES && verified.fragments < STEP_FRAGMENTS {
        let Some(hash) = wanted.pop_first() else { break };
        let Some(size_bytes) = fragments.size_of(&hash) else { continue };
        match fragments.verify(&hash) {
            Ok(_) => {}
            Err(ReadError::Missing) => continue,
            Err(ReadError::Damaged) => verified.damaged.push(hash),
            Err(ReadError::Io(_)) => verified.unread.push(hash),
        }
        verified.fragments += 1;
        verified.bytes += size_bytes;
    }
    verified.next = wanted.first().copied();
    verified
}
