//! A store that left out one of its calls would be caught: what the other tests show rests on each of them (S1, S2, S4, S19).

use std::panic::catch_unwind;

use crate::simulated::{Fault, Lie};
use crate::{try_every_call, view};

fn assert_caught(what: &str, run: fn()) {
    assert!(catch_unwind(run).is_err(), "nobody noticed that {what}");
}

#[test]
fn fragments_that_are_promised_before_they_are_synced_are_missed() {
    assert_caught("no file is synced", || try_every_call(Fault::Crash, 16, Some(Lie::SyncData)));
}

#[test]
fn files_whose_names_are_not_synced_are_missed() {
    assert_caught("no directory is synced", || try_every_call(Fault::Crash, 16, Some(Lie::SyncDir)));
}

#[test]
fn what_a_failed_sync_left_is_missed() {
    assert_caught("the store goes on after a failed sync", || {
        try_every_call(Fault::Io, 8, Some(Lie::FailedSync));
    });
}

#[test]
fn a_view_that_is_not_flushed_is_missed() {
    assert_caught("the view is not flushed", || view::try_every_call(Some(Lie::Flush)));
}
