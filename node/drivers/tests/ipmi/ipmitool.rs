//! A second opinion: what `ipmitool` reads and does, the driver sees alike, and the other way round.

use std::process::Command;
use std::time::Duration;

use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::ipmi::Bmc;
use quorumfence_drivers::fencing::sequence::{Expected, OffOrder, ensure_off, read_off_twice};
use quorumfence_drivers::order::DeviceAccess;
use quorumfence_machine::{Outcome, Power, SystemUuid};

use crate::bench::{BmcBench, Maker};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs ipmitool against the bench; only what it prints with exit code 0 is an answer.
fn ipmitool(bench: &BmcBench, arguments: &str) -> String {
    let access = bench.access();
    let suite = access.suite.expect("a bench names its suite").to_string();
    let output = Command::new("ipmitool")
        .args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &bench.address().port().to_string()])
        .args(["-U", &access.user, "-E", "-L", "OPERATOR", "-C", &suite])
        .args(arguments.split(' '))
        .env("IPMI_PASSWORD", "0perator")
        .output()
        .expect("ipmitool is missing: install the Debian package ipmitool");
    assert!(output.status.success(), "ipmitool {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ipmitool prints text").trim().to_owned()
}

fn order() -> OffOrder {
    OffOrder { expected: Expected::Unknown, deadline: PATIENCE, answer: PATIENCE }
}

async fn agree(maker: Maker) {
    let bench = BmcBench::start(maker).await;
    for (command, said, power) in [
        ("chassis power off", "Chassis Power is off", Power::Off),
        ("chassis power on", "Chassis Power is on", Power::On),
    ] {
        ipmitool(&bench, command);
        assert_eq!(read_off_twice(&bench.device(), order()).await, Outcome::Observed(power));
        assert_eq!(ipmitool(&bench, "chassis power status"), said);
    }
    let outcome = ensure_off(&bench.device(), order(), || async { true }, |_, _| {}).await;
    assert!(matches!(outcome, Outcome::Observed(proof) if proof.ordered));
    assert_eq!(ipmitool(&bench, "chassis power status"), "Chassis Power is off");
}

#[tokio::test]
async fn on_the_power_of_openipmi() {
    agree(Maker::Openipmi).await;
}

#[tokio::test]
async fn on_the_power_of_pyghmi_in_suite_3() {
    agree(Maker::Pyghmi { suite: 3, kg: None }).await;
}

#[tokio::test]
async fn on_the_power_of_pyghmi_in_suite_17() {
    agree(Maker::Pyghmi { suite: 17, kg: None }).await;
}

#[tokio::test]
async fn on_identity_and_device() {
    let bench = BmcBench::start(Maker::Openipmi).await;
    let access = DeviceAccess { suite: None, ..bench.access() };
    let Outcome::Observed(enrolment) = Bmc::new(access).expect("usable").enrol(PATIENCE).await else {
        panic!("not enrolled")
    };
    let raw = ipmitool(&bench, "raw 0x06 0x37");
    let uuid: SystemUuid = raw.split_whitespace().collect::<String>().parse().expect("sixteen bytes");
    assert_eq!(enrolment.identity, Some(uuid));
    let described = ipmitool(&bench, "mc info");
    let manufacturer = format!("Manufacturer ID           : {}", enrolment.device.manufacturer_id);
    assert!(described.contains(&manufacturer), "{manufacturer} in {described}");
    let firmware = format!("{}.{:02}", enrolment.device.major_fw_revision, enrolment.device.minor_fw_revision);
    assert!(described.contains(&format!("Firmware Revision         : {firmware}")), "{firmware} in {described}");
}
