//! What stands on the bus, seen from outside the crate: the golden files, the rules of encoding, and everything that is no event.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod any_bytes;
mod arbitrary;
mod document;
mod encoding;
mod golden;
mod hostile;
mod limits;
mod samples;
mod specification;
