//! `quorumfence-chaos sim`

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use anyhow::Context;

use quorumfence_chaos::canary::Guilt;
use quorumfence_chaos::world::sim::Run;
use quorumfence_raft::Point;

use super::case::{self, Report};
use super::child::Child;
use super::progress::Progress;
use super::say;

/// Arguments of `sim`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(super) from: u64,
    /// Begins with a seed that no other sweep began with, and says which.
    #[arg(long, conflicts_with = "from")]
    pub(super) fresh: bool,
    /// Processes at the same time; as many as there are cores, unless told otherwise.
    #[arg(long)]
    pub(super) jobs: Option<NonZeroUsize>,
    /// Goes on after a broken promise, and counts them.
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Where cases of broken promises are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) cases: PathBuf,
    /// No seed begins after this.
    #[arg(skip)]
    pub(super) until: Option<Instant>,
}

/// Seeds between the starts of two fresh sweeps that begin a millisecond apart: none plays the seeds of another.
pub(super) const SEEDS_PER_MILLISECOND: u64 = 16;

/// In so many seeds every promise is put to the test.
const SEEDS_FOR_ALL: u64 = 20;

/// Seeds on which a canary is tried. Its guilt need not show in each: a disk that lies loses nothing while nobody writes.
const CANARY_SEEDS: usize = 10;

/// What all seeds together showed.
#[derive(Debug, Default)]
struct Tally {
    seeds: u64,
    simulated_ms: u64,
    wall_ms: u64,
    faults: BTreeMap<String, u64>,
    stood: BTreeMap<String, u64>,
    events: BTreeMap<String, u64>,
    judged: BTreeMap<String, u64>,
    broken: Vec<Report>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.fresh {
        return sweep(args);
    }
    let from = fresh(SystemTime::now())?;
    say(&format!("seeds from {from} on; again: quorumfence-chaos sim --from {from} --seeds {}\n", args.seeds))?;
    sweep(&Args { from, ..args.clone() })
}

/// Returns a seed that grows with time faster than a machine plays seeds.
pub(super) fn fresh(now: SystemTime) -> anyhow::Result<u64> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).context("this machine's clock is before 1970")?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_mul(SEEDS_PER_MILLISECOND))
}

fn sweep(args: &Args) -> anyhow::Result<ExitCode> {
    let child = Child::this()?;
    let complaints = canaries(args, &child)?;
    if !complaints.is_empty() {
        let why = complaints.join("; ");
        say(&format!("The court sleeps, so this batch would prove nothing: {why}.\n"))?;
        return Ok(ExitCode::from(2));
    }
    let (next, stop) = (AtomicU64::new(args.from), AtomicBool::new(false));
    let end = args.from.saturating_add(args.seeds);
    let tally = Mutex::new(Tally::default());
    let began = case::clock();
    let progress = Progress::new(args.until.is_none().then_some(args.seeds));
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = args.jobs.map_or(cores, NonZeroUsize::get);
    let worked: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while !stop.load(Ordering::SeqCst) {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= end || args.until.is_some_and(|until| case::clock() >= until) {
                    break;
                }
                let report = child.seed(seed)?;
                if report.broken.is_some() {
                    let run = Run { script: Some(report.script.clone()), ..Run::of(seed) };
                    case::write(&args.cases.join(format!("seed-{seed}.json")), &run)?;
                    stop.fetch_or(!args.keep_going, Ordering::SeqCst);
                }
                let mut tally = tally.lock().expect("a panic in a worker ends the sweep");
                progress.aside(|| tally.add(report, began))?;
                progress.show(tally.seeds, tally.judged.values().sum(), tally.broken.len());
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    progress.end();
    worked.into_iter().collect::<anyhow::Result<()>>()?;
    let tally = tally.into_inner().expect("no worker panicked");
    tally.tell(began)?;
    let idle = tally.never_judged();
    if tally.broken.is_empty() && !idle.is_empty() {
        say(&format!("Never put to the test, so this batch proves nothing of it: {}.\n", idle.join(", ")))?;
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::from(u8::from(!tally.broken.is_empty())))
}

/// Plays the canaries of this batch. Returns what is wrong with the court, if it sleeps.
fn canaries(args: &Args, child: &Child) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for guilt in Guilt::ALL {
        let mut complaint = None;
        for seed in (args.from..).take(CANARY_SEEDS) {
            let report = child.canary(seed, &guilt.to_string())?;
            complaint = guilt.complaint(report.promise.as_deref());
            if complaint.is_none() {
                break;
            }
        }
        complaints.extend(complaint);
    }
    Ok(complaints)
}

impl Tally {
    fn add(&mut self, report: Report, began: Instant) -> anyhow::Result<()> {
        self.seeds += 1;
        self.simulated_ms += report.simulated_ms;
        self.wall_ms += report.wall_ms;
        for (sum, part) in [
            (&mut self.faults, &report.faults),
            (&mut self.stood, &report.stood),
            (&mut self.events, &report.events),
            (&mut self.judged, &report.judged),
        ] {
            for (name, count) in part {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
        if self.seeds.is_multiple_of(50) {
            say(&format!("{} seeds, {:.0} a minute, {} broken\n", self.seeds, self.pace(began), self.broken.len()))?;
        }
        if let Some(broken) = &report.broken {
            say(&format!("seed {}: {broken}\n", report.seed))?;
            say(&format!("  again: quorumfence-chaos run --seed {} --trace\n", report.seed))?;
            self.broken.push(report);
        }
        Ok(())
    }

    /// Returns the promises that a batch of this size should have put to the test, and did not.
    fn never_judged(&self) -> Vec<String> {
        let is_idle = |times: &u64| *times == 0 && self.seeds >= SEEDS_FOR_ALL;
        self.judged.iter().filter(|(_, times)| is_idle(times)).map(|(promise, _)| promise.clone()).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn pace(&self, began: Instant) -> f64 {
        self.seeds as f64 * 60.0 / began.elapsed().as_secs_f64().max(0.001)
    }

    fn tell(&self, began: Instant) -> anyhow::Result<()> {
        let lines = |counts: &BTreeMap<String, u64>| -> String {
            counts.iter().map(|(name, count)| format!("  {count:>9}  {name}\n")).collect()
        };
        say(&format!("faults\n{}", lines(&self.faults)))?;
        say(&format!("stall points at which a task stood\n{}", lines(&self.stood)))?;
        let never = Point::ALL.iter().map(Point::to_string).filter(|point| !self.stood.contains_key(point));
        say(&format!("stall points at which none stood: {}\n", never.collect::<Vec<_>>().join(", ")))?;
        say(&format!("events\n{}", lines(&self.events)))?;
        say(&format!("promises put to the test\n{}", lines(&self.judged)))?;
        let mut promises: BTreeMap<String, u64> = BTreeMap::new();
        for report in &self.broken {
            *promises.entry(report.promise.clone().unwrap_or_default()).or_default() += 1;
        }
        if !promises.is_empty() {
            say(&format!("broken\n{}", lines(&promises)))?;
        }
        say(&format!(
            "{} seeds, {:.1} simulated hours, {} faults, {:.0} seeds a minute, {} ms of one core a seed; {} broken\n",
            self.seeds,
            std::time::Duration::from_millis(self.simulated_ms).as_secs_f64() / 3600.0,
            self.faults.values().sum::<u64>(),
            self.pace(began),
            self.wall_ms / self.seeds.max(1),
            self.broken.len()
        ))
    }
}
