//! Sessions with a broker of which every word is scripted.

mod fake_broker;
mod opening;
mod session;
