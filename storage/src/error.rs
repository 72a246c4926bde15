//! What can go wrong once a database is open.

use std::io;

use crate::kv::Column;

/// The cause of a failure that this crate passes on without looking inside.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A read or write of the local store that did not happen, or whose bytes cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused an operation.
    #[error("the database could not {doing}")]
    Database {
        /// The operation, as a verb phrase.
        doing: &'static str,
        #[source]
        source: BoxError,
    },

    /// The database found damage in its own files.
    #[error(
        "the database files are damaged: {reason}. Acknowledged votes or log entries may be lost, so this replica must \
         not run on them. Check the disk, remove this node from the cluster, and join it again under a new node id"
    )]
    Damaged { reason: String },

    /// A stored value does not match its checksum or its place.
    #[error(
        "a stored value is damaged: column {column}, key {key}: {reason}. The disk or the memory changed bytes after \
         they were written. Check the disk, remove this node from the cluster, and join it again under a new node id"
    )]
    Corrupt { column: Column, key: String, reason: String },

    /// A stored value has a good checksum but does not decode.
    #[error("a stored {what} does not decode; it was probably written by a newer release, so run that release")]
    Undecodable {
        what: &'static str,
        #[source]
        source: BoxError,
    },

    /// The log has no entry where it must have one.
    #[error(
        "the log has a hole: entry {expected} is missing, {}. Acknowledged entries are lost. Remove this node from the \
         cluster, and join it again under a new node id",
        .found.map_or("nothing follows it".to_owned(), |found| format!("entry {found} follows"))
    )]
    Hole { expected: u64, found: Option<u64> },

    /// An append that would leave a hole or overwrite an entry.
    #[error("refused to append entry {found}: the log ends such that entry {expected} must come next")]
    NotConsecutive { expected: u64, found: u64 },

    /// An earlier write or sync failed, so nothing more is written or promised.
    #[error("the store stopped after an earlier failure: {reason}. Restart the process after checking the disk")]
    Stopped { reason: String },

    /// A crash interrupted the installation of a snapshot.
    #[error(
        "the state machine records are incomplete: an installation of a snapshot was interrupted; install it again"
    )]
    InstallInterrupted,

    /// The snapshot folder refused an operation.
    #[error("the snapshot folder could not {doing} {name}")]
    Snapshot {
        /// The operation, as a verb.
        doing: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}
