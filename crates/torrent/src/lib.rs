//! The torrent: a thin shell around `distribution::Torrent`.
//!
//! `config` says what it is told, `run` puts it together, `event_loop` waits for one thing at a time and carries out what follows.

mod catalog;
pub mod config;
mod connection;
mod event_loop;
mod remembered;
mod run;

pub use run::run;
