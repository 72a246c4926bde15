//! The model: the whole protocol holds in every state within bounds, and no guard can be taken away unnoticed.
//!
//! The stories in `scenarios/model` are what happens without each guard. `QUORUMFENCE_BLESS=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use quorumfence_chaos::model::*;

const WHOLE: Bounds = Bounds {
    controllers: 2,
    hosts: 2,
    log: 9,
    faults: 2,
    steps: 1,
    boots: 2,
    agents_restart: false,
    beginning: Beginning::AllUp,
};

const FENCED: Bounds = Bounds { beginning: Beginning::FirstFenced, ..WHOLE };

#[expect(clippy::print_stdout, reason = "a test run shows how far the model went")]
fn holds(bounds: Bounds, goals: &[&str]) {
    let checked = check(bounds, None, Until::Exhausted);
    println!("{bounds}: {} states, {} with repeats, depth {}", checked.unique, checked.total, checked.depth);
    if let Some((name, story)) = checked.shortest() {
        panic!("{bounds}: {name}\n{story}");
    }
    let missing: Vec<&&str> = goals.iter().filter(|goal| !checked.reached.contains_key(**goal)).collect();
    assert!(missing.is_empty(), "{bounds}: out of reach: {missing:?}");
}

#[test]
fn a_fence_a_recovery_and_a_return_with_two_leaders_keep_every_promise() {
    holds(WHOLE, &[RECOVERED, RETURNED, LATE_OFF, LATE_OFF_TO_NEW_BOOT, LATE_START, TWO_EXECUTORS]);
}

#[test]
fn a_recovery_whose_target_fails_keeps_every_promise() {
    let bounds = Bounds { hosts: 3, log: 4, faults: 2, steps: 0, ..FENCED };
    holds(bounds, &[RECOVERED, LATE_OFF, LATE_START, TWO_EXECUTORS, REBOOT]);
}

#[test]
fn a_second_fault_under_a_second_leader_keeps_every_promise() {
    let bounds = Bounds { log: 6, faults: 2, steps: 0, ..FENCED };
    holds(bounds, &[RECOVERED, RETURNED, SECOND_FAULT, LATE_OFF, LATE_OFF_TO_NEW_BOOT, LATE_START]);
}

#[test]
fn the_return_from_total_loss_keeps_every_promise() {
    let bounds = Bounds { controllers: 1, log: 9, faults: 1, steps: 1, ..FENCED };
    holds(bounds, &[RECOVERED, RETURNED, TOTAL_LOSS, REBOOT]);
}

#[test]
fn agents_that_restart_and_forget_keep_every_promise() {
    let bounds = Bounds { hosts: 3, log: 3, faults: 3, steps: 0, agents_restart: true, ..FENCED };
    holds(bounds, &[RECOVERED, LATE_START]);
}

#[test]
fn every_guard_is_missed() {
    let changed: Vec<String> =
        Guard::ALL.iter().filter_map(|guard| compared(&guard.to_string(), &without(*guard)).err()).collect();
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn no_story_is_left_over() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<String> = files.collect();
    let left: Vec<&String> =
        files.iter().filter(|name| name.trim_end_matches(".txt").parse::<Guard>().is_err()).collect();
    assert!(left.is_empty(), "no guard has these: {left:?}");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/model")
}

fn compared(name: &str, told: &str) -> Result<(), String> {
    let file = folder().join(format!("{name}.txt"));
    if std::env::var_os("QUORUMFENCE_BLESS").is_some() {
        std::fs::write(&file, told).unwrap();
    }
    if std::fs::read_to_string(&file).unwrap_or_default() == told {
        return Ok(());
    }
    Err(format!("read this story; QUORUMFENCE_BLESS=1 takes it over: {}\n{told}", file.display()))
}

/// Tells what happens without a guard, or panics when nothing does.
fn without(guard: Guard) -> String {
    let bounds = guard.bounds();
    let mut text = format!("without: {}\nguard:   {}\nworld:   {bounds}\n", guard.rule(), guard.place());
    if let Some(goal) = guard.goal() {
        let whole = check(bounds, None, Until::Exhausted);
        let lifted = check(bounds, Some(guard), Until::Exhausted);
        let story = whole.reached.get(goal).unwrap_or_else(|| panic!("{guard}: '{goal}' is never reached"));
        assert!(!lifted.reached.contains_key(goal), "{guard}: '{goal}' is reached without it");
        assert_eq!(lifted.shortest(), None, "{guard}");
        writeln!(
            text,
            "lost:    {goal}\n\nthis can happen with it, and in none of {} states without it:",
            lifted.unique
        )
        .unwrap();
        write!(text, "{story}").unwrap();
        return text;
    }
    let checked = check(bounds, Some(guard), Until::Broken);
    let (name, story) = checked.shortest().unwrap_or_else(|| panic!("{guard} is not missed in {bounds}"));
    write!(text, "broken:  {name}\n\n{story}").unwrap();
    text
}
