//! What a daemon keeps on disk: the bytes of fragments, the Distribution View, and a few values of its own.
//!
//! The only crate that names the database engine. The bytes are not in the database but in segment files beside it, and
//! the database's own idea of "durable" is not trusted: see [`engine`].

pub mod disk;
pub mod engine;
pub mod fragments;
mod health;
mod layout;
pub mod meta;
mod store;
pub mod view;

pub use fragments::{FragmentWriter, Fragments, FragmentsOptions};
pub use health::StoreFailed;
pub use meta::{Meta, MetaKey};
pub use store::{OpenError, Recovered, Store, StoreOptions};
pub use view::ViewStore;
