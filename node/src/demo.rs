//! `quorumfence demo`: a whole cluster on one machine, to learn from and to show.
//!
//! ```text
//!   bootstrap ─▶ lessons ─▶ timeline ─▶ verdict          the product is asked only for the timeline
//!       └─────────┴── Stage: real (hosts/) or embedded ──▶ who ran what when: the verdict's only source
//! ```
//!
//! [`cluster`] is the same rig with the same bootstrap for those who bring lessons of their own.

#![expect(
    clippy::disallowed_methods,
    reason = "the demo is a piece of the world: real clocks, and names that no other run uses"
)]

pub mod cluster;
pub mod hosts;

mod args;
mod bootstrap;
mod console;
mod daemon;
mod embedded;
mod lessons;
mod place;
mod real;
mod remote;
mod shell;
mod stage;
mod timeline;
mod verdict;

use std::fs::File;
use std::path::Path;

use quorumfence_machine::HostId;
use serde::Serialize;

pub use self::args::{Args, Lesson};
use self::console::Console;
use self::embedded::Embedded;
use self::lessons::{Scene, play};
use self::place::Place;
use self::real::Real;
use self::shell::Shell;
pub use self::stage::Guest;
use self::stage::Stage;
use self::timeline::{Entry, Figures};
use self::verdict::{Judgement, judge};
use crate::cli::output::{self, Format, Printed};
use crate::cli::{Exit, Failure, Globals};
use crate::telemetry;

/// One run, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    lesson: Lesson,
    mode: Mode,
    profile: crate::config::Profile,
    held: bool,
    timeline: Vec<Entry>,
    figures: Figures,
    verdict: Judgement,
}

impl Printed for Run {
    const KIND: &'static str = "DemoRun";
}

/// Plays one lesson and judges it. An error also stands for a broken promise.
pub async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let is_for_programs = args.json || globals.output == Format::Json;
    let console = if is_for_programs { Console::Programs } else { Console::People };
    let mode = mode(&args, console)?;
    let mut place = Place::make()?;
    let log = File::create(place.path().join("demo.log")).map_err(|error| Failure::of(Exit::Failed, &error))?;
    telemetry::start_in(log);
    let played = tokio::select! {
        played = stage_and_play(mode, &args, console, place.path()) => played,
        interrupted = interrupted() => match interrupted {
            Ok(()) => console.say("\nInterrupted: everything of this run is being removed."),
            Err(error) => Err(Failure::of(Exit::Failed, &error)),
        },
    };
    if played.is_err() {
        place.keep();
        console.say(&format!("\nThe files of this run are kept in {}.", place.path().display()))?;
    }
    played
}

/// What the hosts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Real,
    Embedded,
}

/// Chooses the mode, and refuses real mode where something is missing for it.
fn mode(args: &Args, console: Console) -> Result<Mode, Failure> {
    if args.embedded {
        return Ok(Mode::Embedded);
    }
    if !rustix::process::geteuid().is_root() {
        console.say("Real hosts need root, so the hosts are simulated in this process (--embedded).\n")?;
        return Ok(Mode::Embedded);
    }
    let missing = real::missing();
    if missing.is_empty() {
        return Ok(Mode::Real);
    }
    let message = "the demo cannot make real hosts here; install what is missing, or add --embedded to simulate them";
    let mut failure = Failure::new(Exit::Failed, message);
    failure.causes = missing;
    Err(failure)
}

async fn stage_and_play(mode: Mode, args: &Args, console: Console, directory: &Path) -> Result<(), Failure> {
    match mode {
        Mode::Real => {
            let words =
                "real: hosts are namespaces with libvirtd, QEMU guests and an agent; power-off really kills them";
            banner(console, args, directory, [words, "the BMCs (ipmi_sim), the power and the cables of the hosts"])?;
            let stage = Real::create(directory, console)?;
            whole(args, console, directory, stage, mode).await
        }
        Mode::Embedded => {
            let words =
                "embedded: one process; three controllers over TLS on loopback with RocksDB, 8 hosts, 40 instances";
            banner(console, args, directory, [words, embedded::bmc_words()])?;
            place::remove_leftovers(place::Leftovers::WithoutRig);
            let stage = Embedded::create(directory, console)?;
            whole(args, console, directory, stage, mode).await
        }
    }
}

fn banner(console: Console, args: &Args, directory: &Path, [mode, simulated]: [&str; 2]) -> Result<(), Failure> {
    let facts = [
        ("mode", mode.to_string()),
        ("simulated", simulated.to_string()),
        (
            "profile",
            format!("{:?}, checks every {}", args.profile, bootstrap::check_interval(args.profile)).to_lowercase(),
        ),
        ("lesson", args.lesson.words().to_string()),
        ("$DIR", directory.display().to_string()),
    ];
    console.say(&format!("quorumfence {} demo\n", env!("CARGO_PKG_VERSION")))?;
    console.say(output::facts(&facts).trim_end())
}

/// Plays the whole piece on a stage.
async fn whole<S: Stage>(
    args: &Args,
    console: Console,
    directory: &Path,
    mut stage: S,
    mode: Mode,
) -> Result<(), Failure> {
    let shell = Shell::new(directory, console)?;
    let remote = bootstrap::bootstrap(&mut stage, &shell, console, args.profile).await?;
    let victim: HostId = "host2".parse().expect("it is a name");
    bootstrap::arm(&shell, console, &victim).await?;
    let mut scene = Scene { stage, remote, shell, console, victim };
    let story = play(&mut scene, args.lesson).await?;
    let timeline = timeline::of(&scene, &story)?;
    let figures = Figures::of(&scene, &story, &timeline);
    let verdict = judge(&scene, &story)?;
    let held = verdict.held();
    console.say(&format!("\nTimeline, in seconds since the fault:\n{}", timeline::lines(&timeline)))?;
    console.say(&format!("\nFigures:\n{}", figures.lines().join("\n")))?;
    console.say(&format!("\nVerdict, from {}:\n{}", scene.stage.witness(), verdict.text().trim_end()))?;
    console.say(if held { "\nAll promises held." } else { "\nA PROMISE WAS BROKEN." })?;
    if console == Console::Programs {
        let run = Run { lesson: args.lesson, mode, profile: args.profile, held, timeline, figures, verdict };
        output::print(Format::Json, &[run], |_| String::new())?;
    }
    if args.hold {
        console.say(&format!(
            "\nThe cluster keeps running. In another terminal:\n  export QUORUMFENCE_CONTEXT={}\n  quorumfence status\n\
             Ctrl-C ends it.",
            scene.shell.context().display()
        ))?;
        std::future::pending::<()>().await;
    }
    match held {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, "a promise was broken; the verdict above says which")),
    }
}

/// Returns once somebody interrupts the demo.
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
