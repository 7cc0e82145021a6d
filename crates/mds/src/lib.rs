//! The user's tool.
//!
//! | to do | open |
//! |---|---|
//! | change a command line | `cli` |
//! | change what a command does | `put`, `get`, `list`, `info`, `peers`, `status`, `verify`, `events`, `watch`, `demo`: one module a command |
//! | change what a REF may be | `reference` |
//! | change an exit code or what an error says | `exit`; `conclude` where several things are done |
//! | change how people or programs see it | `output`, `terminal`, `progress`, `describe` |
//! | change completions or manual pages | `manual` |
//!
//! Everything goes through `endpoint::client::Cluster`, so a command works with any daemon that answers. The daemons themselves are in
//! this binary, too, behind hidden commands: that is what `mds demo` starts as its child processes.

mod cli;
mod conclude;
mod demo;
mod describe;
mod drain;
mod events;
mod exit;
mod get;
mod info;
mod list;
mod manual;
mod output;
mod peers;
mod progress;
mod put;
mod reference;
mod remove;
mod run;
mod signals;
mod status;
mod terminal;
mod verify;
mod watch;

pub use run::main;
