//! Who can be asked, and how each of them did.

use std::collections::{BTreeMap, BTreeSet};

use protocol::EndpointUri;

use crate::client::ReceivedBytes;

use super::plan::Dropped;

/// Whom a download asks.
#[derive(Debug, Default)]
pub struct Holders {
    holders: Vec<Holder>,
    by_name: BTreeMap<String, usize>,
}

/// One that is asked.
#[derive(Debug)]
pub struct Holder {
    /// The torrent's identifier, or the endpoint of a daemon of which no more is known.
    pub name: String,
    endpoints: Vec<EndpointUri>,
    /// Whether it is asked for parts of the file, which it may have to fetch itself, and not for fragments that it has.
    pub is_relay: bool,
    /// Which of the endpoints is asked.
    current: usize,
    pub fragments: u64,
    pub bytes: u64,
    pub failures: u64,
    /// Whether it failed the last request that has ended.
    pub failed_last: bool,
    pub received: ReceivedBytes,
}

/// How one holder did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderReport {
    /// The torrent's identifier, or the endpoint of a daemon of which no more is known.
    pub name: String,
    /// Fragments taken from it.
    pub fragments: u64,
    /// Bytes of these fragments.
    pub bytes: u64,
    /// Bytes of all its answers to requests for fragments, as they came; [`Finished::received_bytes`](super::Finished::received_bytes) is
    /// the sum.
    pub received_bytes: u64,
    /// Requests that it did not answer with the fragment.
    pub failures: u64,
    /// Why it was asked no more, if so.
    pub dropped: Option<Dropped>,
}

impl Holders {
    /// The index of the holder of that name, if it is known.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The holder that can be asked at `endpoint` for fragments that it has.
    pub fn at_endpoint(&self, endpoint: &EndpointUri) -> Option<usize> {
        self.holders.iter().position(|holder| holder.has_fragments_at(endpoint))
    }

    /// Adds a holder, with the next index.
    pub fn add(&mut self, name: String, endpoints: Vec<EndpointUri>, is_relay: bool) -> usize {
        let index = self.holders.len();
        self.by_name.insert(name.clone(), index);
        let (current, fragments, bytes, failures, received) = (0, 0, 0, 0, ReceivedBytes::default());
        self.holders.push(Holder {
            name,
            endpoints,
            is_relay,
            current,
            fragments,
            bytes,
            failures,
            failed_last: false,
            received,
        });
        index
    }

    /// The holder of that index.
    pub fn get_mut(&mut self, index: usize) -> &mut Holder {
        &mut self.holders[index]
    }

    /// Who did not deliver what it was asked for last, and those of whom something is `awaited`.
    pub fn silent(&self, awaited: &BTreeSet<usize>) -> Vec<String> {
        let holders = self.holders.iter().enumerate().filter(|(_, holder)| !holder.is_relay);
        let silent = holders.filter(|(index, holder)| holder.failed_last || awaited.contains(index));
        silent.map(|(_, holder)| holder.name.clone()).collect()
    }

    /// How each did. `dropped` says who is asked no more.
    pub fn reports(&self, dropped: impl Fn(usize) -> Option<Dropped>) -> Vec<HolderReport> {
        let report = |(index, holder): (usize, &Holder)| HolderReport {
            name: holder.name.clone(),
            fragments: holder.fragments,
            bytes: holder.bytes,
            received_bytes: holder.received.get(),
            failures: holder.failures,
            dropped: dropped(index),
        };
        self.holders.iter().enumerate().map(report).collect()
    }
}

impl Holder {
    /// Where to ask; none if it told no endpoint that can be dialled.
    pub fn endpoint(&self) -> Option<&EndpointUri> {
        self.endpoints.get(self.current)
    }

    /// Which of the endpoints is asked.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// That endpoint did not answer: use the next one, unless it has been left already.
    pub fn use_another_than(&mut self, endpoint: usize) {
        if self.current == endpoint {
            self.current = (self.current + 1) % self.endpoints.len().max(1);
        }
    }

    /// Whether it can be asked there for fragments that it has.
    fn has_fragments_at(&self, endpoint: &EndpointUri) -> bool {
        !self.is_relay && self.endpoints.contains(endpoint)
    }
}
