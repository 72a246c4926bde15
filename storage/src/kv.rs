//! The contract between this crate and whatever keeps its bytes.

use std::fmt;
use std::future::Future;

use crate::error::Error;

pub mod conformance;
pub(crate) mod rocks;

/// An ordered store of bytes with atomic batches and one write-ahead log.
///
/// Two implementations exist: [`rocks::Rocks`] in production, and a disk with page cache and platter in the simulator.
///
/// - A clone MUST be another handle to the same data.
/// - Writes MUST become durable in the order in which they were made: whatever a crash leaves is the result of a prefix
///   of all batches, and no batch is ever left in part.
/// - Bytes that changed after they were written SHOULD be refused; values carry their own checksum above this contract.
pub trait Kv: Clone + Send + Sync + 'static {
    /// Returns the value under `key`. MUST see every write that returned before the call.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Returns pairs in ascending key order.
    ///
    /// MUST be one point in time: a batch that is written meanwhile is seen whole or not at all. MUST NOT stop before
    /// `range.limit` pairs or the end of the range.
    fn scan(&self, column: Column, range: &Range) -> Result<Vec<Pair>, Error>;

    /// Writes all operations in order, or none.
    ///
    /// MUST be visible to every handle on return. MUST NOT wait for the disk: durability comes from [`Kv::sync`].
    fn write(&self, batch: Batch) -> Result<(), Error>;

    /// Makes every write that returned before this call durable.
    ///
    /// MUST NOT be retried inside: after one failure the kernel may have dropped the pages and a second call would
    /// promise what is not on the disk. After one `Err` every later call MUST be `Err` too.
    fn sync(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A separate key space of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Log entries, by index.
    Log,
    /// The vote, the log's borders and the stamp.
    Meta,
    /// State machine records, with the position up to which they are applied.
    Records,
}

impl Column {
    /// All columns, in the order of their ordinals.
    pub const ALL: [Column; 3] = [Column::Log, Column::Meta, Column::Records];

    /// Returns the name under which the database knows the column.
    pub fn name(self) -> &'static str {
        match self {
            Column::Log => "log",
            Column::Meta => "meta",
            Column::Records => "records",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change to one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put {
        column: Column,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        column: Column,
        key: Vec<u8>,
    },
    /// Deletes from `from` up to but without `to`.
    DeleteRange {
        column: Column,
        from: Vec<u8>,
        to: Vec<u8>,
    },
}

/// Changes that happen together, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    /// Sets the value under `key`.
    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Put { column, key: key.into(), value: value.into() });
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.ops.push(Op::Delete { column, key: key.into() });
    }

    /// Removes all keys from `from` up to but without `to`.
    pub fn delete_range(&mut self, column: Column, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.ops.push(Op::DeleteRange { column, from: from.into(), to: to.into() });
    }
}

/// The part of a column that a scan reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub from: Vec<u8>,
    /// The first key that is not read; `None` reads to the end.
    pub to: Option<Vec<u8>>,
    /// The most pairs to return.
    pub limit: usize,
}

impl Range {
    /// Returns the range of a whole column.
    pub fn all() -> Range {
        Range { from: Vec::new(), to: None, limit: usize::MAX }
    }
}
