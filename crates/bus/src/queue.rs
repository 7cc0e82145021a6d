//! What was published and is not yet acknowledged: shared by the outbox and the event loop.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{LossReason, PublishError, SessionLost};
use crate::message::Message;

/// The messages to send, oldest first, and what became of the session.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Rung when there is something to send.
    pub(crate) rung: Notify,
    /// Rung when it is time for the goodbye.
    pub(crate) goodbye: Notify,
    /// Rung when everything is acknowledged, and when the session is lost.
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Queued>,
    /// Messages published and not acknowledged, sent or not.
    messages: usize,
    /// Their payload, in bytes.
    bytes: usize,
    phase: Phase,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message,
    /// Who waits for the acknowledgement.
    pub(crate) confirm: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
enum Phase {
    /// Messages are taken.
    #[default]
    Open,
    /// No more messages are taken; those that wait are sent.
    Closing,
    /// Over.
    Lost(SessionLost),
}

impl Queue {
    /// Queues a message, or says why that is too late.
    pub(crate) fn push(&self, queued: Queued) -> Result<(), PublishError> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open => {}
            Phase::Closing => {
                return Err(SessionLost { reason: LossReason::Closed }.into());
            }
            Phase::Lost(lost) => return Err(lost.clone().into()),
        }
        state.messages += 1;
        state.bytes += queued.message.payload.len();
        state.waiting.push_back(queued);
        drop(state);
        self.rung.notify_one();
        Ok(())
    }

    /// Hands messages over, oldest first, as long as `take` says that it wants more (`wants_more`: whether it
    /// wants one at all).
    pub(crate) fn drain(&self, mut wants_more: bool, mut take: impl FnMut(Queued) -> bool) {
        let mut state = self.lock();
        while wants_more {
            let Some(queued) = state.waiting.pop_front() else { break };
            wants_more = take(queued);
        }
    }

    /// The broker has acknowledged so many messages with so many bytes of payload.
    pub(crate) fn acknowledged(&self, messages: usize, bytes: usize) {
        let mut state = self.lock();
        state.messages -= messages;
        state.bytes -= bytes;
        let all = state.messages == 0;
        drop(state);
        if all {
            self.settled.notify_waiters();
        }
    }

    /// The session is over: what waits will not be sent, and nothing more is taken.
    pub(crate) fn lose(&self, lost: SessionLost) {
        let mut state = self.lock();
        state.phase = Phase::Lost(lost);
        let unsent = std::mem::take(&mut state.waiting);
        drop(state);
        drop(unsent);
        self.settled.notify_waiters();
    }

    /// Nothing more is taken from now on.
    pub(crate) fn begin_closing(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing;
        }
    }

    /// Waits until everything is acknowledged or the session is over.
    pub(crate) async fn settled(&self) {
        loop {
            let rung = self.settled.notified();
            {
                let state = self.lock();
                if state.messages == 0 || matches!(state.phase, Phase::Lost(_)) {
                    return;
                }
            }
            rung.await;
        }
    }

    /// Messages published and not acknowledged.
    pub(crate) fn messages(&self) -> usize {
        self.lock().messages
    }

    /// Their payload, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Why the session is over, if it is.
    pub(crate) fn lost(&self) -> Option<SessionLost> {
        match &self.lock().phase {
            Phase::Lost(lost) => Some(lost.clone()),
            Phase::Open | Phase::Closing => None,
        }
    }

    /// Why the session is over. To be asked only when it is.
    pub(crate) fn loss(&self) -> SessionLost {
        self.lost().unwrap_or(SessionLost { reason: LossReason::Closed })
    }

    /// No code that holds the lock can leave the state half written, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
