//! Each mode of the laboratory's BMC, on the wire: what the off sequence makes of it, and what really happened.

use std::time::Duration;

use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::sequence::{OffProof, ensure_off};
use quorumfence_drivers::lab::{BmcMode, Happening};
use quorumfence_drivers::order::FenceSession;
use quorumfence_machine::{Doubt, Outcome, Power, Refusal};
use tokio::task::JoinSet;

use crate::bench::{BmcBench, PATIENCE, host, order};

/// Time for a sequence that may not succeed.
const IMPATIENCE: Duration = Duration::from_millis(1500);

/// What one fence came to.
#[derive(Debug, PartialEq, Eq)]
struct Fence {
    outcome: Outcome<()>,
    /// Power at its end, by looking at the machine.
    truth: Power,
    /// Off orders that reached the BMC.
    orders: usize,
}

async fn fence(mode: BmcMode, suite: u8) -> Fence {
    let bench = BmcBench::start(suite).await;
    bench.laboratory.set_bmc(&host(), mode);
    let outcome = ensure_off(&bench.device(), order(IMPATIENCE), || async { true }, |_, _| {}).await;
    let truth = bench.truth();
    let was_off = bench.happened(&host()).iter().any(|what| matches!(what, Happening::PowerOff { .. }));
    if let Outcome::Observed(OffProof { .. }) = outcome {
        assert!(was_off && truth == Power::Off, "{mode:?}: a proof of {truth:?}");
    }
    Fence { outcome: outcome.map(drop), truth, orders: bench.orders().len() }
}

#[tokio::test]
async fn each_mode_is_what_the_wire_shows() {
    let proven = Outcome::Observed(());
    let timeout = Outcome::Unknown(Doubt::Timeout);
    let refused = Outcome::Refused(Refusal::Credentials);
    let (on, off) = (Power::On, Power::Off);
    let ms = Duration::from_millis;
    let mut fences = JoinSet::new();
    for (mode, outcome, truth, orders) in [
        (BmcMode::Works, proven.clone(), off, 1),
        (BmcMode::Silent, timeout.clone(), on, 0),
        (BmcMode::Ignores, timeout.clone(), on, 1),
        (BmcMode::RefusesLogin, refused, on, 0),
        (BmcMode::Late(ms(300)), proven.clone(), off, 1),
        (BmcMode::Late(ms(20_000)), timeout.clone(), on, 1),
        (BmcMode::Stale, timeout.clone(), off, 1),
        (BmcMode::Busy, Outcome::Unknown(Doubt::Busy), on, 0),
        (BmcMode::PowersBackOn(ms(20_000)), proven, off, 1),
        // Sent again after 400 and 1200 ms; it takes effect although nobody hears of it.
        (BmcMode::LosesAnswer, timeout, off, 3),
    ] {
        for suite in [3, 17] {
            let expected = Fence { outcome: outcome.clone(), truth, orders };
            fences.spawn(async move { assert_eq!(fence(mode, suite).await, expected, "{mode:?} in suite {suite}") });
        }
    }
    fences.join_all().await;
}

#[tokio::test]
async fn a_machine_that_comes_back_at_once_is_not_proven_off() {
    let seen = fence(BmcMode::PowersBackOn(Duration::from_millis(2)), 17).await;
    assert_eq!(seen, Fence { outcome: Outcome::Unknown(Doubt::Timeout), truth: Power::On, orders: 1 });
}

#[tokio::test]
async fn who_is_logged_in_stays_so_while_nobody_else_may() {
    for mode in [BmcMode::RefusesLogin, BmcMode::Busy] {
        let bench = BmcBench::start(17).await;
        let mut session = bench.open().await;
        bench.laboratory.set_bmc(&host(), mode);
        assert_eq!(session.power(PATIENCE).await, Outcome::Observed(Power::On), "{mode:?}");
        session.close().await;
    }
}

#[tokio::test]
async fn a_late_order_takes_effect_long_after_its_session_and_its_sender() {
    let bench = BmcBench::start(17).await;
    bench.laboratory.set_bmc(&host(), BmcMode::Late(Duration::from_millis(700)));
    let mut session = bench.open().await;
    assert_eq!(session.power_off(PATIENCE).await, Outcome::Observed(()));
    session.close().await;
    assert_eq!((bench.truth(), bench.server.sessions()), (Power::On, 0));
    let gone = async {
        while bench.truth() == Power::On {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the order takes effect");
}
