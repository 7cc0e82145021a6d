//! What was published and is not yet acknowledged: the book that outbox and poll task share.
//!
//! rumqttc does not say which PUBACK belongs to which publish. It does say, in the order of publishing, which
//! packet id each message got; so a queue of entries, pushed under the same lock under which the message is
//! handed over, is enough to tell.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::error::{LossReason, SessionLost};

/// The book, and who waits for it to become empty.
#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    /// Rung when everything is acknowledged, and when the session is lost.
    pub(crate) settled: Notify,
}

/// The entries themselves.
#[derive(Debug)]
pub(crate) struct Book {
    /// Handed to the event loop, no packet id yet, oldest first.
    handed_over: VecDeque<Entry>,
    /// Sent, by packet id.
    in_flight: Vec<Option<Entry>>,
    /// Has a packet id, but the event loop holds it back until that id is free.
    held_back: Option<(u16, Entry)>,
    messages: usize,
    bytes: usize,
    closing: bool,
    lost: Option<SessionLost>,
}

/// One message that the broker has not acknowledged.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Size of its payload.
    pub(crate) bytes: usize,
    /// Who waits for its acknowledgement.
    pub(crate) confirm: Option<oneshot::Sender<()>>,
}

impl Ledger {
    pub(crate) fn new(inflight: u16) -> Self {
        let mut in_flight = Vec::new();
        in_flight.resize_with(usize::from(inflight) + 1, || None);
        let book = Book {
            handed_over: VecDeque::new(),
            in_flight,
            held_back: None,
            messages: 0,
            bytes: 0,
            closing: false,
            lost: None,
        };
        Self { book: Mutex::new(book), settled: Notify::new() }
    }

    /// The book. No code that holds it can leave it half written, so a panic elsewhere does not spoil it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message handed over got this packet id.
    pub(crate) fn sent(&self, packet_id: u16) {
        let mut book = self.lock();
        let entry = match book.held_back.take() {
            Some((id, entry)) if id == packet_id => Some(entry),
            other => {
                book.held_back = other;
                book.handed_over.pop_front()
            }
        };
        if let Some(slot) = book.in_flight.get_mut(usize::from(packet_id)) {
            *slot = entry;
        }
    }

    /// The next message handed over got this packet id, and waits until the id is free.
    pub(crate) fn held_back(&self, packet_id: u16) {
        let mut book = self.lock();
        if let Some(entry) = book.handed_over.pop_front() {
            book.held_back = Some((packet_id, entry));
        }
    }

    /// The broker acknowledged this packet id.
    pub(crate) fn acknowledged(&self, packet_id: u16) {
        let mut book = self.lock();
        let Some(entry) = book.in_flight.get_mut(usize::from(packet_id)).and_then(Option::take) else {
            return;
        };
        book.messages -= 1;
        book.bytes -= entry.bytes;
        let all = book.messages == 0;
        drop(book);
        if let Some(confirm) = entry.confirm {
            // Whoever waited may have given up.
            let _ = confirm.send(());
        }
        if all {
            self.settled.notify_waiters();
        }
    }

    /// Why the session is over. To be asked only when it is.
    pub(crate) fn loss(&self) -> SessionLost {
        self.lock().lost.clone().unwrap_or(SessionLost { reason: LossReason::Closed })
    }

    /// The session is over: whoever waits for an acknowledgement is told. The first reason counts.
    pub(crate) fn lose(&self, lost: SessionLost) {
        let mut book = self.lock();
        book.lost.get_or_insert(lost);
        book.handed_over.clear();
        book.in_flight.fill_with(|| None);
        book.held_back = None;
        drop(book);
        self.settled.notify_waiters();
    }
}

impl Book {
    /// Enters a message that is being handed over under the same lock.
    pub(crate) fn enter(&mut self, entry: Entry) {
        self.messages += 1;
        self.bytes += entry.bytes;
        self.handed_over.push_back(entry);
    }

    /// Payload bytes published and not acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages published and not acknowledged.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Why the session is over, if it is.
    pub(crate) fn lost(&self) -> Option<&SessionLost> {
        self.lost.as_ref()
    }

    /// Whether the session is being closed: nothing more is published.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// From now on nothing more is published.
    pub(crate) fn begin_closing(&mut self) {
        self.closing = true;
    }
}
