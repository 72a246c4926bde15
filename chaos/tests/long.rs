//! Ten minutes of real processes under a seed that nobody has played before.
//!
//! It needs root, and little of a core: it runs beside the other tests. `quorumfence-chaos run --world processes --seed S --seconds 600`
//! plays the same faults again.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

const SECONDS: u64 = 600;

#[test]
fn ten_minutes_of_processes_under_a_fresh_seed_keep_every_promise() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let place = tempfile::tempdir().unwrap();
    let again = format!("again: quorumfence-chaos run --world processes --seed {seed} --seconds {SECONDS}");
    let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos"))
        .args(["run", "--world", "processes", "--json", "--seed", &seed, "--seconds", &SECONDS.to_string()])
        .arg("--history")
        .arg(place.path().join("history.jsonl"))
        .env("TMPDIR", place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let held = ran.status.success();
    if !held {
        // What the processes wrote is the evidence.
        let kept = place.keep();
        let error = String::from_utf8_lossy(&ran.stderr);
        panic!("{again}\nevidence: {}\n{}\n{said}\n{error}", kept.display(), ran.status);
    }
    let report: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    for promise in ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "L1", "L2", "L3"] {
        assert!(
            report["judged"][promise].as_u64().unwrap() > 0,
            "{promise} was not put to the test; {again}\n{report:#}"
        );
    }
    let faults = report["faults"].as_object().unwrap();
    let times: u64 = faults.values().map(|times| times.as_u64().unwrap()).sum();
    assert!(faults.len() >= 20 && times >= 100, "{} kinds, {times} faults; {again}", faults.len());
    assert!(report["simulatedMs"].as_u64().unwrap() >= 1000 * SECONDS, "{again}\n{report:#}");
}
