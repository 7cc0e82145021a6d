//! The Distribution View, durably: applies changes to the entities in the database, and makes a view of them at start.
//!
//! It keeps no second view in memory, only what a change alone does not tell: the numbers of the registered torrents, and how
//! many files use a fragment. What it does for a change must be what `View::apply` does; the tests compare the two.

mod apply;
mod encoding;
mod load;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distribution::view::{Change, View};
use protocol::{ClientId, Hash, Revision};

use crate::engine::{Batch, Engine, EngineError, Space};
use crate::health::{Health, StoreFailed};

pub use load::LoadError;

use apply::Pending;
use encoding::{Head, Number};

/// The view of one store. Clones share it.
#[derive(Debug, Clone)]
pub struct ViewStore {
    engine: Arc<dyn Engine>,
    health: Health,
    state: Arc<Mutex<State>>,
}

/// Changes wait here until the next flush, because a batch costs the database as much as a hundred entities.
#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    pending: Pending,
}

/// Entities that may wait; more are written without being flushed.
const MAX_PENDING: usize = 4096;

/// What has to be known to apply a change.
#[derive(Debug, Default)]
struct Known {
    head: Head,
    registrations: HashMap<ClientId, Number>,
    live: BTreeSet<Number>,
    /// Registrations whose end is not handed to the database yet.
    leaving: BTreeSet<Number>,
    next_number: Number,
    /// How many files use a fragment, by the first eight bytes of its hash: half the memory, and the worst that two
    /// fragments with the same beginning do is that metadata stays a little longer.
    files_by_fragment: HashMap<u64, u32>,
}

impl Known {
    fn register(&mut self, client: ClientId, number: Number) {
        if let Some(before) = self.registrations.insert(client, number) {
            self.live.remove(&before);
        }
        self.live.insert(number);
        self.next_number = self.next_number.max(number.saturating_add(1));
    }

    fn unregister(&mut self, client: &ClientId) -> Option<Number> {
        let number = self.registrations.remove(client)?;
        self.live.remove(&number);
        self.leaving.insert(number);
        Some(number)
    }

    fn use_fragment(&mut self, fragment: &Hash) {
        *self.files_by_fragment.entry(beginning(fragment)).or_default() += 1;
    }

    /// Whether no file uses the fragment any more.
    fn disuse_fragment(&mut self, fragment: &Hash) -> bool {
        let Some(files) = self.files_by_fragment.get_mut(&beginning(fragment)) else { return true };
        *files -= 1;
        let is_last = *files == 0;
        if is_last {
            self.files_by_fragment.remove(&beginning(fragment));
        }
        is_last
    }

    fn is_in_a_file(&self, fragment: &Hash) -> bool {
        self.files_by_fragment.contains_key(&beginning(fragment))
    }
}

fn beginning(hash: &Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl ViewStore {
    pub(crate) fn new(engine: Arc<dyn Engine>, health: Health) -> Self {
        Self { engine, health, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view as the changes so far have left it.
    pub fn load(&self) -> Result<View, ViewError> {
        let mut state = self.state();
        self.write(&mut state)?;
        let (view, known) = load::load(&*self.engine)?;
        state.known = Some(known);
        Ok(view)
    }

    /// Applies changes that a view has accepted, in order and atomically, and says that the view is then at `revision`.
    ///
    /// Durable after the next flush of the store. Changes that a view would refuse must not be given.
    pub fn apply(&self, changes: &[Change], revision: Revision) -> Result<(), ViewError> {
        self.health.check()?;
        let mut state = self.state();
        let State { known, pending } = &mut *state;
        let known = match known {
            Some(known) => known,
            None => known.insert(load::load(&*self.engine)?.1),
        };
        apply::apply(&*self.engine, known, pending, changes, revision)
            .map_err(|error| self.health.fail("write the view", error))?;
        if pending.len() > MAX_PENDING {
            self.write(&mut state)?;
        }
        Ok(())
    }

    /// Hands all changes so far to the database.
    pub(crate) fn write_pending(&self) -> Result<(), StoreFailed> {
        self.write(&mut self.state())
    }

    fn write(&self, state: &mut State) -> Result<(), StoreFailed> {
        if state.pending.len() == 0 {
            return Ok(());
        }
        self.health.check()?;
        let batch = state.pending.take_batch();
        let written = batch.and_then(|batch| self.engine.apply(Space::View, batch));
        written.map_err(|error| self.health.fail("write the view", error))?;
        state.known.iter_mut().for_each(|known| known.leaving.clear());
        Ok(())
    }

    /// Forgets the whole view, atomically; the next join makes a new one. Durable after the next flush of the store.
    pub fn clear(&self) -> Result<(), ViewError> {
        self.health.check()?;
        let mut state = self.state();
        *state = State::default();
        self.remove_all().map_err(|error| self.health.fail("write the view", error).into())
    }

    fn remove_all(&self) -> Result<(), EngineError> {
        use encoding::{
            CLIENT, DELETED_FILE, DELETED_FRAGMENT, DRAINING, ENDPOINT, FILE, FRAGMENT, SEQUENCE,
        };
        let mut batch = Batch::default();
        let content = [HEAD_KIND, FILE, SEQUENCE, FRAGMENT, CLIENT, ENDPOINT];
        for kind in content.into_iter().chain([DELETED_FILE, DELETED_FRAGMENT, DRAINING]) {
            for pair in crate::engine::scan(&*self.engine, Space::View, &[kind]) {
                batch.remove(pair?.0);
            }
        }
        self.engine.apply(Space::View, batch)
    }
}

const HEAD_KIND: u8 = encoding::HEAD[0];

/// Why the view was not loaded, or changes were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// What is stored could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store no longer writes.
    #[error(transparent)]
    Failed(#[from] StoreFailed),
}

impl Drop for ViewStore {
    /// The last clone hands over what is pending, so that only a crash loses what was not flushed.
    fn drop(&mut self) {
        if Arc::strong_count(&self.state) == 1 {
            drop(self.write_pending());
        }
    }
}
