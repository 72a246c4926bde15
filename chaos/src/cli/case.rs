//! Cases: what is run, in a file; and what came out of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use quorumfence_chaos::observation::{Observation, Seen};
use quorumfence_chaos::script::Script;
use quorumfence_chaos::verdict::Broken;
use quorumfence_chaos::world::sim::{Ended, Run, play};
use serde::{Deserialize, Serialize};

/// What a process tells of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// The broken promise; none when all held.
    pub(crate) broken: Option<String>,
    /// Which it is.
    pub(crate) promise: Option<String>,
    /// How often each promise was put to the test.
    pub(crate) judged: BTreeMap<String, u64>,
    /// How often each kind of fault happened.
    pub(crate) faults: BTreeMap<String, u64>,
    /// How often a task of the product stood at each stall point.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stood: BTreeMap<String, u64>,
    /// How often the nemesis wanted what the world cannot do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) left_out: BTreeMap<String, u64>,
    /// How often a node really stood still at each stall point, where the world knows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) stalls: BTreeMap<String, u64>,
    /// How often each kind of event was committed.
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) simulated_ms: u64,
    pub(crate) wall_ms: u64,
    /// Time of one core.
    pub(crate) cpu_ms: u64,
    /// The faults as they happened.
    pub(crate) script: Script,
    /// A hash of everything that was seen: equal for equal runs.
    pub(crate) trace: String,
}

/// Panics of any task, also of one that nobody waits for.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Makes every panic of this process a broken promise.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut panics) = PANICS.lock() {
            panics.push(panic.to_string().replace('\n', " "));
        }
    }));
}

/// Takes the panics that nobody has told of, oldest first.
pub(crate) fn panics() -> Vec<String> {
    PANICS.lock().map(|mut panics| std::mem::take(&mut *panics)).unwrap_or_default()
}

/// Plays a run and tells what came out.
pub(crate) fn judge(run: &Run) -> anyhow::Result<(Ended, Report)> {
    judge_by(run, play)
}

/// The same for a run that is played in some other way.
pub(crate) fn judge_by(run: &Run, play: impl FnOnce(&Run) -> anyhow::Result<Ended>) -> anyhow::Result<(Ended, Report)> {
    let began = clock();
    let ended = play(run).with_context(|| format!("seed {}: the world did not open", run.seed))?;
    sum_up(run.seed, began, ended)
}

/// Tells what came out of a run that began at that moment.
pub(crate) fn sum_up(seed: u64, began: Instant, mut ended: Ended) -> anyhow::Result<(Ended, Report)> {
    let panic = PANICS.lock().ok().and_then(|mut panics| panics.pop());
    if let (Some(why), None) = (panic, &ended.broken) {
        ended.broken = Some(Broken { promise: "panic", at: ended.simulated, why });
    }
    let mut faults = BTreeMap::new();
    for action in &ended.script.actions {
        *faults.entry(action.fault.kind()).or_default() += 1;
    }
    let report = Report {
        seed,
        broken: ended.broken.as_ref().map(ToString::to_string),
        promise: ended.broken.as_ref().map(|broken| broken.promise.to_string()),
        judged: ended.judged.iter().map(|(promise, times)| ((*promise).to_string(), *times)).collect(),
        faults,
        stood: ended.stood.iter().map(|(point, times)| (point.to_string(), *times)).collect(),
        left_out: BTreeMap::new(),
        stalls: BTreeMap::new(),
        events: events(&ended.history),
        simulated_ms: ended.simulated.0,
        script: ended.script.clone(),
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        cpu_ms: cpu_ms(),
        trace: format!("{:016x}", trace(&ended.history)?),
    };
    Ok((ended, report))
}

impl Report {
    /// Returns the report of a process that gave none.
    pub(crate) fn lost(seed: u64, why: String) -> Self {
        Self {
            seed,
            broken: Some(why),
            promise: Some("process".into()),
            judged: BTreeMap::new(),
            faults: BTreeMap::new(),
            stood: BTreeMap::new(),
            left_out: BTreeMap::new(),
            stalls: BTreeMap::new(),
            events: BTreeMap::new(),
            simulated_ms: 0,
            wall_ms: 0,
            cpu_ms: 0,
            script: Script::default(),
            trace: String::new(),
        }
    }
}

/// Returns how long this thread, which simulates alone, had a core; zero where the kernel does not say.
fn cpu_ms() -> u64 {
    let told = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = told.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    nanos.unwrap_or_default() / 1_000_000
}

/// Returns the time on this machine's clock: how long a run takes is a matter of the machine and not of the simulation.
#[expect(clippy::disallowed_methods, reason = "no production loop runs on this clock")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Counts committed events by their kind, each entry once.
fn events(history: &[Observation]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut last = 0;
    for observation in history {
        if let Seen::Applied { index, events, .. } = &observation.seen
            && index.0 > last
        {
            last = index.0;
            for event in events {
                let words = format!("{event:?}");
                let kind = words.split([' ', '{', '(']).next().unwrap_or_default();
                *counts.entry(kind.to_string()).or_default() += 1;
            }
        }
    }
    counts
}

fn trace(history: &[Observation]) -> anyhow::Result<u64> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for observation in history {
        for byte in serde_json::to_vec(observation)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    Ok(hash)
}

/// Reads a case.
pub(crate) fn read(path: &Path) -> anyhow::Result<Run> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no case", path.display()))
}

/// Writes a case, so that it can be replayed.
pub(crate) fn write(path: &Path, run: &Run) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(run)? + "\n";
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
