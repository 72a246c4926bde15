//! `quorumfence event`: the history.

mod list;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the events, and follow them.
    List(list::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args, globals).await,
        }
    }
}
