//! Session slots, and sessions that end in the middle.

use std::time::Duration;

use quorumfence_chaos::world::processes::bmc::{SLOTS, Wire};
use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{Doubt, Outcome, Power};

use crate::bench::{BmcBench, PATIENCE};

#[tokio::test]
async fn a_bmc_without_a_free_slot_is_busy_until_one_is_given_back() {
    let bench = BmcBench::start(17).await;
    let mut sessions = Vec::new();
    for _ in 0..SLOTS {
        sessions.push(bench.open().await);
    }
    assert_eq!(bench.server.sessions(), SLOTS);
    assert_eq!(bench.device().open(PATIENCE).await.map(drop), Outcome::Unknown(Doubt::Busy));
    sessions.pop().expect("it is one of them").close().await;
    assert_eq!(bench.server.sessions(), SLOTS - 1);
    assert_eq!(bench.open().await.power(PATIENCE).await, Outcome::Observed(Power::On));
}

#[tokio::test]
async fn a_session_that_the_bmc_forgot_is_unknown_and_a_new_one_works() {
    let bench = BmcBench::start(3).await;
    let mut session = bench.open().await;
    assert_eq!(session.power(PATIENCE).await, Outcome::Observed(Power::On));
    bench.server.forget_sessions();
    let short = Duration::from_millis(600);
    assert_eq!(session.power(short).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(session.power_off(short).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(bench.open().await.power(PATIENCE).await, Outcome::Observed(Power::On));
    assert_eq!(bench.orders(), []);
}

#[tokio::test]
async fn a_busy_node_says_so_and_carries_nothing_out() {
    let bench = BmcBench::start(17).await;
    let mut session = bench.open().await;
    bench.server.set_wire(Wire { node_busy: 100, ..Wire::default() });
    assert_eq!(session.power_off(PATIENCE).await, Outcome::Unknown(Doubt::Busy));
    assert_eq!(session.power(PATIENCE).await, Outcome::Unknown(Doubt::Busy));
    bench.server.set_wire(Wire::default());
    assert_eq!(session.power(PATIENCE).await, Outcome::Observed(Power::On));
    assert_eq!(bench.orders(), []);
}
