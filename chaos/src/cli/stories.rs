//! `quorumfence-chaos stories`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use quorumfence_chaos::story::{self, BLESS, Story};

use super::say;

/// Arguments of `stories`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Plays only stories whose name holds this.
    #[arg(long, value_name = "WORD", default_value = "")]
    filter: String,
    /// Lists them, and plays none.
    #[arg(long)]
    list: bool,
    /// Where the stories are.
    #[arg(long, value_name = "DIR", default_value = "chaos/scenarios")]
    scenarios: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut stories = story::all(&args.scenarios)?;
    stories.retain(|story| story.name.contains(&args.filter));
    ensure!(!stories.is_empty(), "no story of {} has '{}' in its name", args.scenarios.display(), args.filter);
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

/// Plays one story and prints its timeline.
pub(crate) fn play(place: &Path, trace: bool) -> anyhow::Result<ExitCode> {
    let story = Story::read(place)?;
    let played = story.play()?;
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
