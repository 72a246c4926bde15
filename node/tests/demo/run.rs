//! Runs the demo as a program would, and looks at its timeline. No time is asserted.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::Value;

/// One run of the demo.
pub(crate) struct Run {
    document: Value,
}

impl Run {
    /// Plays a lesson to its end; fails with everything that the demo said.
    pub(crate) fn of(mode: &str, lesson: &str) -> Self {
        // Two runs at once would share the cores, and a guest's boot takes all of them.
        let lock = File::create(std::env::temp_dir().join("quorumfence-demo-tests.lock")).unwrap();
        lock.lock().unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_quorumfence"));
        demo.args(["demo", "--json", "--lesson", lesson]).stdin(Stdio::null());
        if mode == "embedded" {
            demo.arg("--embedded");
        }
        let output = demo.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "the demo failed:\n{said}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let run = Self { document: document["items"][0].clone() };
        assert_eq!(run.document["mode"], mode, "real mode needs root on Linux; the demo ran in another mode:\n{said}");
        assert_eq!(run.document["held"], true, "{said}");
        run
    }

    fn timeline(&self) -> &[Value] {
        self.document["timeline"].as_array().unwrap()
    }

    /// Returns the places of a step in the timeline.
    pub(crate) fn places(&self, step: &str) -> Vec<usize> {
        let timeline = self.timeline().iter().enumerate();
        timeline.filter(|(_, entry)| entry["step"] == step).map(|(place, _)| place).collect()
    }

    /// Returns the first place of an entry of the demo's own that says `words`.
    pub(crate) fn place_of_words(&self, words: &str) -> usize {
        let says = |entry: &Value| entry["what"].as_str().unwrap().contains(words);
        self.timeline().iter().position(says).unwrap_or_else(|| panic!("nothing says '{words}': {self}"))
    }

    /// Fails unless the first entries of these steps follow each other.
    pub(crate) fn assert_order(&self, steps: &[&str]) {
        let places: Vec<Option<usize>> = steps.iter().map(|step| self.places(step).first().copied()).collect();
        assert!(places.iter().all(Option::is_some), "{steps:?} are at {places:?}: {self}");
        assert!(places.is_sorted(), "{steps:?} are at {places:?}: {self}");
    }

    /// Fails unless every guest of the lost host was started once, all before the recovery was finished.
    pub(crate) fn assert_one_start_each(&self, guests: usize) {
        let started = self.places("start-confirmed");
        let names: BTreeSet<&str> =
            started.iter().map(|place| self.timeline()[*place]["guest"].as_str().unwrap()).collect();
        assert_eq!((started.len(), names.len()), (guests, guests), "{self}");
        assert_eq!(self.places("finished").len(), 1, "{self}");
        assert_eq!(self.places("decision").len(), 1, "{self}");
        assert_eq!(self.places("first-line").len(), guests, "{self}");
    }

    /// Returns a figure in milliseconds, where there is one.
    pub(crate) fn figure(&self, name: &str) -> Option<u64> {
        self.document["figures"][name].as_u64()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.document["timeline"])
    }
}

/// What every recovery by power-off has in common, from the decision's votes to the guests' first lines.
const VOTES_TO_PERMIT: [&str; 5] = ["fault", "vote", "host-lost", "decision", "permit"];

/// Checks the lesson power-cut.
pub(crate) fn power_cut(mode: &str, guests: usize) {
    let run = Run::of(mode, "power-cut");
    run.assert_order(&VOTES_TO_PERMIT);
    run.assert_order(&["last-heartbeat", "vote"]);
    run.assert_order(&["fault", "chassis-off", "vote"]);
    run.assert_order(&[
        "permit",
        "off-read",
        "off-confirmed",
        "fenced",
        "start-planned",
        "start-ordered",
        "first-line",
    ]);
    assert_eq!(run.places("off-sent").len(), 0, "a host that is off is not ordered off: {run}");
    run.assert_one_start_each(guests);
}

/// Checks the lesson partition.
pub(crate) fn partition(mode: &str, guests: usize) {
    let run = Run::of(mode, "partition");
    run.assert_order(&VOTES_TO_PERMIT);
    run.assert_order(&["permit", "off-sent", "off-read", "off-confirmed", "fenced", "start-planned", "start-ordered"]);
    run.assert_order(&["off-sent", "chassis-off", "off-confirmed", "start-ordered", "first-line"]);
    run.assert_one_start_each(guests);
    assert!(run.figure("voteToOrderMs").is_some() && run.figure("proofToStartMs").is_some());
}

/// Checks the lesson bmc-dead.
pub(crate) fn bmc_dead(mode: &str, guests: usize) {
    let run = Run::of(mode, "bmc-dead");
    run.assert_order(&VOTES_TO_PERMIT);
    run.assert_order(&["permit", "attempt-failed", "fenced", "start-planned", "start-ordered", "first-line"]);
    assert_eq!((run.places("off-read").len(), run.places("off-confirmed").len()), (0, 0), "{run}");
    let vouched = run.place_of_words("an operator confirms");
    let first = |step: &str| run.places(step)[0];
    assert!(first("attempt-failed") < vouched && vouched < first("fenced"), "{run}");
    run.assert_one_start_each(guests);
}

/// Checks the lesson leader-dies.
pub(crate) fn leader_dies(mode: &str, guests: usize) {
    let run = Run::of(mode, "leader-dies");
    run.assert_order(&["fault", "vote", "host-lost", "decision", "off-sent", "off-read", "off-confirmed", "fenced"]);
    run.assert_order(&["fenced", "start-planned", "start-ordered", "first-line"]);
    let killed = run.place_of_words("is killed");
    assert!(run.places("decision")[0] < killed && killed < run.places("off-sent")[0], "{run}");
    assert_eq!((run.places("off-sent").len(), run.places("fenced").len()), (1, 1), "{run}");
    run.assert_one_start_each(guests);
    assert!(run.figure("leaderDeathToCommitMs").is_some());
}
