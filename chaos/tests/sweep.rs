//! Seeds under every fault at once: the promises hold, and each seed is one run.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Seeds of the sweep. More of them: `quorumfence-chaos sim --seeds 10000 --from 1000`.
const SEEDS: u64 = 100;

fn chaos(arguments: &[&str]) -> (bool, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).args(arguments).output().unwrap();
    (ran.status.success(), String::from_utf8(ran.stdout).unwrap() + &String::from_utf8_lossy(&ran.stderr))
}

#[test]
fn every_promise_holds_under_every_seed() {
    let cases = std::env::temp_dir();
    let seeds = SEEDS.to_string();
    let (held, said) = chaos(&["sim", "--keep-going", "--seeds", &seeds, "--cases", cases.to_str().unwrap()]);
    assert!(held, "{said}");
    assert!(said.contains(&format!("{SEEDS} seeds, ")) && said.ends_with("; 0 broken\n"), "{said}");
}

#[test]
fn a_seed_is_one_run_in_every_process() {
    for seed in ["3", "7", "12"] {
        let report = || -> Value { serde_json::from_str(&chaos(&["run", "--json", "--seed", seed]).1).unwrap() };
        let (first, second) = (report(), report());
        assert_eq!(first["trace"], second["trace"], "seed {seed}");
        assert!(first["faults"].as_object().unwrap().len() > 5, "{first}");
    }
}

#[test]
fn what_was_broken_once_stays_mended() {
    let cases = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).unwrap();
    let mut played = 0;
    for case in cases {
        let path = case.unwrap().path();
        let (held, said) = chaos(&["replay", path.to_str().unwrap()]);
        assert!(held, "{}: {said}", path.display());
        played += 1;
    }
    assert!(played > 0, "there are cases");
}

#[test]
fn a_case_that_is_none_is_an_error_and_no_verdict() {
    let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).args(["replay", "nosuch.json"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.starts_with("error: nosuch.json cannot be read"), "{said}");
}
