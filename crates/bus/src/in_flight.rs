//! What was sent and is not acknowledged, and which packet ids that takes. An acknowledgement is the broker's: it makes room, and proves
//! nothing about who the message is for (Q6).

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// What was sent and is not acknowledged.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// In the order of sending, which is that of nearly every broker's acknowledgements.
    sent: VecDeque<Sent>,
    limit: usize,
    last_id: u16,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Sent {
    packet_id: u16,
    pub(crate) payload_bytes: usize,
    /// Who waits for the acknowledgement.
    pub(crate) confirm: Option<oneshot::Sender<()>>,
}

impl InFlight {
    pub(crate) fn new(limit: u16) -> Self {
        Self { sent: VecDeque::new(), limit: usize::from(limit.max(1)), last_id: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.sent.len() < self.limit
    }

    /// Gives the next message its packet id: never 0, never one that is in flight.
    pub(crate) fn enter(&mut self, payload_bytes: usize, confirm: Option<oneshot::Sender<()>>) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.sent.iter().all(|sent| sent.packet_id != self.last_id) {
                break;
            }
        }
        self.sent.push_back(Sent { packet_id: self.last_id, payload_bytes, confirm });
        self.last_id
    }

    /// What is acknowledged, or `None` if nothing with this id is in flight.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Option<Sent> {
        let position = self.sent.iter().position(|sent| sent.packet_id == packet_id)?;
        self.sent.remove(position)
    }
}
