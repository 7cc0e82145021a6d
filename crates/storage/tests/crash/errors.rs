//! One error, and what the store does after it.

use storage::fragments::{DeleteError, Fragments, PutError};

use crate::simulated::{Fault, Machine, Simulated};
use crate::{nth, open};

/// Counts down to a sync that fails.
fn fail_the_next(machine: &Simulated, wanted: &'static str) -> Fragments {
    let fragments = open(machine);
    let next = machine.with(|machine| machine.calls) + 1;
    for at in next..next + 20 {
        let probe = Simulated::default();
        probe.with(|probe| probe.fault_at = Some((at, Fault::Io)));
        drop(open(&probe).put_batch(vec![nth(1)]));
        if probe.with(|probe| probe.failed_call) == Some(wanted) {
            machine.with(|machine| machine.fault_at = Some((at, Fault::Io)));
            return fragments;
        }
    }
    unreachable!("a put never calls {wanted}")
}

#[test]
fn after_a_failed_sync_the_store_writes_no_more_but_reads() {
    let machine = Simulated::default();
    let before = open(&machine);
    before.put_batch(vec![nth(9)]).remove(0).unwrap();
    drop(before);
    let machine = Simulated::default();
    let fragments = fail_the_next(&machine, "sync_data");
    let syncs = || machine.with(|machine| machine.calls);
    assert!(matches!(fragments.put_batch(vec![nth(1)]).remove(0), Err(PutError::Failed(_))));
    let calls = syncs();
    assert!(matches!(fragments.put_batch(vec![nth(2)]).remove(0), Err(PutError::Failed(_))));
    assert!(matches!(fragments.delete_batch(&[nth(1).0]), Err(DeleteError::Failed(_))));
    assert!(fragments.checkpoint().is_err());
    assert_eq!(syncs(), calls, "nothing was tried again");
    assert!(!fragments.contains(&nth(1).0));
}

#[test]
fn a_full_disk_refuses_one_fragment_and_takes_the_next() {
    let machine = Simulated::default();
    let fragments = fail_the_next(&machine, "write");
    let length =
        |machine: &Machine| machine.files.values().map(|file| file.lock().unwrap().now.len()).sum::<usize>();
    machine.with(|machine| machine.fault_at = machine.fault_at.map(|(at, _)| (at, Fault::NoSpace)));
    let results = fragments.put_batch(vec![nth(1)]);
    assert!(matches!(&results[0], Err(PutError::NoSpace { hash }) if *hash == nth(1).0));
    assert_eq!(machine.with(|machine| length(machine)), 0, "the half of it was cut off");
    fragments.put_batch(vec![nth(1), nth(2)]).into_iter().for_each(|result| result.unwrap());
    assert_eq!(fragments.read(&nth(1).0).unwrap(), nth(1).1);
    assert_eq!(fragments.len(), 2);
}
