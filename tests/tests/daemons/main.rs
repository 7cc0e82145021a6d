//! Real daemons on real brokers: what a user would see, from outside.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod main_job;
mod support;
