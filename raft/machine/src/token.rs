//! Log indexes and the tokens made of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a committed entry in the replicated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogIndex(pub u64);

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("#{}", self.0))
    }
}

/// The log index of a committed decision: unique, growing, free.
///
/// Every order to a driver or an agent carries the token of the decision that it rests on (promise S3). Tokens come
/// from the log and never from a term: several leaders may share a term's number, never an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Token(pub LogIndex);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
