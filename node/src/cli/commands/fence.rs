//! `quorumfence fence`: power, tested and cut.

mod status;
mod test;

use super::super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Log in to a host's fencing devices and read the power. Switches nothing.
    Test(test::Args),
    /// Show the fences that are decided or proven.
    Status(status::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Test(args) => test::run(args, globals).await,
            Self::Status(args) => status::run(args, globals).await,
        }
    }
}
