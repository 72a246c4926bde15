//! Limits of messages. Both ends set them, so that neither can exhaust the other.

/// Largest message of the Cluster, Join and Agent services: room for a report of a full host.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Largest message of the Raft service: a batch of entries, each at most one control message.
pub const RAFT_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Largest encoded command: what arrived in one control message fits, and three of them fit into one Raft message.
pub const COMMAND_BYTES_MAX: usize = CONTROL_MESSAGE_BYTES_MAX;

/// Data in one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

/// The format of log entries.
pub const ENTRY_FORMAT: u32 = 1;

/// The format of snapshots.
pub const SNAPSHOT_FORMAT: u32 = 1;
