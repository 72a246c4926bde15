//! The Raft log, the vote, state machine records and snapshots on RocksDB.
//!
//! This crate stores indexes and bytes: it does not know what a host or a command is. It must never import the
//! machine or the wire contract.
//!
//! ```text
//!   LogStore (openraft's log and vote)      Records (state machine)      Snapshots
//!          |    one writer, one flusher        |  one synced batch           |  written aside, renamed
//!          +-------------> Store <-------------+                             |
//!                            |  latches the first failure for ever           |
//!                            Kv (contract in MUSTs)                     SnapshotFiles
//!                            |                                               |
//!                          Rocks (one database, one write-ahead log)       Folder
//! ```
//!
//! Start at [`open`], which stamps or checks the database, then hand clones of the [`Store`] to [`LogStore::open`] and
//! [`Records::new`].

mod codec;
mod error;
mod format;
mod key;
mod kv;
mod log;
mod records;
mod snapshot;
mod store;

pub use error::{BoxError, Error};
pub use format::{Expect, FORMAT, Identity, OpenError, open};
pub use kv::conformance;
pub use kv::rocks::Rocks;
pub use kv::{Batch, Column, Kv, Op, Pair, Range};
pub use log::{DurableLog, EntryCodec, LogReader, LogStore};
pub use records::{Change, Loaded, Record, Records};
pub use snapshot::folder::Folder;
pub use snapshot::{Current, Skipped, Snapshot, SnapshotFiles, Snapshots};
pub use store::{Fatal, Store};
