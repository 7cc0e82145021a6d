//! The procedures of the specification and their alternatives, one file a conversation, on the real machines in a simulated service.
//!
//! The alternatives of the startups (connecting or subscribing fails) are the shells' and are tested with real brokers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod crashes;
mod damage;
mod distribution;
mod distribution_failures;
mod drains;
mod files;
mod hostile;
mod join;
mod join_conflicts;
mod leases;
mod log;
mod lost_and_doubled;
mod presence;
mod recovery;
mod release;
mod removal;
mod repairs;
mod sabotage;
mod spec_only;
mod undeleted;
