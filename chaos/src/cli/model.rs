//! `quorumfence-chaos model`

use std::process::ExitCode;

use quorumfence_chaos::model::{self, Beginning, Bounds, Checked, GOALS, Guard, Until};

use super::say;

/// Arguments of `model`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Controllers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    controllers: u8,
    /// Hosts.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    hosts: u8,
    /// Entries of the log.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=60))]
    log: u8,
    /// Faults.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=60))]
    faults: u8,
    /// How often a permit's life passes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=10))]
    steps: u8,
    /// Boots of a host, the first included.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    boots: u8,
    /// Lets agents restart within a boot.
    #[arg(long)]
    agents_restart: bool,
    /// Begins with the first host off and fenced.
    #[arg(long)]
    first_fenced: bool,
    /// Takes a guard away, in a world in which that shows; the other arguments are not used.
    #[arg(long, value_name = "GUARD")]
    without: Option<Guard>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let beginning = if args.first_fenced { Beginning::FirstFenced } else { Beginning::AllUp };
    let Args { controllers, hosts, log, faults, steps, boots, agents_restart, .. } = *args;
    let bounds = Bounds { controllers, hosts, log, faults, steps, boots, agents_restart, beginning };
    let (bounds, until) = match args.without {
        Some(guard) if guard.goal().is_none() => (guard.bounds(), Until::Broken),
        Some(guard) => (guard.bounds(), Until::Exhausted),
        None => (bounds, Until::Exhausted),
    };
    let checked = model::check(bounds, args.without, until);
    say(&format!("{bounds}\n"))?;
    say(&format!("{} states, {} with repeats, depth {}\n", checked.unique, checked.total, checked.depth))?;
    for goal in GOALS {
        match checked.reached.get(goal) {
            Some(story) => say(&format!("reached in {:>2} steps: {goal}\n", story.steps))?,
            None => say(&format!("not reached:         {goal}\n"))?,
        }
    }
    tell(args.without, &checked)
}

/// Returns 1 when something is broken, or a goal that a missing guard leads to is out of reach.
fn tell(without: Option<Guard>, checked: &Checked) -> anyhow::Result<ExitCode> {
    if let Some((name, story)) = checked.shortest() {
        say(&format!("broken: {name}\n{story}"))?;
        return Ok(ExitCode::from(1));
    }
    let out_of_reach = without.and_then(Guard::goal).filter(|goal| !checked.reached.contains_key(goal));
    match out_of_reach {
        Some(goal) => say(&format!("out of reach: {goal}\n"))?,
        None => say("everything holds in every state\n")?,
    }
    Ok(ExitCode::from(u8::from(out_of_reach.is_some())))
}
