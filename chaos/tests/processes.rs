//! Real processes under every kind of fault that their world can do: the promises hold, and a lie is convicted.
//!
//! Needs root, and the `quorumfence` program beside `quorumfence-chaos`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorumfence_chaos::fault::Fault;
use quorumfence_chaos::script::Script;
use quorumfence_chaos::story;
use quorumfence_chaos::world::processes::{supports, unable};
use serde_json::Value;

/// Every kind of fault of this world, once or more often, in an order in which they meddle with each other.
const EVERYTHING: &str = "
500ms isolate host host1
1s weather loss 5% duplicate 5% delay 30ms
1s bmc host2 late 1500ms
1500ms controller leader kill
2s hypervisor host3 late 800ms
3s controller all start
3s rejoin host host1
3s controller 2 pause 2s
4s clock 3 +900ms
5s weather loss 0% duplicate 0% delay 0s
5s bmc host2 stale
5s hypervisor host3 fails
6s cut controller 1 -> host host3
6s operator start-maintenance host3
7s bmc host2 busy
8s join controller 1 -> host host3
8s operator end-maintenance host3
8s isolate host host2
8s hypervisor host3 loses-answer
9s bmc host2 refuses-login
9s clock 1 -3600000ms
9s clock 2 +315360000000ms
10s controller leader power-cut
11s bmc host2 loses-answer
11s operator disarm
12s controller all start
12s operator arm
13s rejoin host host2
13s operator confirm-dead host1
14s host host1 power-cut
14s bmc host2 ignores
14s hypervisor host3 hangs
15s host host1 power-on
16s host host3 freeze 3s
16s bmc host2 powers-back-on 2s
18s controller leader hand-over
18s hypervisor host3 works
19s bmc host2 silent
20s host host3 restart-agent
20s member add
20s clock 1 +3600000ms
20s clock 2 -315360000000ms
21s host host2 reboot
22s bmc host2 works
23s disk 1 works
24s heal
";

/// Hosts and controllers of the seed's cluster must be those that the script names.
const SEED: &str = "8";

/// Runs the program with its files below a directory.
fn chaos(place: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos"));
    let ran = program.args(arguments).env("TMPDIR", place).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

/// Plays a script against processes.
fn play(script: &str, seconds: &str, more: &[&str]) -> (Option<i32>, Value) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("script");
    fs::write(&file, script).unwrap();
    let run = ["run", "--world", "processes", "--seed", SEED, "--seconds", seconds, "--json"];
    let (code, out, err) = chaos(place.path(), &[&run[..], &["--script", file.to_str().unwrap()], more].concat());
    let report = out.lines().next().and_then(|line| serde_json::from_str(line).ok());
    (code, report.unwrap_or_else(|| panic!("{code:?} {out} {err}")))
}

#[test]
fn every_promise_holds_while_processes_suffer_every_kind_of_fault() {
    let script: Script = EVERYTHING.parse().unwrap();
    let kinds: BTreeSet<String> = script.actions.iter().map(|action| action.fault.kind()).collect();
    let history = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let (code, report) = play(EVERYTHING, "25", &["--history", history.to_str().unwrap()]);
    if code != Some(0) {
        panic!("{code:?} {report:#}\nhistory: {}", history.keep().unwrap().display());
    }
    for kind in kinds {
        assert!(report["faults"][&kind].as_u64().is_some_and(|times| times > 0), "{kind}: {report:#}");
    }
    for promise in ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "L1", "L2", "L3"] {
        assert!(report["judged"][promise].as_u64().unwrap() > 0, "{promise}: {report:#}");
    }
}

#[test]
fn a_bmc_that_says_off_of_a_running_host_is_convicted() {
    let (code, report) = play("1s isolate host host2\n", "20", &["--lie", "host2"]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["promise"], "S2", "{report:#}");
    let why = report["broken"].as_str().unwrap();
    assert!(why.contains("host2") && why.contains("it has had power ever since its fence"), "{why}");
}

#[test]
fn what_this_world_cannot_do_is_an_error_that_names_it() {
    for words in ["controller 1 snapshot", "disk 1 flip log", "operator enrol host1 pdu"] {
        assert!(supports(&words.parse::<Fault>().unwrap()).is_err(), "{words}");
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("script");
    fs::write(&file, "1s controller 1 snapshot\n").unwrap();
    let run = ["run", "--world", "processes", "--seed", SEED, "--script", file.to_str().unwrap()];
    let (code, _, err) = chaos(place.path(), &run);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("'1s controller 1 snapshot' cannot be done to processes: no verb of the product"), "{err}");
    let story = scenarios().join("fencing/second-level-when-the-bmc-is-gone");
    let (code, _, err) = chaos(place.path(), &["run", "--world", "processes", "--story", story.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("host2: the product has no driver for power outlets"), "{err}");
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

#[test]
fn most_stories_can_be_played_against_processes() {
    let stories = story::all(&scenarios()).unwrap();
    let able = stories.iter().filter(|story| unable(story).is_none()).count();
    assert!(10 * able >= 9 * stories.len(), "{able} of {}", stories.len());
}

#[test]
fn short_stories_are_told_by_processes_in_their_order() {
    let place = tempfile::tempdir().unwrap();
    for name in
        ["fencing/cut-off-host-is-powered-off-first", "admission/nobody-enrolled-it", "time/the-wall-clock-jumps"]
    {
        let story = scenarios().join(name);
        let (code, out, err) =
            chaos(place.path(), &["run", "--world", "processes", "--story", story.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{name}: {out} {err}");
    }
}
