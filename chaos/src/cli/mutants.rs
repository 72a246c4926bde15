//! `quorumfence-chaos mutants`

mod tree;

use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use quorumfence_chaos::mutants::{self, Conviction, Mutant};

use super::child::Child;
use super::say;

/// Arguments of `mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this bug; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Seeds that a bug may escape.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds that must hold while no bug is awake.
    #[arg(long, value_name = "SEEDS", default_value_t = 20)]
    clean: u64,
    /// Bugs that are tried at the same time; as many as there are cores, unless told otherwise.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// The checkout whose bugs these are.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// The planted program, when it is built already.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Writes the table into chaos/README.md.
    #[arg(long, conflicts_with = "only")]
    write_table: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source = args.source.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let all = mutants::read(&source.join("chaos/mutants"))?;
    let unknown = args.only.iter().find(|name| all.iter().all(|mutant| mutant.name != **name));
    ensure!(unknown.is_none(), "there is no bug called {}", unknown.map_or("", String::as_str));
    let wanted = |mutant: &&Mutant| args.only.is_empty() || args.only.contains(&mutant.name);
    let chosen: Vec<Mutant> = all.iter().filter(wanted).cloned().collect();
    let program = match &args.program {
        Some(program) => program.clone(),
        None => tree::build(&source)?,
    };
    let sleeping = Child { program: program.clone(), planted: None };
    for seed in args.from..args.from.saturating_add(args.clean) {
        let broken = sleeping.seed(seed)?.broken;
        ensure!(broken.is_none(), "no bug is awake, and seed {seed} breaks: {}", broken.unwrap_or_default());
    }
    say(&format!("no bug awake: {} seeds hold\n", args.clean))?;
    let convictions = campaign(args, &program, &chosen)?;
    if args.write_table {
        let path = source.join("chaos/README.md");
        let readme = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let readme = mutants::with_table(&readme, &mutants::table(&all, &convictions))?;
        fs::write(&path, readme).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let cpu_ms: u64 = convictions.iter().map(|conviction| conviction.cpu_ms).sum();
    say(&format!("{} of {} bugs convicted, {} s of one core\n", convictions.len(), chosen.len(), cpu_ms / 1000))?;
    Ok(ExitCode::from(u8::from(convictions.len() < chosen.len())))
}

/// Tries each bug until it is convicted or has escaped every seed. Returns the convictions by name.
fn campaign(args: &Args, program: &Path, chosen: &[Mutant]) -> anyhow::Result<Vec<Conviction>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = args.jobs.map_or(cores, NonZeroUsize::get);
    let queue: Mutex<VecDeque<&Mutant>> = Mutex::new(chosen.iter().collect());
    let convictions = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no worker panics while it holds the queue").pop_front();
    let work = || -> anyhow::Result<()> {
        while let Some(mutant) = next() {
            let child = Child { program: program.into(), planted: Some(mutant.name.clone()) };
            let found = convict(args, &child, mutant)?;
            say(&told(args, mutant, found.as_ref()))?;
            convictions.lock().expect("no worker panics while it holds the list").extend(found);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        ended.collect::<anyhow::Result<()>>()
    })?;
    let mut convictions = convictions.into_inner().expect("no worker panicked");
    convictions.sort_by(|a: &Conviction, b| a.name.cmp(&b.name));
    Ok(convictions)
}

fn convict(args: &Args, child: &Child, mutant: &Mutant) -> anyhow::Result<Option<Conviction>> {
    let mut cpu_ms = 0;
    let tries = if mutant.case.is_some() { 1 } else { args.seeds };
    for seeds in 1..=tries {
        let report = match &mutant.case {
            Some(case) => child.case(case)?,
            None => child.seed(args.from + seeds - 1)?,
        };
        cpu_ms += report.cpu_ms;
        if let Some(says) = report.broken {
            let promise = report.promise.unwrap_or_default();
            return Ok(Some(Conviction { name: mutant.name.clone(), promise, seeds, cpu_ms, says }));
        }
    }
    Ok(None)
}

fn told(args: &Args, mutant: &Mutant, found: Option<&Conviction>) -> String {
    let name = &mutant.name;
    let Some(Conviction { promise, seeds, cpu_ms, says, .. }) = found else {
        let tried = if mutant.case.is_some() { "its case".into() } else { format!("{} seeds", args.seeds) };
        return format!("{name}: not convicted by {tried}\n");
    };
    let expected = match mutant.promises.contains(promise) {
        true => String::new(),
        false => format!(" (expected: {})", mutant.promises.join(" ")),
    };
    let tries = if mutant.case.is_some() { "its case".into() } else { format!("{seeds} seeds") };
    format!("{name}: {promise}{expected}, {tries}, {cpu_ms} ms of one core: {says}\n")
}
