//! V1 to V6, looked up in the view itself. Called by tests after every step.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Hash;

use super::digest::Element;
use super::{SetDigest, View};

/// An invariant that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// `V1` to `V6`, or what else is wrong.
    pub rule: &'static str,
    /// Where.
    pub what: String,
}

impl View {
    /// Checks V1 to V6, the counts and the digests.
    ///
    /// # Errors
    /// The first violation found.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_files()?;
        self.check_clients()?;
        if self.digest == self.digest_from_scratch() {
            Ok(())
        } else {
            Err(Violation { rule: "digest", what: "is not the sum of the content".into() })
        }
    }

    fn check_files(&self) -> Result<(), Violation> {
        let mut uses: BTreeMap<Hash, u32> = BTreeMap::new();
        for (hash, file) in &self.files {
            let violated = |rule, what: String| Violation { rule, what: format!("file {hash}: {what}") };
            let sizes = self
                .expected_fragments(*hash, file)
                .map_err(|error| violated("V3, V4", error.to_string()))?;
            for (fragment, size_bytes) in sizes {
                match self.fragment_bytes(&fragment) {
                    None => return Err(violated("V1", format!("fragment {fragment} has no metadata"))),
                    Some(known) if known != size_bytes => {
                        return Err(violated("V4", format!("fragment {fragment} has {known} bytes")));
                    }
                    Some(_) => *uses.entry(fragment).or_default() += 1,
                }
            }
        }
        let counted =
            self.fragments.iter().find(|(hash, entry)| uses.get(hash).copied().unwrap_or(0) != entry.files);
        counted.map_or(Ok(()), |(hash, _)| {
            Err(Violation { rule: "uses", what: format!("fragment {hash} is counted wrongly") })
        })
    }

    fn check_clients(&self) -> Result<(), Violation> {
        let mut endpoints = BTreeSet::new();
        for (id, client) in &self.clients {
            let inventory = self.inventory(id);
            let used_bytes: u64 = inventory.iter().filter_map(|fragment| self.fragment_bytes(fragment)).sum();
            if (client.used_bytes, client.fragments) != (used_bytes, inventory.len() as u64)
                || client.inventory != SetDigest::of_fragments(&inventory)
            {
                return Err(Violation { rule: "inventory", what: format!("of {id} is counted wrongly") });
            }
            for endpoint in &client.registration.endpoints {
                if !endpoints.insert(endpoint) {
                    return Err(Violation { rule: "V5", what: format!("endpoint {endpoint} of {id}") });
                }
            }
        }
        for (hash, entry) in &self.fragments {
            if let Some(key) = entry.holders.iter().find(|key| !self.clients_by_key.contains_key(key)) {
                return Err(Violation {
                    rule: "V6",
                    what: format!("fragment {hash} is held by key {}", key.0),
                });
            }
        }
        Ok(())
    }

    fn digest_from_scratch(&self) -> SetDigest {
        let mut digest = SetDigest::default();
        for (hash, file) in &self.files {
            let (size_bytes, fragments) = (file.size_bytes, &*file.fragments);
            digest.add(&Element::File { hash, size_bytes, fragments });
        }
        for (hash, size_bytes) in self.fragments() {
            digest.add(&Element::FragmentInfo { hash: &hash, size_bytes });
            for client in self.holders(&hash) {
                digest.add(&Element::Holder { fragment: &hash, client });
            }
        }
        for (id, client) in &self.clients {
            digest.add(&Element::Client(id));
            for endpoint in &client.registration.endpoints {
                digest.add(&Element::Endpoint { client: id, endpoint });
            }
        }
        digest
    }
}
