//! The procedures of the specification and their alternatives, one file a conversation, on the real machines in a simulated service.

mod distribution;
