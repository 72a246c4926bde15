//! Real replicas: openraft, RocksDB in temporary folders, gRPC with mutual TLS over loopback.
//!
//! Nothing here asserts how long something takes; it waits for a condition with a generous deadline.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod certificates;
mod election;
mod group;
mod identity;
mod membership;
mod reads;
mod restart;
mod snapshot;
mod witness;
