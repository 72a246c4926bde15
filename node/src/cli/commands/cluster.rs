//! `quorumfence cluster`: founding one.

mod init;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Found a cluster: its authority, its first controller and an operator.
    Init(init::Args),
}

impl Verb {
    pub(super) fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Init(args) => init::run(args, globals),
        }
    }
}
