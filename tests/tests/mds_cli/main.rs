//! The tool as a user meets it: real daemons on a real Mosquitto, the real program, its output and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod answers;
mod breaks;
mod content;
mod demo;
mod events;
mod golden;
mod kit;
mod terminal;
mod transfers;
mod upkeep;
mod verify;
mod watching;
