//! Enrolment against a real RMCP+ endpoint: what does not work is refused before anything is written.

use serde_json::json;

use super::bmc::Bmc;
use super::lab::{Lab, failed, write};

const MACHINE: &str = "33221100-5544-7766-8899-aabbccddeeff";

/// Another machine.
const OTHER: &str = "aabbccdd-0011-2233-4455-66778899aabb";

/// A cluster with a segment and a host that joined.
fn lab_with_a_host() -> Lab {
    let (lab, known) = Lab::with_one_controller();
    let token = lab.must(&["token", "create", "--role", "agent"]);
    lab.must(&[
        "agent",
        "join",
        "--token",
        token.trim(),
        "--controller",
        &known,
        "--host",
        "host1",
        "--data-dir",
        "a1",
    ]);
    lab.must(&["segment", "create", "default"]);
    write(&lab.path("password"), "s3cret\n");
    lab
}

fn enrol<'a>(bmc: &'a str, user: &'a str, file: &'a str) -> [&'a str; 11] {
    ["host", "enrol", "host1", "--segment", "default", "--bmc", bmc, "--user", user, "--password-file", file]
}

#[test]
fn a_host_is_enrolled_when_its_bmc_answers_and_its_password_is_sealed() {
    let lab = lab_with_a_host();
    let bmc = Bmc::start(&lab.path("bmc"), MACHINE);
    let enrolled = lab.eventually(&enrol(&bmc.address, "admin", "password"), |ran| ran.code == 0);
    assert!(enrolled.out.starts_with("host host1 enrolled with 1 fencing level(s); its BMC answered (log #"));

    let device = &lab.items(&["host", "show", "host1"])[0]["levels"][0]["devices"][0];
    assert_eq!(device["address"], json!(bmc.address));
    assert_eq!((&device["driver"], &device["user"]), (&json!("ipmi"), &json!("admin")));
    assert!(device["suite"] == json!(17) || device["suite"] == json!(3), "{device}");

    lab.eventually(&["host", "show", "host1"], |ran| ran.out.contains("\nfenceable      yes, proven 20"));

    let test = &lab.items(&["fence", "test", "host1"])[0];
    assert_eq!((&test["fenceable"], &test["answer"], &test["level"]), (&json!(true), &json!("power is on"), &json!(1)));

    assert!(!stored(&lab).windows(6).any(|bytes| bytes == b"s3cret"), "the password stands in the database");
}

/// Everything in the controller's store, which holds the log and the state.
fn stored(lab: &Lab) -> Vec<u8> {
    let files = std::fs::read_dir(lab.path("c1/store/rocksdb")).expect("a database");
    let bytes: Vec<u8> = files
        .filter_map(|file| file.ok().filter(|file| file.path().is_file()))
        .flat_map(|file| std::fs::read(file.path()).expect("it can be read"))
        .collect();
    assert!(bytes.windows(5).any(|bytes| bytes == b"host1"), "the log lies in these files");
    bytes
}

/// As [`lab_with_a_host`], with its agent running on libvirt's test driver and telling which machine it is on.
fn lab_with_an_agent(machine: &str) -> Lab {
    let mut lab = lab_with_a_host();
    write(&lab.path("uuid"), machine);
    let config = "data_dir = \"a1\"\nhost = \"host1\"\nhypervisor = \"test:///default\"\nsystem_uuid_file = \"uuid\"\n";
    write(&lab.path("agent.toml"), config);
    lab.start(&["agent", "run", "--config", "agent.toml"], "a1");
    lab.eventually(&["-o", "json", "host", "show", "host1"], |ran| {
        ran.out.contains(&format!("\"systemUuid\": \"{machine}\""))
    });
    lab
}

#[test]
fn a_bmc_of_another_machine_is_refused() {
    let lab = lab_with_an_agent(OTHER);
    let bmc = Bmc::start(&lab.path("bmc"), MACHINE);
    let expected = format!(
        "error: the device {} says that it belongs to another machine than the agent of host host1 runs on; check the BMC \
         address\n",
        bmc.address
    );
    let refused = lab.eventually(&enrol(&bmc.address, "admin", "password"), |ran| !ran.err.contains("did not answer"));
    assert_eq!(refused, failed(4, &expected));
    assert_eq!(lab.items(&["host", "show", "host1"])[0]["segment"], json!(null));
}

