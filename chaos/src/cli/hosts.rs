//! `quorumfence-chaos run --world hosts`

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use quorumfence_chaos::history::History;
use quorumfence_chaos::script::Script;
use quorumfence_chaos::swarm::Kind;
use quorumfence_chaos::world::hosts::{Ended, GUESTS, KINDS_LEFT_OUT, Logs, Run, play};
use quorumfence_machine::Millis;
use serde::Serialize;

use super::{run, say};

/// What came out, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    seed: u64,
    broken: Option<String>,
    doubt: Option<&'a str>,
    judged: &'a BTreeMap<&'static str, u64>,
    faults: BTreeMap<String, u64>,
    left_out: &'a BTreeMap<String, u64>,
    /// The runs of each guest by its own log, with how many records each wrote.
    logs: &'a Logs,
    took_ms: u64,
    script: &'a Script,
}

pub(crate) fn run(args: &run::Args, seed: u64) -> anyhow::Result<ExitCode> {
    let script = match &args.script {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            Some(text.parse::<Script>().with_context(|| format!("{} is no script", path.display()))?)
        }
        None => None,
    };
    let chaos = Millis(args.seconds * 1000);
    let what = Run { seed, chaos, script, program: args.program.clone() };
    if !args.json {
        let plan = what.plan();
        let words = format!(
            "{:?} settings; a fault each {} on average: {}",
            plan.shape.profile,
            plan.pause,
            kinds(&plan.kinds)
        );
        say(&format!("seed {}: 3 controllers, 3 hosts, {} guests; {words}\n", seed, GUESTS.len()))?;
        say(&format!("left out here: {}\n", kinds(&KINDS_LEFT_OUT)))?;
    }
    let ended = play(&what)?;
    if let Some(path) = &args.history {
        let file = fs::File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
        History { observations: ended.history.clone() }.write(std::io::BufWriter::new(file))?;
    }
    if args.json {
        say(&(serde_json::to_string(&report(seed, &ended))? + "\n"))?;
    } else {
        tell(args, seed, &ended)?;
    }
    Ok(match (&ended.broken, &ended.doubt) {
        (Some(_), _) => ExitCode::from(1),
        (None, Some(_)) => ExitCode::from(2),
        (None, None) => ExitCode::SUCCESS,
    })
}

fn report(seed: u64, ended: &Ended) -> Report<'_> {
    let mut faults = BTreeMap::new();
    for action in &ended.script.actions {
        *faults.entry(action.fault.kind()).or_default() += 1;
    }
    Report {
        seed,
        broken: ended.broken.as_ref().map(ToString::to_string),
        doubt: ended.doubt.as_deref(),
        judged: &ended.judged,
        faults,
        left_out: &ended.left_out,
        logs: &ended.logs,
        took_ms: ended.took.0,
        script: &ended.script,
    }
}

fn tell(args: &run::Args, seed: u64, ended: &Ended) -> anyhow::Result<()> {
    if args.trace {
        for observation in &ended.history {
            say(&format!("{observation}\n"))?;
        }
    }
    let report = report(seed, ended);
    say(&format!("script:\n{}", ended.script))?;
    say(&format!("faults: {}\n", counts(&report.faults)))?;
    say(&format!("chosen, and left out because this world cannot do them: {}\n", counts(report.left_out)))?;
    for (guest, runs) in &ended.logs {
        let runs: Vec<String> = runs.iter().map(|(run, records)| format!("{run} wrote {records}")).collect();
        say(&format!("{guest}: {}\n", runs.join(", then ")))?;
    }
    let judged = ended.judged.iter().map(|(promise, times)| format!("{promise} {times}")).collect::<Vec<_>>();
    say(&format!("judged: {}\n", judged.join(", ")))?;
    say(&format!("{} s\n", ended.took.0 / 1000))?;
    if let Some(kept) = &ended.kept {
        say(&format!("the files of the run are kept in {}\n", kept.display()))?;
    }
    match (&ended.broken, &ended.doubt) {
        (Some(broken), _) => say(&format!("{broken}\n")),
        (None, Some(doubt)) => say(&format!("no promise was seen broken, and liveness is not known: {doubt}\n")),
        (None, None) => say("every promise held\n"),
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn kinds(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect::<Vec<_>>().join(", ")
}
