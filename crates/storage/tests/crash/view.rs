//! A crash leaves the view as it was after some step, and not before the last flush.

use std::collections::BTreeSet;
use std::sync::Arc;

use distribution::view::{Change, FileInfo, Registration, View};
use protocol::{ClientId, Hash, Revision};
use storage::{FragmentsOptions, Store, StoreOptions};
use uuid::Uuid;

use crate::simulated::{Fault, Lie, Random, Simulated};

fn hash(number: usize) -> Hash {
    Hash::of(&number.to_le_bytes())
}

fn torrent(number: usize) -> ClientId {
    format!("torrent-{number}").parse().unwrap()
}

fn file(fragments: std::ops::Range<usize>) -> FileInfo {
    let fragments: Vec<Hash> = fragments.map(hash).collect();
    FileInfo { size_bytes: 1024 * fragments.len() as u64, fragments: fragments.into(), name: None }
}

fn registered(number: usize, stored: std::ops::Range<usize>) -> Change {
    Change::ClientRegistered {
        client: torrent(number),
        registration: Registration {
            endpoints: [format!("grpc://host-{number}:1").parse().unwrap()].into(),
            ..Registration::default()
        },
        stored: stored.map(hash).collect(),
    }
}

fn added(number: usize) -> Change {
    Change::FragmentAdded { hash: hash(number), size_bytes: 1024 }
}

/// The fragments of the first file: more than are written together.
const MANY: usize = 1500;

/// Steps of several changes each, with so many fragments in the first file.
pub fn steps(fragments: usize) -> Vec<Vec<Change>> {
    let nth = |number: usize| number * fragments / MANY;
    let some = |numbers: std::ops::Range<usize>| nth(numbers.start)..nth(numbers.end);
    let file = |fragments| file(some(fragments));
    let registered = |number, stored| registered(number, some(stored));
    let distributed = |number, receivers: BTreeSet<ClientId>| Change::FragmentDistributed {
        hash: hash(nth(number)),
        size_bytes: 1024,
        receivers,
    };
    vec![
        vec![
            Change::FragmentSizeSet { fragment_size_bytes: 1024 },
            Change::FilePublished { hash: hash(1), file: file(0..MANY) },
        ],
        vec![registered(0, 0..0), registered(1, 0..1200)],
        vec![distributed(0, [torrent(0), torrent(1)].into()), distributed(5, [torrent(0)].into())],
        vec![registered(1, 100..MANY), Change::FileRemoved { hash: hash(1) }],
        vec![Change::FilePublished { hash: hash(2), file: file(1400..1600) }, registered(1, 1300..1600)],
        vec![
            Change::ClientUnregistered { client: torrent(0) },
            distributed(1450, [torrent(0), torrent(1)].into()),
        ],
        vec![registered(0, 1400..1500), Change::HolderRemoved { hash: hash(nth(1450)), client: torrent(1) }],
        vec![registered(3, 1590..1600)],
        // What one registration adds is on its way before the end of the other: that must not take the other's holders along.
        vec![Change::ClientUnregistered { client: torrent(1) }, registered(2, 1400..1600)],
        vec![distributed(1300, [torrent(2)].into())],
    ]
}

fn open(machine: &Simulated) -> Store {
    let options =
        StoreOptions { fragments: FragmentsOptions { reserve_bytes: 0, ..FragmentsOptions::default() } };
    let (disk, engine) = (Arc::new(machine.clone()), Arc::new(machine.clone()));
    Store::open_on(disk, engine, Uuid::from_u128(3), options).unwrap()
}

/// Applies the steps, flushes after every other one; the views after each step, and the revision of the last flush.
fn run(store: &Store) -> (Vec<View>, Revision) {
    let mut view = View::new();
    let (mut views, mut flushed) = (vec![view.clone()], Revision(0));
    for (count, changes) in steps(MANY).iter().enumerate() {
        changes.iter().for_each(|change| view.apply(change).unwrap());
        view.set_revision(Revision(count as u64 + 1));
        views.push(view.clone());
        let applied = store.view().apply(changes, view.revision());
        if applied.is_ok() && count % 2 == 1 && store.flush().is_ok() {
            flushed = view.revision();
        }
    }
    (views, flushed)
}

#[test]
fn a_crash_at_any_call_leaves_a_view_that_once_was() {
    try_every_call(None);
}

pub fn try_every_call(lie: Option<Lie>) {
    let quiet = Simulated::default();
    let (views, flushed) = run(&open(&quiet));
    assert_eq!(flushed, Revision(10));
    assert_eq!(&open(&quiet).view().load().unwrap(), views.last().unwrap());
    let mut seen = BTreeSet::new();
    for at in 1..=quiet.with(|machine| machine.calls) {
        for outcome in 0..4 {
            let machine = Simulated::default();
            let store = open(&machine);
            machine.with(|machine| {
                (machine.fault_at, machine.lie) = (Some((machine.calls + at, Fault::Crash)), lie);
            });
            let (views, flushed) = run(&store);
            drop(store);
            let after = machine.after_crash(&mut Random(at * 100 + outcome + 1), true);
            let store = open(&after);
            let loaded = store.view().load().unwrap();
            loaded.check_invariants().unwrap();
            assert!(loaded.revision() >= flushed, "call {at}: revision {} was flushed", flushed);
            assert_eq!(&loaded, &views[usize::try_from(loaded.revision().0).unwrap()], "call {at}");
            seen.insert(loaded.revision());
            // And it can go on from there: what a crash has kept from coming to be has left nothing that counts.
            let mut goes_on: Vec<Change> = (0..1600).map(added).collect();
            goes_on.push(registered(7, 1400..1600));
            let mut expected = loaded;
            goes_on.iter().for_each(|change| expected.apply(change).unwrap());
            expected.set_revision(expected.revision().next());
            store.view().apply(&goes_on, expected.revision()).unwrap();
            assert_eq!(store.view().load().unwrap(), expected, "call {at}, later");
        }
    }
    assert!(seen.len() >= 3, "the crashes left only {seen:?}");
}
