//! The tracker: a thin shell around `distribution::Tracker`, and the service that takes uploads.
//!
//! `config` says what it is told, `run` puts it together, `connection` makes sure that it is the only one, `event_loop` waits for one thing
//! at a time and carries out what follows, `uploads` turns a stream of bytes into durable fragments.

mod catalog;
pub mod config;
mod connection;
mod delivering;
mod event_loop;
mod fetching;
mod operations;
mod others;
mod requests;
mod run;
mod single_copies;
mod uploads;

pub use run::run;
