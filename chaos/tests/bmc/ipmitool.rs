//! A second opinion: `ipmitool` reads and does what the driver and the laboratory see.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use quorumfence_chaos::world::processes::bmc::Level;
use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::sequence::{ensure_off, read_off_twice};
use quorumfence_drivers::lab::BmcMode;
use quorumfence_machine::{Outcome, Power};

use crate::bench::{BmcBench, PASSWORD, PATIENCE, host, order};

/// Runs ipmitool beside the BMC, which lives in this runtime.
async fn run(bench: &BmcBench, password: &'static str, arguments: &str) -> Output {
    let address = bench.server.address();
    let arguments = arguments.to_owned();
    tokio::task::spawn_blocking(move || blocking_run(address, password, &arguments)).await.expect("it ends")
}

fn blocking_run(address: SocketAddr, password: &str, arguments: &str) -> Output {
    Command::new("ipmitool")
        .args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &address.port().to_string()])
        .args(["-U", "fence", "-E", "-N", "1", "-R", "1"])
        .args(arguments.split(' '))
        .env("IPMI_PASSWORD", password)
        .output()
        .expect("ipmitool is missing: install the Debian package ipmitool")
}

/// Returns what it prints; only with exit code 0 is that an answer.
async fn ipmitool(bench: &BmcBench, arguments: &str) -> String {
    let output = run(bench, PASSWORD, arguments).await;
    assert!(output.status.success(), "ipmitool {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ipmitool prints text").trim().to_owned()
}

#[tokio::test]
async fn it_reads_and_switches_the_power_in_both_suites() {
    for (suite, flags) in [(3, "-L OPERATOR -C 3"), (17, "-L OPERATOR -C 17")] {
        let bench = BmcBench::start(suite).await;
        for (command, said, power) in [
            ("chassis power off", "Chassis Power is off", Power::Off),
            ("chassis power on", "Chassis Power is on", Power::On),
        ] {
            ipmitool(&bench, &format!("{flags} {command}")).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            assert_eq!(read_off_twice(&bench.device(), order(PATIENCE)).await, Outcome::Observed(power));
            assert_eq!(ipmitool(&bench, &format!("{flags} chassis power status")).await, said);
        }
        let outcome = ensure_off(&bench.device(), order(PATIENCE), || async { true }, |_, _| {}).await;
        assert!(matches!(outcome, Outcome::Observed(proof) if proof.ordered));
        assert_eq!(ipmitool(&bench, &format!("{flags} chassis power status")).await, "Chassis Power is off");
        assert_eq!(bench.server.sessions(), 0, "each session was closed");
    }
}

#[tokio::test]
async fn it_finds_the_strong_suite_by_itself() {
    let bench = BmcBench::start_as(17, None, Level::Administrator).await;
    let output = run(&bench, PASSWORD, "-vv chassis power status").await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && log.contains("Chassis Power is on"), "{log}");
    assert!(log.contains("Using best available cipher suite 17"), "{log}");
}

#[tokio::test]
async fn it_reads_device_and_guid() {
    let bench = BmcBench::start(17).await;
    let described = ipmitool(&bench, "-L OPERATOR -C 17 mc info").await;
    assert!(described.contains("Firmware Revision         : 2.05"), "{described}");
    assert!(described.contains("IPMI Version              : 2.0"), "{described}");
    let guid = ipmitool(&bench, "-L OPERATOR -C 17 raw 0x06 0x37").await;
    assert_eq!(guid.split_whitespace().collect::<String>(), "ffeeddccbbaa99886677445500112233");
}

#[tokio::test]
async fn it_is_refused_where_the_driver_is() {
    let bench = BmcBench::start(17).await;
    let status = "-L OPERATOR -C 17 chassis power status";
    assert!(!run(&bench, "guessed", status).await.status.success(), "a wrong password");
    assert!(!run(&bench, PASSWORD, "-L ADMINISTRATOR -C 17 chassis power status").await.status.success(), "a level");
    for mode in [BmcMode::Silent, BmcMode::RefusesLogin, BmcMode::Busy] {
        bench.laboratory.set_bmc(&host(), mode);
        assert!(!run(&bench, PASSWORD, status).await.status.success(), "{mode:?}");
    }
    bench.laboratory.set_bmc(&host(), BmcMode::Works);
    assert_eq!(ipmitool(&bench, status).await, "Chassis Power is on");
    let reader = BmcBench::start_as(17, None, Level::User).await;
    assert_eq!(ipmitool(&reader, "-L USER -C 17 chassis power status").await, "Chassis Power is on");
    assert!(!run(&reader, PASSWORD, "-L USER -C 17 chassis power off").await.status.success(), "a reader");
    assert_eq!((reader.orders(), reader.truth()), (vec![], Power::On));
}

/// The ping of the Alerting Standards Forum, as discovery tools send it.
#[tokio::test]
async fn a_ping_is_answered_unless_it_is_silent() {
    let bench = BmcBench::start(3).await;
    let ping = [0x06, 0x00, 0xff, 0x06, 0x00, 0x00, 0x11, 0xbe, 0x80, 0x2a, 0x00, 0x00];
    let address = bench.server.address();
    let ask = move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        socket.send_to(&ping, address).expect("loopback carries datagrams");
        let mut pong = [0; 64];
        socket.recv(&mut pong).ok().map(|length| pong[..length].to_vec())
    };
    let pong = tokio::task::spawn_blocking(ask).await.expect("it ends").expect("it answers");
    assert_eq!(pong[..13], [0x06, 0x00, 0xff, 0x06, 0x00, 0x00, 0x11, 0xbe, 0x40, 0x2a, 0x00, 0x10, 0x00]);
    assert_eq!((pong.len(), pong[20]), (28, 0x81));
    bench.laboratory.set_bmc(&host(), BmcMode::Silent);
    assert_eq!(tokio::task::spawn_blocking(ask).await.expect("it ends"), None);
}
