//! `quorumfence-chaos stories`

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use quorumfence_chaos::story::{self, BLESS, Story};
use quorumfence_chaos::world::processes::unable;

use super::run::World;
use super::{run, say};

/// Arguments of `stories`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Plays only stories whose name holds this.
    #[arg(long, value_name = "WORD", default_value = "")]
    filter: String,
    /// Lists them, and plays none.
    #[arg(long)]
    list: bool,
    /// Where they are played: in the simulation line by line, against processes in their order.
    #[arg(long, value_enum, default_value_t = World::Sim)]
    world: World,
    /// Stories that are played at the same time against processes.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    jobs: u64,
    /// The quorumfence program of the processes [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where the stories are.
    #[arg(long, value_name = "DIR", default_value = "chaos/scenarios")]
    scenarios: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut stories = story::all(&args.scenarios)?;
    stories.retain(|story| story.name.contains(&args.filter));
    ensure!(!stories.is_empty(), "no story of {} has '{}' in its name", args.scenarios.display(), args.filter);
    match args.world {
        World::Sim => {}
        World::Processes if args.list => return list_for_processes(&stories),
        World::Processes => return play_against_processes(args, &stories),
        World::Hosts => anyhow::bail!("no story is told of hosts; 'sim' and 'processes' have them"),
    }
    for story in &stories {
        if args.list {
            say(&format!("{}\n", headline(story)))?;
        } else if !judge(story)? {
            say(&format!("  again: quorumfence-chaos run --story {}\n", story.place.display()))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    if !args.list {
        say(&format!("{} stories are told as they are written\n", stories.len()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists stories, and why some of them cannot be played against processes.
fn list_for_processes(stories: &[Story]) -> anyhow::Result<ExitCode> {
    for story in stories {
        let why = unable(story).map_or_else(|| "can be played".into(), |why| format!("cannot be played: {why}"));
        say(&format!("{}: {why}\n", story.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays each story in a process of its own, and tells which held and which this world cannot play.
fn play_against_processes(args: &Args, stories: &[Story]) -> anyhow::Result<ExitCode> {
    let (unable, able): (Vec<_>, Vec<_>) =
        stories.iter().map(|story| (story, unable(story))).partition(|(_, why)| why.is_some());
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some((story, _)) = able.get(next.fetch_add(1, Ordering::SeqCst)) {
                let (is_kept, told) = play_apart(args, story)?;
                say(&told)?;
                if !is_kept {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(story.name.clone());
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        let done = |worker: std::thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().try_for_each(done)
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("{} stories were played against processes, {} held\n", able.len(), able.len() - failed.len()))?;
    failed.iter().try_for_each(|name| say(&format!("  {name} did not\n")))?;
    say(&format!("{} cannot be played there:\n", unable.len()))?;
    for (story, why) in unable {
        say(&format!("  {}: {}\n", story.name, why.unwrap_or_default()))?;
    }
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

/// Plays a story against processes, in a process of its own; returns whether it held, and what to tell of it.
fn play_apart(args: &Args, story: &Story) -> anyhow::Result<(bool, String)> {
    let own = std::env::current_exe().context("this program's own file")?;
    let mut command = Command::new(own);
    command.args(["run", "--world", "processes", "--story"]).arg(&story.place);
    if let Some(program) = &args.program {
        command.arg("--program").arg(program);
    }
    let output = command.stdin(Stdio::null()).output().context("a story's process")?;
    if output.status.success() {
        return Ok((true, format!("{}: every promise held, and the order is as written\n", story.name)));
    }
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((
        false,
        format!(
            "{}\n  again: quorumfence-chaos run --world processes --story {}\n",
            told.trim_end(),
            story.place.display()
        ),
    ))
}

/// Plays one story and prints its timeline.
pub(crate) fn play(place: &Path, trace: bool, journal: Option<&Path>) -> anyhow::Result<ExitCode> {
    let story = Story::read(place)?;
    let played = story.play()?;
    run::write_journal(journal, &played.told.journal)?;
    if trace {
        for observation in &played.told.history {
            say(&format!("{observation}\n"))?;
        }
    } else {
        say(&played.log)?;
    }
    let is_kept = played.broken.is_none() && story.difference(&played).is_none();
    Ok(ExitCode::from(u8::from(!is_kept)))
}

/// Plays one story; returns whether it is told as it is written. A story with a broken promise is never blessed.
fn judge(story: &Story) -> anyhow::Result<bool> {
    let played = story.play()?;
    let blesses = std::env::var_os(BLESS).is_some_and(|value| value == "1") && played.broken.is_none();
    let difference = story.difference(&played);
    match (&played.broken, difference) {
        (Some(broken), _) => {
            say(&format!("{}: {broken}\n{}", story.name, played.log))?;
            Ok(false)
        }
        (None, None) => {
            say(&format!("{}: as written\n", story.name))?;
            Ok(true)
        }
        (None, Some(difference)) if blesses => {
            story.bless(&played)?;
            say(&format!("{}: blessed, {difference}", story.name))?;
            Ok(true)
        }
        (None, Some(difference)) => {
            say(&format!("{}: {difference}", story.name))?;
            Ok(false)
        }
    }
}

fn headline(story: &Story) -> String {
    let rules: Vec<String> = story.rules.iter().map(ToString::to_string).collect();
    let promises: Vec<&str> = story.promises.iter().map(String::as_str).collect();
    let mut line = story.name.clone();
    for (what, words) in [("rules", rules.join(", ")), ("promises", promises.join(", "))] {
        if !words.is_empty() {
            line += &format!("; {what} {words}");
        }
    }
    line
}
