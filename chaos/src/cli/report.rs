//! `quorumfence-chaos report`

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use quorumfence_chaos::history::History;
use quorumfence_chaos::observation::{Observation, Seen};
use quorumfence_chaos::report::{Summary, page};
use quorumfence_chaos::verdict::Court;

use super::{case, say};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The case to play and draw.
    #[arg(value_name = "CASE", required_unless_present = "history", conflicts_with = "history")]
    case: Option<PathBuf>,
    /// What a run wrote with --history.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Where to write the page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// Draws a run. The exit code says whether its promises held, as that of the run does.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (summary, observations) = match (&args.case, &args.history) {
        (Some(path), _) => of_case(path)?,
        (None, Some(path)) => of_history(path)?,
        (None, None) => anyhow::bail!("neither a case nor a history is named"),
    };
    let text = page(&summary, &observations);
    std::fs::write(&args.out, text).with_context(|| format!("{} cannot be written", args.out.display()))?;
    let words = summary.broken.as_ref().map_or_else(|| "every promise held".into(), ToString::to_string);
    say(&format!("{}: {words}\n", args.out.display()))?;
    Ok(ExitCode::from(u8::from(summary.broken.is_some())))
}

fn of_case(path: &Path) -> anyhow::Result<(Summary, Vec<Observation>)> {
    case::watch_panics();
    let (ended, report) = case::judge(&case::read(path)?)?;
    let again = Some(format!("quorumfence-chaos replay {} --trace", path.display()));
    let run = format!("seed {} of {}", report.seed, path.display());
    Ok((Summary { run, broken: ended.broken, judged: report.judged, again }, ended.history))
}

fn of_history(path: &Path) -> anyhow::Result<(Summary, Vec<Observation>)> {
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let History { observations } = History::read(BufReader::new(file)).with_context(|| path.display().to_string())?;
    let mut court = Court::on_a_real_machine();
    for observation in &observations {
        drop(court.see(observation));
    }
    let judged: BTreeMap<String, u64> =
        court.judged().into_iter().map(|(promise, times)| (promise.into(), times)).collect();
    let run = observations.iter().find_map(|observation| match &observation.seen {
        Seen::Opened { run, .. } => Some(run.clone()),
        Seen::PowerOff { .. }
        | Seen::PowerOn { .. }
        | Seen::OffTaken { .. }
        | Seen::Started { .. }
        | Seen::Ended { .. }
        | Seen::OffSent { .. }
        | Seen::Applied { .. }
        | Seen::Installed { .. }
        | Seen::Stopped { .. }
        | Seen::Running { .. }
        | Seen::Called { .. }
        | Seen::Answered { .. }
        | Seen::Fault { .. }
        | Seen::Healed
        | Seen::Closed => None,
    });
    let run = run.unwrap_or_else(|| path.display().to_string());
    Ok((Summary { run, broken: court.broken().cloned(), judged, again: None }, observations))
}
