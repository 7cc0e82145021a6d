//! Real daemons on real brokers: what a user would see, from outside.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod access_list;
mod alone;
mod broker_limits;
mod crashes;
mod damage;
mod denied;
mod goodbye;
mod hostile;
mod main_job;
mod odd_files;
mod one_tracker;
mod spec_only;
mod startup;
mod supervised;
mod support;
