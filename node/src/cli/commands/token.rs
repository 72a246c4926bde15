//! `quorumfence token`: who may join.

mod create;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Create a join token and print it once.
    Create(create::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Create(args) => create::run(args, globals).await,
        }
    }
}
