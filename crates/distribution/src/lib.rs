//! What is decided.

pub mod ids;
pub mod time;
pub mod view;
