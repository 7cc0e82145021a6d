//! What must hold for the view and the meta values of every store.

use std::collections::BTreeSet;

use distribution::view::{Change, FileInfo, Registration, View};
use proptest::prelude::*;
use protocol::{ClientId, Hash, Revision};
use storage::Store;
use storage::meta::{CLIENT_ID, EPOCH, SEEN_TRACKER};
use uuid::Uuid;

use crate::backend::{Backend, InMemory};

const FRAGMENT_SIZE_BYTES: u64 = 1024;

fn hash(name: &str, number: usize) -> Hash {
    Hash::of(format!("{name} {number}").as_bytes())
}

fn client(number: usize) -> ClientId {
    format!("torrent-{number}").parse().unwrap()
}

fn registration(number: usize, endpoints: usize) -> Registration {
    Registration {
        endpoints: (1..=endpoints)
            .map(|port| format!("grpc://host-{number}:{port}").parse().unwrap())
            .collect(),
        capacity_bytes: (number.is_multiple_of(2)).then_some(number as u64 * 1000),
        zone: (number.is_multiple_of(3)).then(|| format!("Rack {number}").parse().unwrap()),
    }
}

/// A file of full fragments, which are named by the numbers.
fn file(fragments: &[usize]) -> FileInfo {
    FileInfo {
        size_bytes: fragments.len() as u64 * FRAGMENT_SIZE_BYTES,
        fragments: fragments.iter().map(|number| hash("fragment", *number)).collect(),
        name: (fragments.len().is_multiple_of(2))
            .then(|| format!("maps/{}", fragments.len()).parse().unwrap()),
    }
}

/// Applies changes to the view, and those that it accepts to the store.
fn apply(view: &mut View, store: &Store, changes: &[Change]) {
    let accepted: Vec<_> = changes.iter().filter(|change| view.apply(change).is_ok()).cloned().collect();
    view.set_revision(view.revision().next());
    store.view().apply(&accepted, view.revision()).unwrap();
}

fn first_changes() -> Vec<Change> {
    vec![
        Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES },
        Change::FilePublished { hash: hash("file", 0), file: file(&[0, 1, 1, 2]) },
        Change::ClientRegistered {
            client: client(0),
            registration: registration(0, 2),
            stored: [hash("fragment", 0), hash("unknown", 0)].into(),
        },
    ]
}

pub fn a_fresh_view_is_empty<B: Backend>() {
    let backend = B::new();
    assert_eq!(backend.open().view().load().unwrap(), View::new());
}

pub fn a_view_is_the_same_after_reopening<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let mut view = View::new();
    apply(&mut view, &store, &first_changes());
    store.flush().unwrap();
    assert_eq!(backend.copy().open().view().load().unwrap(), view);
    let received = Change::FragmentDistributed {
        hash: hash("fragment", 2),
        size_bytes: FRAGMENT_SIZE_BYTES,
        receivers: [client(0), client(9)].into(),
    };
    apply(&mut view, &store, &[received]);
    assert_eq!(store.view().load().unwrap(), view);
    drop(store);
    let store = backend.open();
    // Changes go on without a load before them.
    apply(&mut view, &store, &[Change::FileRemoved { hash: hash("file", 0) }]);
    let loaded = store.view().load().unwrap();
    loaded.check_invariants().unwrap();
    assert_eq!(loaded, view);
    assert_eq!(loaded.revision(), Revision(3));
}

pub fn a_long_file_and_many_holders_fit<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let mut view = View::new();
    let fragments: Vec<usize> = (0..1000).collect();
    apply(
        &mut view,
        &store,
        &[
            Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES },
            Change::FilePublished { hash: hash("file", 0), file: file(&fragments) },
        ],
    );
    let stored: BTreeSet<_> = fragments.iter().map(|number| hash("fragment", *number)).collect();
    for number in 0..150 {
        let (client, registration) = (client(number), registration(number, 1));
        let stored = if number < 3 { stored.clone() } else { [hash("fragment", 0)].into() };
        apply(&mut view, &store, &[Change::ClientRegistered { client, registration, stored }]);
    }
    drop(store);
    assert_eq!(backend.open().view().load().unwrap(), view);
}

pub fn a_torrent_that_registers_again_holds_only_what_it_says<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    let mut view = View::new();
    apply(&mut view, &store, &first_changes());
    for stored in [1, 2, 0] {
        apply(&mut view, &store, &[Change::ClientUnregistered { client: client(0) }]);
        store.flush().unwrap();
        assert_eq!(backend.copy().open().view().load().unwrap(), view);
        let stored = [hash("fragment", stored)].into();
        apply(
            &mut view,
            &store,
            &[Change::ClientRegistered { client: client(0), registration: registration(0, 1), stored }],
        );
        store.flush().unwrap();
        assert_eq!(backend.copy().open().view().load().unwrap(), view);
    }
}

