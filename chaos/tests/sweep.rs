//! Seeds under every fault at once: the promises hold, and each seed is one run.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Seeds of the sweep, which nobody has played before. More of them: `quorumfence-chaos soak --hours 1`.
const SEEDS: u64 = 300;

fn chaos(arguments: &[&str]) -> (bool, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).args(arguments).output().unwrap();
    (ran.status.success(), String::from_utf8(ran.stdout).unwrap() + &String::from_utf8_lossy(&ran.stderr))
}

#[test]
fn every_promise_holds_under_seeds_that_are_fresh() {
    let cases = std::env::temp_dir();
    let seeds = SEEDS.to_string();
    let (held, said) =
        chaos(&["sim", "--fresh", "--keep-going", "--seeds", &seeds, "--cases", cases.to_str().unwrap()]);
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

#[test]
fn what_holds_cannot_be_shrunk_and_no_case_is_written() {
    let out = std::env::temp_dir().join(format!("quorumfence-shrink-{}.json", std::process::id()));
    let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos"))
        .args(["shrink", "--seed", "3", "--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "every promise held; there is nothing to shrink\n");
    assert!(!out.exists());
}

#[test]
fn a_trace_tells_the_run_from_its_beginning_to_its_end() {
    let (held, said) = chaos(&["run", "--seed", "7", "--trace"]);
    assert!(held, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("seed 7: ") && lines[1].ends_with("run seed 7 begins"), "{}", lines[..2].join("\n"));
    assert!(lines.iter().any(|line| line.contains("  fault: ")));
    assert!(lines.iter().any(|line| line.ends_with("everything is healed")));
    assert_eq!(lines.last(), Some(&"every promise held"));
}
