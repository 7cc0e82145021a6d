//! What a running store knows against fragments that its index lists.
//!
//! Wrong bytes, and a file that ends before them, prove damage. That the disk cannot read them proves nothing at first: a controller or a
//! cable that fails for a minute says the same of every fragment. So it counts only when it is still so at a later verification.

use std::collections::{HashMap, HashSet};

use protocol::Hash;

use super::index::Location;

/// Most fragments that are remembered because they could not be read. Those beyond wait until others are given up or read well.
const MAX_UNREADABLE: usize = 65_536;

/// The fragments in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Not reported as here, and overwritten by the next put.
    damaged: HashSet<Hash>,
    /// Those that a verification could not read.
    unreadable: HashMap<Hash, Unreadable>,
}

#[derive(Debug, Clone, Copy)]
struct Unreadable {
    /// One that has been put anew begins anew.
    location: Location,
    is_given_up: bool,
}

impl Doubts {
    pub fn is_damaged(&self, hash: &Hash) -> bool {
        self.damaged.contains(hash)
    }

    pub fn set_damaged(&mut self, hash: Hash) {
        self.damaged.insert(hash);
    }

    /// A verification could not read this. Whether an earlier one could not either: then it is damaged.
    pub fn set_unreadable(&mut self, hash: Hash, location: Location) -> bool {
        let is_given_up = self.unreadable.get(&hash).is_some_and(|before| before.location == location);
        if is_given_up {
            self.damaged.insert(hash);
        } else if self.unreadable.len() >= MAX_UNREADABLE && !self.unreadable.contains_key(&hash) {
            return false;
        }
        self.unreadable.insert(hash, Unreadable { location, is_given_up });
        is_given_up
    }

    /// Whether two verifications could not read this.
    pub fn is_given_up(&self, hash: &Hash, location: Location) -> bool {
        self.unreadable.get(hash).is_some_and(|now| now.location == location && now.is_given_up)
    }

    /// It has been read well, put anew, or is gone.
    pub fn forget(&mut self, hash: &Hash) {
        self.damaged.remove(hash);
        self.unreadable.remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragments::record::Place;

    fn at(offset: u32) -> Location {
        Location { place: Place { segment: 0, offset }, length_bytes: 1 }
    }

    fn nth(number: usize) -> Hash {
        Hash::of(&number.to_le_bytes())
    }

    #[test]
    fn what_cannot_be_read_twice_at_the_same_place_is_given_up() {
        let mut doubts = Doubts::default();
        assert!(!doubts.set_unreadable(nth(1), at(0)) && !doubts.is_given_up(&nth(1), at(0)));
        assert!(!doubts.set_unreadable(nth(1), at(9)), "it was put anew");
        assert!(doubts.set_unreadable(nth(1), at(9)) && doubts.is_damaged(&nth(1)));
        assert!(doubts.is_given_up(&nth(1), at(9)) && !doubts.is_given_up(&nth(1), at(0)));
        doubts.forget(&nth(1));
        assert!(!doubts.is_damaged(&nth(1)) && !doubts.set_unreadable(nth(1), at(9)));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut doubts = Doubts::default();
        for pass in 0..2 {
            let given_up =
                (0..MAX_UNREADABLE + 10).filter(|number| doubts.set_unreadable(nth(*number), at(0)));
            assert_eq!(given_up.count(), pass * MAX_UNREADABLE);
            assert_eq!(doubts.unreadable.len(), MAX_UNREADABLE);
        }
        doubts.forget(&nth(0));
        assert!(!doubts.set_unreadable(nth(MAX_UNREADABLE), at(0)), "there is room");
        assert!(doubts.set_unreadable(nth(MAX_UNREADABLE), at(0)));
    }
}
