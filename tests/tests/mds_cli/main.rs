//! The tool as a user meets it: real daemons on a real Mosquitto, the real program, its output and its exit codes.

mod answers;
mod breaks;
mod content;
mod demo;
mod kit;
mod transfers;
