//! `quorumfence segment`: groups of hosts.

mod create;
mod list;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Create a segment.
    Create(create::Args),
    /// List the segments.
    List(list::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Create(args) => create::run(args, globals).await,
            Self::List(args) => list::run(args, globals).await,
        }
    }
}
