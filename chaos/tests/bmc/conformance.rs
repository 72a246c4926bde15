//! What every fencing driver must do, with this BMC as its bench.

use std::time::Duration;

use quorumfence_chaos::world::processes::bmc::{Level, Wire};
use quorumfence_drivers::fencing::conformance::{self, Bench};
use quorumfence_drivers::order::{DeviceAccess, FenceDevice};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{Doubt, Millis, Outcome, Power, Refusal};

use crate::bench::{BmcBench, PATIENCE, device, machine};

#[tokio::test]
async fn the_driver_passes_in_both_suites() {
    for suite in [3, 17] {
        conformance::all(&BmcBench::start(suite).await).await;
    }
}

#[tokio::test]
async fn the_driver_passes_with_a_bmc_key() {
    conformance::all(&BmcBench::start_as(17, Some("a key of the BMC"), Level::Administrator).await).await;
}

#[tokio::test]
async fn the_driver_passes_in_bad_weather_in_suite_3() {
    conformance::all_in_bad_weather(&BmcBench::start(3).await).await;
}

#[tokio::test]
async fn the_driver_passes_in_bad_weather_in_suite_17() {
    conformance::all_in_bad_weather(&BmcBench::start(17).await).await;
}

#[tokio::test]
async fn the_driver_passes_against_damaged_repeated_and_delayed_packets() {
    let bench = BmcBench::start(17).await;
    let wire = Wire {
        seed: 7,
        duplicate: 20,
        reorder: 10,
        truncate: 3,
        garble: 3,
        noise: 20,
        replay: 30,
        delay_max: Millis(20),
        ..Wire::default()
    };
    bench.server.set_wire(wire);
    conformance::readings_are_the_truth(&bench).await;
    conformance::another_machine_is_refused_and_gets_no_order(&bench).await;
    conformance::evidence_reads_and_orders_nothing(&bench).await;
    conformance::a_machine_that_is_off_gets_no_order(&bench).await;
}

#[tokio::test]
async fn a_wrong_key_name_or_level_is_refused_and_tried_once() {
    let bench = BmcBench::start_as(17, Some("a key of the BMC"), Level::Operator).await;
    let outcome = |access: DeviceAccess| async { device(access).open(PATIENCE).await.map(drop) };
    let refused = Outcome::Refused(Refusal::Credentials);
    assert_eq!(outcome(DeviceAccess { kg: None, ..bench.access() }).await, refused);
    assert_eq!(outcome(DeviceAccess { user: "nobody".into(), ..bench.access() }).await, refused);
    assert_eq!(outcome(DeviceAccess { password: Secret::new("guessed"), ..bench.access() }).await, refused);
    assert_eq!(bench.server.logins(), 3);
    let reader = BmcBench::start_as(3, None, Level::User).await;
    assert_eq!(reader.device().open(PATIENCE).await.map(drop), Outcome::Refused(Refusal::Privilege));
    assert_eq!(reader.server.logins(), 1);
}

#[tokio::test]
async fn enrolment_finds_suite_machine_and_power() {
    let bench = BmcBench::start(3).await;
    let probing = device(DeviceAccess { suite: None, ..bench.access() });
    let Outcome::Observed(enrolment) = probing.enrol(PATIENCE).await else { panic!("not enrolled") };
    assert_eq!((enrolment.suite.number(), enrolment.power), (17, Power::On));
    let named = enrolment.identity.expect("the machine is named");
    assert!(quorumfence_drivers::fencing::identity::same_machine(named, machine()), "{named}");
}

#[tokio::test]
async fn a_bmc_that_is_dropped_answers_no_more() {
    let bench = BmcBench::start(3).await;
    let access = bench.access();
    drop(bench);
    let outcome = device(access).open(Duration::from_millis(300)).await.map(drop);
    // Its port closes with its task, a moment later.
    assert!(matches!(outcome, Outcome::Unknown(Doubt::Timeout | Doubt::Unreachable)), "{outcome:?}");
}
