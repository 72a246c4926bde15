//! `quorumfence member`: the controllers that decide.

mod add;
mod demote;
mod list;
mod promote;
mod remove;

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
    /// Make a voter a learner.
    Demote(demote::Args),
    /// Take a learner out of the cluster. Its id is never given again.
    Remove(remove::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args, globals).await,
            Self::Add(args) => add::run(args, globals).await,
            Self::Promote(args) => promote::run(args, globals).await,
            Self::Demote(args) => demote::run(args, globals).await,
            Self::Remove(args) => remove::run(args, globals).await,
        }
    }
}
