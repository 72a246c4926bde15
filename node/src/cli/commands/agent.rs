//! `quorumfence agent`: the nodes that are looked after.

mod join;
mod run;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Run this host's agent until it is told to stop.
    Run(run::Args),
    /// Join this machine to a cluster as a host.
    Join(join::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Run(args) => run::run(args, globals).await,
            Self::Join(args) => join::run(args, globals).await,
        }
    }
}
