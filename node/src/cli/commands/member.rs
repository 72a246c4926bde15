//! `quorumfence member`: the controllers that decide.

mod add;
mod list;
mod promote;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List the controllers.
    List(list::Args),
    /// Make a joined controller a learner, which follows the log.
    Add(add::Args),
    /// Make a learner a voter.
    Promote(promote::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args, globals).await,
            Self::Add(args) => add::run(args, globals).await,
            Self::Promote(args) => promote::run(args, globals).await,
        }
    }
}
