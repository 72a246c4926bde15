//! Which cipher suite is found at enrolment, and that it is not looked for again later.

use std::time::Duration;

use quorumfence_drivers::fencing::conformance::Bench;
use quorumfence_drivers::fencing::ipmi::{Bmc, Enrolment, Suite};
use quorumfence_drivers::order::{DeviceAccess, FenceDevice};
use quorumfence_machine::{Outcome, Power, Refusal, SystemUuid};

use crate::bench::{BmcBench, Maker, ProxiedBench};
use crate::proxy::OPEN_SESSION_REQUEST;

const PATIENCE: Duration = Duration::from_secs(10);

async fn enrol(bench: &BmcBench) -> Enrolment {
    let access = DeviceAccess { suite: None, ..bench.access() };
    match Bmc::new(access).expect("usable").enrol(PATIENCE).await {
        Outcome::Observed(enrolment) => enrolment,
        Outcome::Refused(refusal) => panic!("not enrolled: {refusal}"),
        Outcome::Unknown(doubt) => panic!("not enrolled: {doubt}"),
    }
}

#[tokio::test]
async fn a_bmc_that_lacks_suite_17_is_enrolled_with_suite_3() {
    let bench = BmcBench::start(Maker::Openipmi).await;
    let enrolment = enrol(&bench).await;
    assert_eq!((enrolment.suite, enrolment.power), (Suite::Three, Power::On));
    assert_eq!(
        enrolment.identity,
        Some(SystemUuid(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"))
    );
    assert_eq!((enrolment.device.manufacturer_id, enrolment.device.product_id), (0x1291, 0x0f02));
}

#[tokio::test]
async fn a_bmc_that_answers_17_with_3_is_asked_for_3() {
    let bench = BmcBench::start(Maker::Pyghmi { suite: 3, kg: None }).await;
    assert_eq!(enrol(&bench).await.suite, Suite::Three);
}

#[tokio::test]
async fn a_bmc_that_has_suite_17_is_enrolled_with_it() {
    let bench = BmcBench::start(Maker::Pyghmi { suite: 17, kg: None }).await;
    assert_eq!(enrol(&bench).await.suite, Suite::Seventeen);
}

#[tokio::test]
async fn a_stored_suite_that_is_gone_is_insecure_and_nothing_else_is_tried() {
    for (maker, stored) in
        [(Maker::Openipmi, 17), (Maker::Pyghmi { suite: 3, kg: None }, 17), (Maker::Pyghmi { suite: 17, kg: None }, 3)]
    {
        let bench = ProxiedBench::start(maker).await;
        let before = bench.proxy().count(OPEN_SESSION_REQUEST);
        let device = Bmc::new(DeviceAccess { suite: Some(stored), ..bench.access() }).expect("usable");
        let outcome = device.open(PATIENCE).await.map(|session| session.suite());
        assert_eq!(outcome, Outcome::Refused(Refusal::Insecure), "{maker:?}");
        assert_eq!(bench.proxy().count(OPEN_SESSION_REQUEST), before + 1, "{maker:?}");
        assert_eq!(bench.truth(), Power::On);
    }
}
