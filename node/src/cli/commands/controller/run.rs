//! `quorumfence controller run`

use std::path::PathBuf;

use super::super::super::{Exit, Failure, Globals};
use crate::config;
use crate::wiring;

/// Arguments of `controller run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/quorumfence/controller.toml")]
    config: PathBuf,
}

pub(super) async fn run(args: Args, _globals: &Globals) -> Result<(), Failure> {
    let config = config::Controller::load(&args.config).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let running = wiring::controller::start(&config).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let ended = running.until_stopped().await;
    ended.map_err(|error| Failure::of(Exit::Failed, &error))
}
