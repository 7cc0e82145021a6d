//! In which order a holder is asked for what it holds: rarest first, or in file order where the bytes are needed in order.
//!
//! All fragments stand in one row, which never changes; what is open and what each holder holds are sets of places in that row, a bit
//! each. So the next fragment of a holder is the first bit that two sets have in common, and a cursor remembers how far the row is known to
//! have nothing for it.

/// How many bytes of the file are shuffled together. Two such blocks fit into what the digest of the whole file keeps in memory, so that
/// little has to be read back.
const BLOCK_BYTES: u64 = 8 << 20;

/// A set of places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places(Vec<u64>);

impl Places {
    fn none_of(places: usize) -> Self {
        Self(vec![0; places.div_ceil(64)])
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    /// Says whether that changed anything.
    fn set(&mut self, place: usize, is_in: bool) -> bool {
        let (word, bit) = (&mut self.0[place / 64], 1 << (place % 64));
        let before = *word;
        *word = if is_in { *word | bit } else { *word & !bit };
        before != *word
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

/// Open fragments that equally many holders have.
#[derive(Debug)]
struct Class {
    open: Places,
    number: usize,
}

#[derive(Debug)]
struct Held {
    places: Places,
    is_in_use: bool,
    /// By class: words of the row before this one have no open fragment of the class that it holds.
    cursors: Vec<usize>,
}

/// Which fragments are open, who holds them, and which of them comes first.
#[derive(Debug)]
pub(super) struct Order {
    is_by_rarity: bool,
    /// By fragment.
    places: Vec<usize>,
    /// By place.
    fragments: Vec<usize>,
    is_open: Places,
    /// By place: how many holders in use have it.
    copies: Vec<usize>,
    /// By the number of copies; all are in the first where rarity does not matter.
    classes: Vec<Class>,
    holders: Vec<Held>,
    /// `copies`, `classes` and the cursors are to be computed anew.
    is_stale: bool,
    /// Words looked at, to see that it does not search.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Order {
    /// Fragments of these sizes in bytes, in file order, all open. Rarest first, and among equals block by block of the file, at random
    /// within a block.
    pub(super) fn by_rarity(sizes_bytes: &[u64], seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut offset_bytes = 0;
        let mut row: Vec<(u64, u64, usize)> = Vec::with_capacity(sizes_bytes.len());
        for (fragment, size_bytes) in sizes_bytes.iter().enumerate() {
            row.push((offset_bytes / BLOCK_BYTES, rng.u64(..), fragment));
            offset_bytes += size_bytes;
        }
        row.sort_unstable();
        Self::new(true, row.into_iter().map(|(_, _, fragment)| fragment).collect())
    }

    /// So many fragments in file order, all open.
    pub(super) fn in_file_order(fragments: usize) -> Self {
        Self::new(false, (0..fragments).collect())
    }

    fn new(is_by_rarity: bool, fragments: Vec<usize>) -> Self {
        let number = fragments.len();
        let mut places = vec![0; number];
        let mut is_open = Places::none_of(number);
        for (place, fragment) in fragments.iter().enumerate() {
            places[*fragment] = place;
            is_open.set(place, true);
        }
        Self {
            is_by_rarity,
            places,
            fragments,
            is_open,
            copies: vec![0; number],
            classes: Vec::new(),
            holders: Vec::new(),
            is_stale: true,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// Another holder, which holds nothing yet.
    pub(super) fn add_holder(&mut self) {
        let places = Places::none_of(self.fragments.len());
        self.holders.push(Held { places, is_in_use: true, cursors: Vec::new() });
        self.is_stale = true;
    }

    /// `holder` holds these, too. Says how many of them are news.
    pub(super) fn hold(&mut self, holder: usize, fragments: impl IntoIterator<Item = usize>) -> usize {
        let (places, held) = (&self.places, &mut self.holders[holder].places);
        let news = fragments.into_iter().filter(|fragment| held.set(places[*fragment], true)).count();
        self.is_stale |= news > 0;
        news
    }

    /// `holder` does not hold this one after all. Says whether that is news.
    pub(super) fn release(&mut self, holder: usize, fragment: usize) -> bool {
        let (place, held) = (self.places[fragment], &mut self.holders[holder]);
        let is_news = held.places.set(place, false);
        if is_news && held.is_in_use && !self.is_stale {
            // One at a time, because a holder may have forgotten all it had, and is asked for each.
            let is_open = self.is_open.has(place);
            if is_open {
                self.leave_class(place);
            }
            self.copies[place] -= 1;
            if is_open {
                self.enter_class(place);
            }
        }
        is_news
    }

    /// Whether `holder` counts.
    pub(super) fn use_holder(&mut self, holder: usize, is_in_use: bool) {
        let held = &mut self.holders[holder];
        self.is_stale |= held.is_in_use != is_in_use;
        held.is_in_use = is_in_use;
    }

    /// Whether `holder` holds `fragment`.
    pub(super) fn holds(&self, holder: usize, fragment: usize) -> bool {
        self.holders[holder].places.has(self.places[fragment])
    }

    /// Whether a holder in use has `fragment`.
    pub(super) fn has_holder(&self, fragment: usize) -> bool {
        (0..self.holders.len()).any(|holder| self.holders[holder].is_in_use && self.holds(holder, fragment))
    }

    /// The fragment is asked for, or there.
    pub(super) fn close(&mut self, fragment: usize) {
        let place = self.places[fragment];
        if self.is_open.set(place, false) && !self.is_stale {
            self.leave_class(place);
        }
    }

    /// The fragment is to be asked for again.
    pub(super) fn reopen(&mut self, fragment: usize) {
        let place = self.places[fragment];
        if self.is_open.set(place, true) && !self.is_stale {
            self.enter_class(place);
        }
    }

    /// The open fragment that `holder` is to be asked for first.
    pub(super) fn first(&mut self, holder: usize) -> Option<usize> {
        if self.is_stale {
            self.recount();
        }
        let Held { places, cursors, .. } = &mut self.holders[holder];
        for (class, cursor) in self.classes.iter().zip(cursors).filter(|(class, _)| class.number > 0) {
            while let Some((open, held)) = class.open.0.get(*cursor).zip(places.0.get(*cursor)) {
                #[cfg(test)]
                {
                    self.looked_at += 1;
                }
                let both = open & held;
                if both != 0 {
                    return Some(self.fragments[*cursor * 64 + both.trailing_zeros() as usize]);
                }
                *cursor += 1;
            }
        }
        None
    }

    fn class_of(&self, place: usize) -> usize {
        if self.is_by_rarity { self.copies[place] } else { 0 }
    }

    fn leave_class(&mut self, place: usize) {
        let class = self.class_of(place);
        self.classes[class].open.set(place, false);
        self.classes[class].number -= 1;
    }

    fn enter_class(&mut self, place: usize) {
        let class = self.class_of(place);
        self.classes[class].open.set(place, true);
        self.classes[class].number += 1;
        for held in &mut self.holders {
            held.cursors[class] = held.cursors[class].min(place / 64);
        }
    }

    fn recount(&mut self) {
        self.is_stale = false;
        self.copies.fill(0);
        for held in self.holders.iter().filter(|held| held.is_in_use) {
            held.places.iter().for_each(|place| self.copies[place] += 1);
        }
        let classes = if self.is_by_rarity { self.copies.iter().max().map_or(1, |most| most + 1) } else { 1 };
        let empty = || Class { open: Places::none_of(self.fragments.len()), number: 0 };
        self.classes = std::iter::repeat_with(empty).take(classes).collect();
        for held in &mut self.holders {
            held.cursors = vec![0; classes];
        }
        for place in self.is_open.iter() {
            let class = self.class_of(place);
            self.classes[class].open.set(place, true);
            self.classes[class].number += 1;
        }
    }
}
