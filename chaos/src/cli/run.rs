//! `quorumfence-chaos run`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use quorumfence_chaos::history::History;
use quorumfence_chaos::swarm::Plan;
use quorumfence_chaos::world::sim::{Ended, Run};

use super::case::{self, Report};
use super::say;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Prints everything that was seen.
    #[arg(long)]
    trace: bool,
    /// Prints one line of JSON for programs.
    #[arg(long, conflicts_with = "trace")]
    json: bool,
    /// Writes everything that was seen as JSON lines.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    case::watch_panics();
    let run = Run::of(args.seed);
    let (ended, report) = case::judge(&run)?;
    if let Some(path) = &args.history {
        let file = std::fs::File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
        History { observations: ended.history.clone() }.write(std::io::BufWriter::new(file))?;
    }
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        say(&format!("seed {}: {}\n", args.seed, Plan::of(args.seed)))?;
        tell(&ended, &report, args.trace)?;
    }
    Ok(code(&report))
}

/// Tells people how a run ended.
pub(crate) fn tell(ended: &Ended, report: &Report, trace: bool) -> anyhow::Result<()> {
    if trace {
        for observation in &ended.history {
            say(&format!("{observation}\n"))?;
        }
    }
    let counts = |counts: &std::collections::BTreeMap<String, u64>| -> String {
        let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        words.join(", ")
    };
    say(&format!("faults: {}\n", counts(&report.faults)))?;
    say(&format!("events: {}\n", counts(&report.events)))?;
    say(&format!("judged: {}\n", counts(&report.judged)))?;
    say(&format!("{} s simulated in {} ms, trace {}\n", report.simulated_ms / 1000, report.wall_ms, report.trace))?;
    match &report.broken {
        None => say("every promise held\n"),
        Some(broken) => say(&format!("{broken}\n")),
    }
}

/// Returns the exit code of a report.
pub(crate) fn code(report: &Report) -> ExitCode {
    ExitCode::from(u8::from(report.broken.is_some()))
}
