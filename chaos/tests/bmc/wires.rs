//! Misbehaving wires: the wrong machine, and everything at once. Whatever comes, a proof is true.

use std::time::Duration;

use quorumfence_chaos::chance::Chance;
use quorumfence_chaos::world::processes::bmc::Wire;
use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::sequence::{Moment, OffOrder, ensure_off, read_off_twice};
use quorumfence_drivers::lab::{BmcMode, Happening};
use quorumfence_machine::{Millis, Outcome, Power, Refusal};
use tokio::task::JoinSet;

use crate::bench::{BmcBench, PATIENCE, host, machine, order, other_host};

/// Storms that one test run plays, all at a time.
const STORMS: u64 = 48;

const STORM_DEADLINE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_bmc_that_names_another_machine_is_refused_and_gets_no_order() {
    let bench = BmcBench::start(17).await;
    bench.server.set_wire(Wire { wrong_guid: 100, ..Wire::default() });
    let outcome = ensure_off(&bench.device(), order(PATIENCE), || async { true }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
    assert_eq!(bench.orders(), []);
}

#[tokio::test]
async fn a_bmc_that_was_plugged_into_another_port_switches_nobody() {
    let bench = BmcBench::start(3).await;
    bench.server.move_to(other_host());
    let outcome = ensure_off(&bench.device(), order(PATIENCE), || async { true }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
    assert_eq!((bench.happened(&host()), bench.happened(&other_host())), (vec![], vec![]));
}

#[tokio::test]
async fn another_machine_in_the_second_session_is_no_proof_of_the_first() {
    let bench = BmcBench::start(3).await;
    bench.laboratory.cut_power(&other_host());
    let swap = |moment, _| match moment {
        Moment::OffRead => bench.server.move_to(other_host()),
        Moment::OffSent | Moment::OffAccepted | Moment::OffConfirmed => {}
    };
    let outcome = ensure_off(&bench.device(), order(PATIENCE), || async { true }, swap).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
}

/// A mode and a wire of a seed. The deadline is short, so orders are cut off at any point.
fn storm(seed: u64) -> (BmcMode, Wire) {
    let mut chance = Chance::new(seed, "storm over a BMC");
    let mut percent = |most: u64| u8::try_from(chance.below(most + 1)).expect("a percentage");
    let wire = Wire {
        seed,
        drop: percent(12),
        duplicate: percent(50),
        reorder: percent(30),
        truncate: percent(5),
        garble: percent(5),
        noise: percent(50),
        replay: percent(50),
        delay_min: Millis(0),
        delay_max: Millis(percent(60).into()),
        wrong_guid: percent(4),
        node_busy: percent(2),
        forget: percent(2),
    };
    let after = Duration::from_millis(chance.between(1, 1500));
    let modes = [
        BmcMode::Works,
        BmcMode::Works,
        BmcMode::Ignores,
        BmcMode::Late(after),
        BmcMode::Stale,
        BmcMode::PowersBackOn(after),
        BmcMode::LosesAnswer,
    ];
    (*chance.pick(&modes).expect("there are modes"), wire)
}

/// Returns whether the machine was proven off.
async fn ride_out(seed: u64) -> bool {
    let (mode, wire) = storm(seed);
    let bench = BmcBench::start(if seed.is_multiple_of(2) { 3 } else { 17 }).await;
    bench.laboratory.set_bmc(&host(), mode);
    bench.server.set_wire(wire);
    let outcome = ensure_off(&bench.device(), order(STORM_DEADLINE), || async { true }, |_, _| {}).await;
    let proven = matches!(outcome, Outcome::Observed(_));
    let happened = bench.happened(&host());
    let went_off = happened.iter().any(|what| matches!(what, Happening::PowerOff { .. }));
    let came_back = happened.iter().any(|what| matches!(what, Happening::PowerOn { .. }));
    assert!(!proven || went_off, "seed {seed}: a proof of what never went off: {mode:?}, {wire:?}");
    match mode {
        // It may come back after the second reading.
        BmcMode::PowersBackOn(_) => {}
        BmcMode::Works
        | BmcMode::Silent
        | BmcMode::Ignores
        | BmcMode::RefusesLogin
        | BmcMode::Late(_)
        | BmcMode::Stale
        | BmcMode::Busy
        | BmcMode::LosesAnswer => {
            assert!(!proven || bench.truth() == Power::Off, "seed {seed}: a proof of what is on: {mode:?}, {wire:?}");
            assert!(!came_back && bench.server.other_orders() == 0, "seed {seed}: somebody switched it on");
        }
    }
    assert_eq!(bench.happened(&other_host()), [], "seed {seed}");
    proven
}

#[tokio::test]
async fn no_storm_proves_what_is_not_so() {
    let mut storms = JoinSet::new();
    for seed in 0..STORMS {
        storms.spawn(ride_out(seed));
    }
    let proofs = storms.join_all().await.into_iter().filter(|proven| *proven).count();
    // Storms that nobody gets through would prove nothing about proofs.
    assert!(proofs >= 10, "{proofs} proofs in {STORMS} storms");
}

/// A machine that was off when its datagrams were recorded, and is on.
#[tokio::test]
async fn replayed_and_late_readings_of_off_are_no_reading() {
    let bench = BmcBench::start(17).await;
    bench.switch(Power::Off);
    let order = OffOrder { deadline: PATIENCE, ..order(PATIENCE) };
    assert_eq!(read_off_twice(&bench.device(), order).await, Outcome::Observed(Power::Off));
    bench.server.set_wire(Wire { seed: 3, replay: 100, duplicate: 100, ..Wire::default() });
    for round in 0..20 {
        let power = if round % 3 == 0 { Power::Off } else { Power::On };
        bench.switch(power);
        assert_eq!(read_off_twice(&bench.device(), order).await, Outcome::Observed(power), "round {round}");
    }
    assert_eq!((bench.orders(), bench.machine()), (vec![], Some(machine())));
}
