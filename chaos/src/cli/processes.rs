//! `quorumfence-chaos run --world processes`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use quorumfence_chaos::script::Script;
use quorumfence_chaos::story::Scene;
use quorumfence_chaos::story::Story;
use quorumfence_chaos::world::processes::{self, Played, Staging, Wanted, enclosure};
use quorumfence_chaos::world::sim::Run;
use quorumfence_machine::Millis;

use super::run::{Args, code, counts, tell, write_history};
use super::{case, say};

/// What a directory of a run is called.
const PREFIX: &str = "qfchaos-";

pub(crate) fn run(args: &Args, seed: u64) -> anyhow::Result<ExitCode> {
    if !enclosure::is_inside() {
        return enclosure::run_inside();
    }
    case::watch_panics();
    let program = program(args)?;
    let plan = processes::plan(seed, Millis(args.seconds * 1000));
    let script = args.script.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        text.parse::<Script>().with_context(|| format!("{} is no script", path.display()))
    });
    let script = script.transpose()?;
    if let Some(stranger) = script.as_ref().and_then(|script| Scene::of(seed, &plan.shape).cast().stranger(script)) {
        anyhow::bail!("{stranger} in the cluster of seed {seed}");
    }
    let run = Run { seed, shape: plan.shape.clone(), chaos: plan.chaos, script };
    let mut place = tempfile::Builder::new().prefix(PREFIX).tempdir().context("a directory for the run")?;
    let wanted = Wanted { run, place: place.path().into(), program, lie: args.lie.clone() };
    let began = case::clock();
    let runtime = processes::runtime()?;
    let played = runtime.block_on(processes::play(&wanted));
    runtime.shutdown_background();
    if played.is_err() {
        place.disable_cleanup(true);
    }
    let Played { ended, left_out, stalls } = played.with_context(|| {
        format!("seed {}: nothing can be judged; the files are in {}", seed, place.path().display())
    })?;
    let (ended, mut report) = case::sum_up(seed, began, ended)?;
    (report.left_out, report.stalls) = (left_out, stalls);
    if report.broken.is_some() {
        place.disable_cleanup(true);
    }
    write_history(args.history.as_deref(), &ended)?;
    if args.json {
        say(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        say(&format!("seed {} of processes: {}\n", seed, plan))?;
        tell(&ended, &report, args.trace)?;
        if !report.left_out.is_empty() {
            say(&format!("left out, because this world cannot do it: {}\n", counts(&report.left_out)))?;
        }
        let never = processes::never(&report.faults);
        say(&format!("{} kinds of faults, and never: {}\n", report.faults.len(), never.join(", ")))?;
        say(&format!("stood still at {} stall points: {}\n", report.stalls.len(), counts(&report.stalls)))?;
    }
    if report.broken.is_some() {
        say(&format!("the files of all processes are in {}\n", place.path().display()))?;
    }
    Ok(code(&report))
}

/// Plays a story, and prints its timeline and how it differs from what is written.
pub(crate) fn story(args: &Args, path: &Path) -> anyhow::Result<ExitCode> {
    let story = Story::read(path)?;
    if let Some(why) = processes::unable(&story) {
        anyhow::bail!("{} cannot be played against processes: {why}", story.name);
    }
    if !enclosure::is_inside() {
        return enclosure::run_inside();
    }
    let program = program(args)?;
    let mut place = tempfile::Builder::new().prefix(PREFIX).tempdir().context("a directory for the story")?;
    let staging = Staging { story: &story, place: place.path().into(), program: &program };
    let runtime = processes::runtime()?;
    let told = runtime.block_on(processes::tell(&staging));
    runtime.shutdown_background();
    place.disable_cleanup(true);
    let told = told.with_context(|| {
        format!("{}: nothing can be judged; the files are in {}", story.name, place.path().display())
    })?;
    let log = story.log(&told, told.broken.as_ref());
    if args.trace {
        told.history.iter().try_for_each(|observation| say(&format!("{observation}\n")))?;
    } else {
        say(&log)?;
    }
    let difference = story.disorder(&log);
    match (&told.broken, &difference) {
        (Some(broken), _) => say(&format!("{}: {broken}\n", story.name))?,
        (None, Some(difference)) => say(&format!("{}: {difference}", story.name))?,
        (None, None) => say(&format!("{}: every promise held, and the order is as written\n", story.name))?,
    }
    let is_kept = told.broken.is_none() && difference.is_none();
    if is_kept {
        place.disable_cleanup(false);
    } else {
        say(&format!("the files of all processes are in {}\n", place.path().display()))?;
    }
    Ok(ExitCode::from(u8::from(!is_kept)))
}

fn program(args: &Args) -> anyhow::Result<PathBuf> {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("quorumfence"));
    let program = args.program.clone().map_or_else(beside, Ok).context("this program's own file")?;
    ensure!(
        program.is_file(),
        "{} is not there; build it with 'cargo build --release -p quorumfence-node', or name it with --program",
        program.display()
    );
    Ok(program)
}
