//! `quorumfence-chaos soak`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use super::{case, say, sweep};

/// Arguments of `soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many hours; parts of one are possible.
    #[arg(long, required_unless_present = "minutes")]
    hours: Option<f64>,
    /// How many minutes; with hours, so many more.
    #[arg(long)]
    minutes: Option<f64>,
    /// The first seed [default: one that no other soak began with].
    #[arg(long)]
    from: Option<u64>,
    /// Processes at the same time; as many as there are cores, unless told otherwise.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Goes on after a broken promise, and counts them.
    #[arg(long)]
    keep_going: bool,
    /// Where cases of broken promises are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    cases: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let length = length(args.hours, args.minutes)?;
    let from = match args.from {
        Some(from) => from,
        None => sweep::fresh(SystemTime::now())?,
    };
    let until = case::clock().checked_add(length).context("that is longer than any clock runs")?;
    say(&format!(
        "seeds from {from} on, for {:.1} minutes; again: quorumfence-chaos sim --from {from}\n",
        length.as_secs_f64() / 60.0
    ))?;
    sweep::run(&sweep::Args {
        seeds: u64::MAX,
        from,
        fresh: false,
        jobs: args.jobs,
        keep_going: args.keep_going,
        cases: args.cases.clone(),
        until: Some(until),
    })
}

fn length(hours: Option<f64>, minutes: Option<f64>) -> anyhow::Result<Duration> {
    let seconds = hours.unwrap_or(0.0) * 3600.0 + minutes.unwrap_or(0.0) * 60.0;
    let length = Duration::try_from_secs_f64(seconds).ok().filter(|length| !length.is_zero());
    length.context("a soak takes some time: give hours or minutes above zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_minutes_add_up() {
        let seconds = |hours, minutes| length(hours, minutes).map(|length| length.as_secs()).ok();
        assert_eq!(seconds(Some(1.5), None), Some(5400));
        assert_eq!(seconds(None, Some(0.5)), Some(30));
        assert_eq!(seconds(Some(1.0), Some(1.0)), Some(3660));
        for nothing in [Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY), None] {
            assert_eq!(seconds(nothing, None), None, "{nothing:?}");
        }
    }

    #[test]
    fn two_soaks_begin_apart() {
        let at = |millis| sweep::fresh(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).unwrap();
        assert_eq!(at(1_000_001) - at(1_000_000), sweep::SEEDS_PER_MILLISECOND);
    }
}
