//! What the store promises, on RocksDB and on failing disks.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod config;
mod contract;
mod crash;
mod damage;
mod durability;
mod model;
mod opening;
mod records;
mod snapshots;
mod suite;
