//! A digest of a set that is cheap to keep current while elements come and go.

use std::fmt;

use protocol::{ClientId, EndpointUri, Hash};
use sha2::{Digest, Sha256};

/// The sum, modulo 2^256, of the SHA-256 of each element: equal for equal sets, whatever the order in which they grew.
///
/// It finds mistakes, not adversaries: inside one service the participants trust each other's sums.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SetDigest([u64; 4]);

impl SetDigest {
    /// The sum as a hash, as heartbeats carry it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        Hash::from_bytes(bytes)
    }

    /// The digest of a set of fragments.
    #[must_use]
    pub fn of_fragments<'a>(fragments: impl IntoIterator<Item = &'a Hash>) -> Self {
        let mut digest = Self::default();
        for fragment in fragments {
            digest.add_fragment(fragment);
        }
        digest
    }

    pub(crate) fn add_fragment(&mut self, fragment: &Hash) {
        self.add(&Element::Fragment(fragment));
    }

    pub(crate) fn remove_fragment(&mut self, fragment: &Hash) {
        self.remove(&Element::Fragment(fragment));
    }

    pub(super) fn add(&mut self, element: &Element<'_>) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(element.words()).rev() {
            let (sum, over) = mine.overflowing_add(theirs);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = over || over_again;
        }
    }

    pub(super) fn remove(&mut self, element: &Element<'_>) {
        let mut borrow = false;
        for (mine, theirs) in self.0.iter_mut().zip(element.words()).rev() {
            let (rest, under) = mine.overflowing_sub(theirs);
            let (rest, under_again) = rest.overflowing_sub(u64::from(borrow));
            *mine = rest;
            borrow = under || under_again;
        }
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash().fmt(f)
    }
}

/// What is summed. Each kind has a tag and a fixed layout, so that no two elements have the same bytes.
pub enum Element<'a> {
    File { hash: &'a Hash, size_bytes: u64, fragments: &'a [Hash] },
    FragmentInfo { hash: &'a Hash, size_bytes: u64 },
    Endpoint { client: &'a ClientId, endpoint: &'a EndpointUri },
    Client(&'a ClientId),
    Holder { fragment: &'a Hash, client: &'a ClientId },
    Fragment(&'a Hash),
}

impl Element<'_> {
    fn words(&self) -> [u64; 4] {
        let mut sum = Sha256::new();
        match self {
            Self::File { hash, size_bytes, fragments } => {
                sum.update(b"file");
                sum.update(hash.as_bytes());
                sum.update(size_bytes.to_be_bytes());
                fragments.iter().for_each(|fragment| sum.update(fragment.as_bytes()));
            }
            Self::FragmentInfo { hash, size_bytes } => {
                sum.update(b"info");
                sum.update(hash.as_bytes());
                sum.update(size_bytes.to_be_bytes());
            }
            Self::Endpoint { client, endpoint } => {
                sum.update(b"endp");
                sum.update(client.as_str());
                sum.update(b"\n");
                sum.update(endpoint.as_str());
            }
            Self::Client(client) => {
                sum.update(b"clnt");
                sum.update(client.as_str());
            }
            Self::Holder { fragment, client } => {
                sum.update(b"hold");
                sum.update(fragment.as_bytes());
                sum.update(client.as_str());
            }
            Self::Fragment(fragment) => return words_of(fragment.as_bytes()),
        }
        words_of(&sum.finalize().into())
    }
}

fn words_of(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_be_bytes(chunk.try_into().expect("chunks of eight"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_removed_leaves_no_trace() {
        let hashes: Vec<Hash> = (0_u8..50).map(|n| Hash::of(&[n])).collect();
        let mut digest = SetDigest::default();
        hashes.iter().for_each(|hash| digest.add(&Element::Fragment(hash)));
        assert_eq!(digest, SetDigest::of_fragments(hashes.iter().rev()));
        hashes.iter().skip(1).for_each(|hash| digest.remove(&Element::Fragment(hash)));
        assert_eq!(digest.hash(), hashes[0]);
        digest.remove(&Element::Fragment(&hashes[0]));
        assert_eq!(digest, SetDigest::default());
    }
}
