//! The world of hosts. Needs root on Linux and what `deploy/packages.sh demo` installs: without them it fails and says
//! what is missing. It runs for minutes: QEMU emulates.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::disallowed_methods, reason = "the hosts are real, and so is the clock")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quorumfence_chaos::script::Script;
use quorumfence_chaos::world::hosts::log::{runs, two_writers};
use quorumfence_chaos::world::hosts::{Run, play, records};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::Millis;
use quorumfence_node::demo::hosts::{GuestSpec, Host, Options, Rig};

/// Guests boot in seconds where the processor is free.
const PATIENCE: Duration = Duration::from_secs(240);

/// A run that wrote so often was alive for seconds.
const RECORDS: usize = 10;

fn guest() -> GuestSpec {
    GuestSpec { instance: "11111111-1111-4111-8111-111111111111".parse().unwrap(), name: "vm1".into(), priority: 900 }
}

/// Starts the guest past the product, as nobody should.
fn start(rig: &Rig, host: &Host) {
    let file = host.directory().join("start.xml");
    fs::write(&file, rig.guest_definition_with_log(&guest())).unwrap();
    let output = host.inside("virsh").unwrap().args(["create", "--validate"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the log has so many runs with several records each, and returns how many each wrote.
fn wait_for_runs(log: &Path, count: usize) -> Vec<usize> {
    let began = Instant::now();
    loop {
        let written: Vec<usize> =
            runs(&records(log, guest().instance).unwrap()).into_iter().map(|(_, records)| records).collect();
        if written.iter().filter(|records| **records >= RECORDS).count() == count {
            return written;
        }
        assert!(began.elapsed() < PATIENCE, "{count} runs did not write {RECORDS} records each: {written:?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn a_guest_that_runs_on_two_hosts_is_convicted_by_its_log_and_one_that_moved_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { hosts: 2, bmc_user: "admin".into(), bmc_password: Secret::new("s3cret") };
    let rig = Rig::create(directory.path(), &options).unwrap_or_else(|error| panic!("{error}"));
    let log = rig.add_log(&guest(), 10_000).unwrap();
    for host in rig.hosts() {
        host.power_on().unwrap();
    }
    let (first, second) = (rig.host(1), rig.host(2));
    first.wait_for_libvirt().unwrap();
    second.wait_for_libvirt().unwrap();

    start(&rig, first);
    wait_for_runs(&log, 1);
    first.power_off().unwrap();
    let before = records(&log, guest().instance).unwrap();
    start(&rig, second);
    wait_for_runs(&log, 2);
    let moved = records(&log, guest().instance).unwrap();
    assert_eq!(moved[..before.len()], before, "the dead host's guest wrote on, or somebody wrote over it");
    assert_eq!(two_writers(&moved), None);

    first.power_on().unwrap();
    first.wait_for_libvirt().unwrap();
    start(&rig, first);
    wait_for_runs(&log, 3);
    let twice = records(&log, guest().instance).unwrap();
    let breach = two_writers(&twice).expect("two runs wrote to one log at the same time");
    assert!(breach.place >= moved.len(), "{breach} is before the third run");
}

#[test]
fn a_power_cut_and_a_partition_break_no_promise() {
    let script: Script = "1s host host1 power-cut\n2s controller leader kill\n15s host host1 power-on\n\
                          15s controller all start\n35s isolate host host2\n"
        .parse()
        .unwrap();
    let run = Run { seed: 1, chaos: Millis(60_000), script: Some(script.clone()), program: None };
    let ended = play(&run).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(ended.broken, None);
    assert_eq!(ended.doubt, None);
    let done: Vec<String> = ended.script.actions.iter().map(|action| action.fault.to_string()).collect();
    let wanted: Vec<String> = script.actions.iter().map(|action| action.fault.to_string()).collect();
    assert_eq!(done, wanted);
    assert!(ended.logs["app1"].len() >= 2, "app1 runs again after the power cut: {:?}", ended.logs);
    for promise in ["S1", "S2", "S5", "L1", "L2", "L3"] {
        assert!(ended.judged[promise] > 0, "{promise} was not judged: {:?}", ended.judged);
    }
}

#[test]
fn a_script_with_a_fault_that_this_world_cannot_do_is_refused_by_its_name() {
    let script: Script = "1s bmc host1 stale\n".parse().unwrap();
    let run = Run { seed: 1, chaos: Millis(45_000), script: Some(script), program: None };
    let error = play(&run).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the world of hosts cannot do 'bmc host1 stale': a BMC here answers, is silent or is gone"
    );
}
