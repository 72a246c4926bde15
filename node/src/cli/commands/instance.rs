//! `quorumfence instance`: what runs on the hosts.

mod list;
mod show;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the instances.
    List(list::Args),
    /// Show one instance.
    Show(show::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args, globals).await,
            Self::Show(args) => show::run(args, globals).await,
        }
    }
}
