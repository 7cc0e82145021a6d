//! Real daemons on real brokers: what a user would see, from outside.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod access_list;
mod alone;
mod bad_holders;
mod broker_limits;
mod configuration;
mod crashes;
mod damage;
mod denied;
mod full_disk;
mod goodbye;
mod hostile;
mod http;
mod http_downloaders;
mod http_hosts;
mod http_limits;
mod main_job;
mod many_readers;
mod metrics;
mod odd_files;
mod one_tracker;
mod recovery;
mod sabotage;
mod spec_only;
mod startup;
mod supervised;
mod support;
