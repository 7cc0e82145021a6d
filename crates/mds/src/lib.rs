//! The user's tool.
//!
//! | to do | open |
//! |---|---|
//! | change a command line | `cli` |
//! | change what a command does | `put`, `get`, `list`, `info`, `peers`, `status`, `verify`, `demo`: one module a command |
//! | change what a REF may be | `reference` |
//! | change an exit code or what an error says | `exit` |
//! | change how people or programs see it | `output`, `progress`, `describe` |
//!
//! Everything goes through `endpoint::client::Cluster`, so a command works with any daemon that answers. The daemons themselves are in
//! this binary, too, behind hidden commands: that is what `mds demo` starts as its child processes.

mod cli;
mod demo;
mod describe;
mod drain;
mod exit;
mod get;
mod info;
mod list;
mod output;
mod peers;
mod progress;
mod put;
mod reference;
mod remove;
mod run;
mod signals;
mod status;
mod verify;

pub use run::main;
