//! A BMC that is not there, and one that has no slot left.

use std::time::Duration;

use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::ipmi::{Bmc, Session};
use quorumfence_drivers::order::{DeviceAccess, FenceDevice, FenceSession};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{Doubt, Outcome, Power};
use tokio::time::Instant;

use crate::bench::{BmcBench, Maker, ProxiedBench, free_address};

const PATIENCE: Duration = Duration::from_secs(10);

/// More than any simulator has.
const SLOTS_MAX: usize = 200;

fn somewhere(address: &str) -> Bmc {
    Bmc::new(DeviceAccess {
        address: address.parse().expect("an address"),
        user: "fence".into(),
        password: Secret::new("0perator"),
        kg: None,
        suite: Some(3),
    })
    .expect("usable")
}

#[tokio::test]
async fn a_closed_port_is_unreachable_at_once() {
    let started = Instant::now();
    let outcome = somewhere(&free_address().to_string()).open(PATIENCE).await.map(drop);
    assert_eq!(outcome, Outcome::Unknown(Doubt::Unreachable));
    assert!(started.elapsed() < PATIENCE / 2, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn no_time_is_a_timeout() {
    let bench = BmcBench::start(Maker::Openipmi).await;
    assert_eq!(bench.device().open(Duration::ZERO).await.map(drop), Outcome::Unknown(Doubt::Timeout));
}

#[tokio::test]
async fn a_bmc_without_a_free_slot_is_busy_and_serves_again_when_slots_are_given_back() {
    let bench = BmcBench::start(Maker::Openipmi).await;
    let mut sessions: Vec<Session> = Vec::new();
    let full = loop {
        assert!(sessions.len() < SLOTS_MAX, "the simulator has no limit");
        match bench.device().open(PATIENCE).await {
            Outcome::Observed(session) => sessions.push(session),
            full @ (Outcome::Refused(_) | Outcome::Unknown(_)) => break full.map(drop),
        }
    };
    assert_eq!(full, Outcome::Unknown(Doubt::Busy));
    for session in sessions {
        session.close().await;
    }
    let Outcome::Observed(mut session) = bench.device().open(PATIENCE).await else { panic!("still full") };
    assert_eq!(session.power(PATIENCE).await, Outcome::Observed(Power::On));
    session.close().await;
}

#[tokio::test]
async fn one_session_reads_more_often_than_request_numbers_last() {
    let bench = BmcBench::start(Maker::Openipmi).await;
    let Outcome::Observed(mut session) = bench.device().open(PATIENCE).await else { panic!("no session") };
    for round in 0..150 {
        let power = if round % 2 == 0 { Power::On } else { Power::Off };
        bench.switch(power);
        assert_eq!(session.power(PATIENCE).await, Outcome::Observed(power), "round {round}");
    }
    session.close().await;
}

#[tokio::test]
async fn an_answer_that_comes_again_with_its_request_number_is_not_taken() {
    let bench = ProxiedBench::start(Maker::Openipmi).await;
    bench.proxy().echo();
    let Outcome::Observed(mut session) = bench.device().open(PATIENCE).await else { panic!("no session") };
    for round in 0..200 {
        // 64 is no multiple of 3, so the answer of 64 rounds ago is often the wrong one.
        let power = if round % 3 == 0 { Power::Off } else { Power::On };
        bench.switch(power);
        assert_eq!(session.power(PATIENCE).await, Outcome::Observed(power), "round {round}");
    }
    session.close().await;
}
