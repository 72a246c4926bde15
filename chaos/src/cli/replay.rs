//! `quorumfence-chaos replay`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{case, run, say};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The case.
    file: PathBuf,
    /// Prints everything that was seen.
    #[arg(long)]
    trace: bool,
    /// Prints one line of JSON for programs.
    #[arg(long, conflicts_with = "trace")]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    case::watch_panics();
    let (ended, report) = case::judge(&case::read(&args.file)?)?;
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        run::tell(&ended, &report, args.trace)?;
    }
    Ok(run::code(&report))
}