#[test]
fn an_enrolled_host_whose_bmc_names_its_machine_is_admitted() {
    let lab = lab_with_an_agent(MACHINE);
    let bmc = Bmc::start(&lab.path("bmc"), MACHINE);
    lab.eventually(&enrol(&bmc.address, "admin", "password"), |ran| ran.code == 0);
    let host = &lab.items(&["host", "show", "host1"])[0];
    assert_eq!(host["levels"][0]["devices"][0]["identity"], json!(MACHINE));
    lab.must(&[&enrol(&bmc.address, "admin", "password")[..], &["--wait"]].concat());
    assert_eq!(lab.items(&["host", "show", "host1"])[0]["state"], "up");
    let votes = &lab.items(&["explain", "host", "host1"])[0]["host"]["votes"];
    assert_eq!((&votes[0]["controller"], &votes[0]["verdict"]), (&json!(1), &json!("alive")));
    let refused = lab.run(&["host", "confirm-dead", "host1", "--reason", "x", "--yes"]);
    let expected = "error: host host1 is not lost: the quorum sees no reason to call it dead. 'quorumfence explain host \
                    host1' shows who hears it; if it must not run, switch it off by hand and wait until 'quorumfence host \
                    show host1' says lost\n";
    assert_eq!(refused, failed(4, expected));
}

#[test]
fn a_bmc_that_moved_to_another_machine_makes_its_host_unfenceable() {
    let lab = lab_with_a_host();
    let bmc = Bmc::start(&lab.path("bmc"), MACHINE);
    lab.eventually(&enrol(&bmc.address, "admin", "password"), |ran| ran.code == 0);
    let address = bmc.address.clone();
    drop(bmc);
    let _other = Bmc::start_at(&address, &lab.path("other"), OTHER);
    let tested = lab.eventually(&["fence", "test", "host1"], |ran| ran.out.contains("refused"));
    let expected =
        "error: no fencing level of host host1 answers as a whole, so it cannot be fenced now; see the answers above\n";
    assert_eq!((tested.code, tested.err.as_str()), (4, expected));
    assert!(tested.out.contains("the device belongs to another machine") && tested.out.contains(OTHER), "{tested:?}");
}

#[test]
fn a_wrong_password_is_refused_and_nothing_is_written() {
    let lab = lab_with_a_host();
    let bmc = Bmc::start(&lab.path("bmc"), MACHINE);
    lab.eventually(&enrol(&bmc.address, "admin", "password"), |ran| ran.code == 0);
    write(&lab.path("wrong"), "guess");
    let expected = format!(
        "error: the BMC at {} refused user admin, so nothing was changed; correct the name or the password file. It was \
         tried once only, because BMCs lock accounts\n",
        bmc.address
    );
    let events = lab.must(&["event", "list"]);
    assert_eq!(lab.run(&enrol(&bmc.address, "admin", "wrong")), failed(4, &expected));
    assert_eq!(lab.must(&["event", "list"]), events);
}

#[test]
fn a_bmc_that_does_not_answer_is_refused_with_advice() {
    let lab = lab_with_a_host();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let expected = format!(
        "error: the BMC at {address} did not answer, so nothing was changed; check its address, that IPMI over LAN is on, \
         and that every controller can reach UDP port 623\n"
    );
    assert_eq!(lab.run(&enrol(&address, "admin", "password")), failed(4, &expected));
    assert_eq!(lab.items(&["host", "list"])[0]["segment"], json!(null));
}

#[test]
fn a_host_without_a_bmc_is_enrolled_and_said_not_to_be_fenceable() {
    let lab = lab_with_a_host();
    let enrolled = lab.must(&["host", "enrol", "host1", "--segment", "default", "--ping", "127.0.0.1"]);
    assert!(enrolled.starts_with(
        "host host1 enrolled without a fencing level: only a new boot or a person can prove it dead (log #"
    ));
    let ran = lab.run(&["fence", "test", "host1"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, "No fencing device is enrolled.\n"));
    let waited = lab.run(&["host", "enrol", "host1", "--segment", "default", "--wait", "--timeout", "1s"]);
    assert_eq!(waited.code, 5, "its agent does not run: {waited:?}");
    assert!(waited.err.starts_with("error: host host1 is not up within 1.000 s: it is new\n"), "{waited:?}");
    let unknown = "error: segment nosuch is not known; create it with 'quorumfence segment create nosuch'\n";
    assert_eq!(lab.run(&["host", "enrol", "host1", "--segment", "nosuch"]), failed(3, unknown));
}

#[test]
fn a_password_never_stands_in_the_arguments() {
    let lab = Lab::empty();
    let ran = lab.run(&["host", "enrol", "host1", "--segment", "default", "--bmc", "127.0.0.1", "--user", "admin"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--password-file <FILE>"), "{ran:?}");
    assert!(!lab.must(&["host", "enrol", "--help"]).contains("--password "));
}
