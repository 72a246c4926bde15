//! `quorumfence-chaos shrink`

use std::path::PathBuf;
use std::process::ExitCode;

use quorumfence_chaos::script::{Action, Script};
use quorumfence_chaos::world::sim::Run;

use super::{case, say};

/// Tries in all: each takes about a second.
const TRIES_MAX: u32 = 400;

/// Arguments of `shrink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A seed that breaks a promise.
    #[arg(long, required_unless_present = "case")]
    seed: Option<u64>,
    /// A case that breaks a promise.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    case: Option<PathBuf>,
    /// Where the small case is written.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let run = match (&args.case, args.seed) {
        (Some(path), _) => case::read(path)?,
        (None, Some(seed)) => Run::of(seed),
        (None, None) => anyhow::bail!("a seed or a case is needed"),
    };
    case::watch_panics();
    let (ended, _) = case::judge(&run)?;
    let Some(broken) = ended.broken else {
        say("every promise held; there is nothing to shrink\n")?;
        return Ok(ExitCode::from(2));
    };
    say(&format!("{} faults: {broken}\n", ended.script.actions.len()))?;
    let breaks = |actions: &[Action]| -> anyhow::Result<bool> {
        let script = Some(Script { actions: actions.to_vec() });
        let (ended, _) = case::judge(&Run { script, ..run.clone() })?;
        Ok(ended.broken.is_some_and(|other| other.promise == broken.promise))
    };
    let (actions, tries) = shrink(ended.script.actions, TRIES_MAX, breaks)?;
    let script = Script { actions };
    say(&format!("{} faults after {tries} tries:\n{script}", script.actions.len()))?;
    case::write(&args.out, &Run { script: Some(script), ..run })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns fewer items that still break, and how many tries it took. Zeller and Hildebrandt's ddmin, "Simplifying and
/// Isolating Failure-Inducing Input" (2002), with a limit on tries.
fn shrink<T: Clone>(
    mut items: Vec<T>,
    tries_max: u32,
    mut breaks: impl FnMut(&[T]) -> anyhow::Result<bool>,
) -> anyhow::Result<(Vec<T>, u32)> {
    let (mut parts, mut tries) = (2, 0);
    while items.len() >= 2 && tries < tries_max {
        let size = items.len().div_ceil(parts);
        let mut smaller = None;
        for at in (0..items.len()).step_by(size) {
            let without = [&items[..at], &items[items.len().min(at + size)..]].concat();
            tries += 1;
            if breaks(&without)? {
                smaller = Some(without);
                break;
            }
            if tries >= tries_max {
                break;
            }
        }
        match smaller {
            Some(fewer) => {
                items = fewer;
                parts = 2.max(parts - 1);
            }
            None if size == 1 => break,
            None => parts = items.len().min(parts * 2),
        }
    }
    Ok((items, tries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_stays() {
        let needs = |items: &[u32]| Ok(items.contains(&3) && items.contains(&40));
        let (items, tries) = shrink((0..60).collect(), 400, needs).unwrap();
        assert_eq!(items, [3, 40]);
        assert!(tries < 100, "{tries}");
    }

    #[test]
    fn a_limit_on_tries_is_kept() {
        let (items, tries) = shrink((0..60).collect::<Vec<u32>>(), 3, |_| Ok(false)).unwrap();
        assert_eq!((items.len(), tries), (60, 3));
    }
}
