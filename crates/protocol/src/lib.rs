//! What is said on the bus.
pub mod hash;
pub mod ids;
mod int64;

pub use hash::{Hash, Hasher};
pub use ids::{ClientId, Epoch, EventId, Incarnation, InstanceId, Revision};
