//! `quorumfence-chaos canary`: one run in which the world is guilty.

use std::process::ExitCode;

use quorumfence_chaos::canary::Guilt;
use quorumfence_chaos::world::sim::play_guilty;

use super::{case, say};

/// Arguments of `canary`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the world does.
    guilt: Guilt,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Prints the report as `run --json` does. Exit code 0 when the court was awake, 2 when it was not.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    case::watch_panics();
    let run = args.guilt.run(args.seed);
    let (_, report) = case::judge_by(&run, |run| play_guilty(run, args.guilt))?;
    say(&(serde_json::to_string(&report)? + "\n"))?;
    let complaint = args.guilt.complaint(report.promise.as_deref());
    Ok(ExitCode::from(if complaint.is_some() { 2 } else { 0 }))
}
