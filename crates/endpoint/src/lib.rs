//! The gRPC Endpoint.

pub mod proto;
