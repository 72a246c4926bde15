//! `quorumfence settings`: the cluster's policy.

mod set;
mod show;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Show the settings in force.
    Show(show::Args),
    /// Change settings.
    Set(set::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Show(args) => show::run(args, globals).await,
            Self::Set(args) => set::run(args, globals).await,
        }
    }
}
