//! `quorumfence agent run`

use std::path::PathBuf;

use super::super::super::{Exit, Failure, Globals};
use crate::config;
use crate::wiring;

/// Arguments of `agent run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/quorumfence/agent.toml")]
    config: PathBuf,
}

pub(super) async fn run(args: Args, _globals: &Globals) -> Result<(), Failure> {
    let config = config::Agent::load(&args.config).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let running = wiring::agent::start(&config).map_err(|error| Failure::of(Exit::Failed, &error))?;
    running.until_stopped().await.map_err(|error| Failure::of(Exit::Failed, &error))
}