pub fn a_cleared_view_begins_anew<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    store.meta().set(EPOCH, &7).unwrap();
    apply(&mut View::new(), &store, &first_changes());
    store.view().clear().unwrap();
    assert_eq!(store.view().load().unwrap(), View::new());
    let mut view = View::new();
    apply(&mut view, &store, &first_changes());
    drop(store);
    let store = backend.open();
    assert_eq!(store.view().load().unwrap(), view);
    assert_eq!(store.meta().get(EPOCH).unwrap(), Some(7), "clearing the view touches nothing else");
}

pub fn meta_values_are_kept<B: Backend>() {
    let backend = B::new();
    let store = backend.open();
    assert_eq!(store.meta().get(EPOCH).unwrap(), None);
    let id = Uuid::from_u128(5);
    store.meta().set(EPOCH, &u64::MAX).unwrap();
    store.meta().set(SEEN_TRACKER, &id).unwrap();
    store.meta().set(CLIENT_ID, &"torrent-ä".to_owned()).unwrap();
    store.meta().set(EPOCH, &3).unwrap();
    assert!(store.meta().set(CLIENT_ID, &"x".repeat(5000)).is_err());
    store.flush().unwrap();
    for store in [backend.copy().open(), store] {
        assert_eq!(store.meta().get(EPOCH).unwrap(), Some(3));
        assert_eq!(store.meta().get(SEEN_TRACKER).unwrap(), Some(id));
        assert_eq!(store.meta().get(CLIENT_ID).unwrap().as_deref(), Some("torrent-ä"));
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let fragment = || (0..8_usize).prop_map(|number| hash("fragment", number));
    let clients = || 0..4_usize;
    let a_file = || {
        // The hash follows from the sequence, so that the same file is often published twice.
        prop::collection::vec(0..8_usize, 0..6)
            .prop_map(|fragments| (Hash::of(format!("{fragments:?}").as_bytes()), file(&fragments)))
    };
    prop_oneof![
        Just(Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES }),
        a_file().prop_map(|(hash, file)| Change::FilePublished { hash, file }),
        a_file().prop_map(|(hash, _)| Change::FileRemoved { hash }),
        // 1000 contradicts what the files say, and is refused where there is one.
        (fragment(), prop_oneof![Just(1000), Just(FRAGMENT_SIZE_BYTES)])
            .prop_map(|(hash, size_bytes)| Change::FragmentAdded { hash, size_bytes }),
        fragment().prop_map(|hash| Change::FragmentRemoved { hash }),
        (clients(), 0..3_usize, prop::collection::btree_set(fragment(), 0..8)).prop_map(
            |(number, endpoints, stored)| Change::ClientRegistered {
                client: client(number),
                registration: registration(number, endpoints),
                stored,
            }
        ),
        clients().prop_map(|number| Change::ClientUnregistered { client: client(number) }),
        (fragment(), prop::collection::btree_set(clients().prop_map(client), 0..4)).prop_map(
            |(hash, receivers)| Change::FragmentDistributed {
                hash,
                size_bytes: FRAGMENT_SIZE_BYTES,
                receivers
            }
        ),
        (fragment(), clients())
            .prop_map(|(hash, number)| Change::HolderRemoved { hash, client: client(number) }),
        (prop::collection::btree_set(fragment(), 0..3), prop::collection::btree_set(fragment(), 0..3))
            .prop_map(|(files, fragments)| Change::TombstonesAdded { files, fragments }),
        Just(Change::TombstonesForgotten),
        (clients(), any::<bool>())
            .prop_map(|(number, is_draining)| Change::DrainSet { client: client(number), is_draining }),
    ]
}

proptest! {
    /// The one rule of the view store: it does to the entities what the view does to itself.
    #[test]
    fn the_stored_view_is_the_view(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 0..6), 1..40),
        reopen_after in 0..40_usize,
        flush_every in 1..8_usize,
    ) {
        let backend = InMemory::new();
        let mut store = backend.open();
        let mut view = View::new();
        apply(&mut view, &store, &[Change::FragmentSizeSet { fragment_size_bytes: FRAGMENT_SIZE_BYTES }]);
        for (step, batch) in batches.iter().enumerate() {
            apply(&mut view, &store, batch);
            if step == reopen_after {
                drop(store);
                store = backend.open();
            }
            // What was not flushed waits, and must still add up.
            if step % flush_every != 0 {
                continue;
            }
            store.flush().unwrap();
            let loaded = backend.copy().open().view().load().unwrap();
            prop_assert_eq!(&loaded, &view);
            prop_assert_eq!(loaded.digest(), view.digest());
            prop_assert_eq!(loaded.orders(), view.orders());
        }
    }
}
