//! Planted bugs: each has its reason, applies to this very tree, and stands in the table of the README.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorumfence_chaos::mutants;

/// The promises of the court, and the two ways to end a run without one.
const PROMISES: [&str; 14] =
    ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "L1", "L2", "L3", "panic", "process"];

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants")
}

#[test]
fn every_bug_says_why_it_is_one_and_what_should_convict_it() {
    let mutants = mutants::read(&place()).unwrap();
    assert!(mutants.len() >= 25, "{} bugs", mutants.len());
    for mutant in mutants {
        assert!(mutant.reason.len() > 20, "{}: {:?} is no reason", mutant.name, mutant.reason);
        assert!(!mutant.promises.is_empty(), "{}", mutant.name);
        for promise in &mutant.promises {
            assert!(PROMISES.contains(&promise.as_str()), "{}: there is no promise {promise}", mutant.name);
        }
        let patch = fs::read_to_string(place().join(format!("{}.patch", mutant.name))).unwrap();
        let asleep = format!("planted(\"{}\")", mutant.name);
        assert!(patch.contains(&asleep), "{} is awake for everybody: it never asks {asleep}", mutant.name);
        let outside = patch.lines().find(|line| line.starts_with("+++ b/chaos/"));
        assert_eq!(outside, None, "{} changes the court", mutant.name);
    }
}

#[test]
fn a_case_of_a_bug_that_sleeps_breaks_nothing() {
    let cases: Vec<PathBuf> = mutants::read(&place()).unwrap().into_iter().filter_map(|mutant| mutant.case).collect();
    for case in &cases {
        let ran = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).arg("replay").arg(case).output().unwrap();
        assert!(ran.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&ran.stdout));
    }
    let all = fs::read_dir(place()).unwrap().map(|entry| entry.unwrap().path());
    let files = all.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(files, cases.len(), "a case without its patch tries nothing");
    assert!(files > 0);
}

#[test]
fn every_bug_stands_in_the_table_and_nothing_else_does() {
    let readme = fs::read_to_string(place().join("../README.md")).unwrap();
    let names: Vec<String> = mutants::read(&place()).unwrap().into_iter().map(|mutant| mutant.name).collect();
    assert_eq!(mutants::names_in(&readme).unwrap(), names, "`quorumfence-chaos mutants --write-table` writes it");
    let escaped: Vec<&str> =
        readme.lines().filter(|row| row.starts_with("| `") && row.contains("| not convicted |")).collect();
    assert_eq!(escaped, Vec::<&str>::new(), "the court must learn to see these");
}

#[test]
fn all_bugs_apply_together_to_this_tree() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = std::env::temp_dir().join(format!("quorumfence-mutants-{}", std::process::id()));
    let patches = mutants::patches(&place()).unwrap();
    for patch in &patches {
        let text = fs::read_to_string(patch).unwrap();
        for name in text.lines().filter_map(|line| line.strip_prefix("--- a/")) {
            let to = copy.join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(source.join(name), to).unwrap();
        }
    }
    for patch in &patches {
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(&copy);
        let applied = git.env("GIT_CEILING_DIRECTORIES", std::env::temp_dir()).output().unwrap();
        let why = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(applied.status.success(), "{}: {why}", patch.display());
    }
    let switched = fs::read_to_string(copy.join("raft/machine/src/policy/guard.rs")).unwrap();
    assert!(switched.contains("planted(\"disarm-ignored\")"), "a patch that changes nothing applies everywhere");
    fs::remove_dir_all(copy).unwrap();
}
