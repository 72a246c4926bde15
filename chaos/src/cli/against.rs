//! `quorumfence-chaos run --against`: the harmless part of the workload, against a cluster of somebody else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use quorumfence_chaos::fault;
use quorumfence_chaos::linear::clients::{Cluster, Plan, Workload, run as serve};
use quorumfence_chaos::linear::judge;
use quorumfence_machine::Millis;
use quorumfence_node::cluster::operator;

use super::say;

/// Arguments of `run --against`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Asks a real cluster through this controller, and judges whether its answers are those of one cluster. Reads, and
    /// creates join tokens that nobody is given: never fences, arms, disarms, or touches hosts, segments or settings.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["trace", "json"])]
    pub(crate) against: Option<String>,
    /// The operator context to use [default: $QUORUMFENCE_CONTEXT or ~/.config/quorumfence/operator.toml].
    #[arg(long, value_name = "FILE", requires = "against")]
    context: Option<PathBuf>,
    /// How long clients ask, such as 30s or 300s.
    #[arg(long, value_name = "TIME", requires = "against", default_value = "30s", value_parser = time)]
    time: Duration,
    /// Clients that ask at the same time.
    #[arg(long, value_name = "COUNT", requires = "against", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    clients: u64,
    /// Join tokens at most. Each leaves an entry and an event in the log, and ends after a second.
    #[arg(long, value_name = "COUNT", requires = "against", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=500))]
    tokens: u64,
}

/// Steps of the search for each object.
const BUDGET: u64 = 10_000_000;

fn time(text: &str) -> Result<Duration, String> {
    let time = fault::duration(text).filter(|time| *time > Millis::ZERO);
    time.map(Duration::from)
        .ok_or_else(|| format!("'{text}' is no time; write 30s or 500ms, such as 300s for five minutes"))
}

pub(crate) fn run(args: &Args, address: &str, seed: u64, history_file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = args.context.clone().map_or_else(operator::default_path, Ok)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (history, report) = runtime.block_on(async {
        let cluster = Cluster::open_through(&path, address).await?;
        let names: Vec<String> = cluster.controllers().iter().map(ToString::to_string).collect();
        say(&format!(
            "cluster {}, controllers {}: {} clients read for {} s and create at most {} join tokens, which nobody is \
             given and which end after a second; nothing else is changed\n",
            cluster.name(),
            names.join(", "),
            args.clients,
            args.time.as_secs(),
            args.tokens
        ))?;
        let workload = Workload::Harmless { tokens: args.tokens };
        let plan = Plan { seed, clients: args.clients, time: args.time, workload, shim: None };
        let history = serve(&cluster, &plan).await?;
        let report = judge(&history, BUDGET);
        anyhow::Ok((history, report))
    })?;
    if let Some(file) = history_file {
        let out = std::fs::File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
        history.write(std::io::BufWriter::new(out))?;
    }
    say(&format!("{report}\n"))?;
    Ok(ExitCode::from(match (report.broken.is_empty(), report.undecided.is_empty()) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => 0,
    }))
}
