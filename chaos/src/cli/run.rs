//! `quorumfence-chaos run`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use quorumfence_chaos::history::History;
use quorumfence_chaos::journal::Journal;
use quorumfence_chaos::swarm::Plan;
use quorumfence_chaos::world::sim::{Ended, Run};
use quorumfence_machine::HostId;

use super::case::{self, Report};
use super::{against, hosts, processes, say, stories};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The seed.
    #[arg(long, required_unless_present_any = ["story", "against"])]
    pub(crate) seed: Option<u64>,
    /// Plays the story of this directory, and prints its timeline.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "json", "history", "against"])]
    story: Option<PathBuf>,
    /// Where the cluster runs.
    #[arg(long, value_enum, default_value_t = World::Sim)]
    pub(crate) world: World,
    /// How long faults go on, where the world is real.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Faults to play instead of the seed's, where the world is real.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// The quorumfence program that is to be broken [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// The BMC of this host says off while the host runs, in the world of processes: the court must convict.
    #[arg(long, value_name = "HOST")]
    pub(crate) lie: Option<HostId>,
    /// Prints everything that was seen.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Prints one line of JSON for programs.
    #[arg(long, conflicts_with = "trace")]
    pub(crate) json: bool,
    /// Writes everything that was seen as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Writes what the simulated log said, one entry a line, as the machine's tests apply it again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["world", "against"])]
    pub(crate) journal: Option<PathBuf>,
    #[command(flatten)]
    against: against::Args,
}

/// Where a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum World {
    /// Simulated: one process, virtual time.
    Sim,
    /// Real processes in namespaces, real time. Needs root.
    Processes,
    /// Real hosts: namespaces with libvirtd, QEMU guests and BMCs, real time. Needs root.
    Hosts,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(address) = &args.against.against {
        return against::run(&args.against, address, args.seed.unwrap_or(1), args.history.as_deref());
    }
    let seed = match (&args.story, args.seed) {
        (Some(place), _) => match args.world {
            World::Sim => return stories::play(place, args.trace, args.journal.as_deref()),
            World::Processes => return processes::story(args, place),
            World::Hosts => anyhow::bail!("no story is told of hosts; 'sim' and 'processes' have them"),
        },
        (None, Some(seed)) => seed,
        (None, None) => anyhow::bail!("neither a seed nor a story is named"),
    };
    match args.world {
        World::Sim => {}
        World::Processes => return processes::run(args, seed),
        World::Hosts => return hosts::run(args, seed),
    }
    case::watch_panics();
    let run = Run::of(seed);
    let (ended, report) = case::judge(&run)?;
    write_history(args.history.as_deref(), &ended)?;
    write_journal(args.journal.as_deref(), &ended.journal)?;
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        say(&format!("seed {seed}: {}\n", Plan::of(seed)))?;
        tell(&ended, &report, args.trace)?;
    }
    Ok(code(&report))
}

/// Writes what was seen into a file, where one is wanted.
pub(crate) fn write_history(path: Option<&Path>, ended: &Ended) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let file = std::fs::File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(History { observations: ended.history.clone() }.write(std::io::BufWriter::new(file))?)
}

/// Writes what the log said into a file, where one is wanted.
pub(crate) fn write_journal(path: Option<&Path>, journal: &Journal) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let file = std::fs::File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(journal.write(std::io::BufWriter::new(file))?)
}

/// Tells people how a run ended.
pub(crate) fn tell(ended: &Ended, report: &Report, trace: bool) -> anyhow::Result<()> {
    if trace {
        for observation in &ended.history {
            say(&format!("{observation}\n"))?;
        }
    }
    say(&format!("faults: {}\n", counts(&report.faults)))?;
    say(&format!("events: {}\n", counts(&report.events)))?;
    say(&format!("judged: {}\n", counts(&report.judged)))?;
    say(&format!("{} s simulated in {} ms, trace {}\n", report.simulated_ms / 1000, report.wall_ms, report.trace))?;
    match &report.broken {
        None => say("every promise held\n"),
        Some(broken) => say(&format!("{broken}\n")),
    }
}

/// Returns counts as words.
pub(crate) fn counts(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    words.join(", ")
}

/// Returns the exit code of a report.
pub(crate) fn code(report: &Report) -> ExitCode {
    ExitCode::from(u8::from(report.broken.is_some()))
}
