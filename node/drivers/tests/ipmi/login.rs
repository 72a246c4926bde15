//! Accounts, keys and privileges.

use std::time::Duration;

use quorumfence_drivers::fencing::conformance::{Bench, StormyBench};
use quorumfence_drivers::fencing::ipmi::Bmc;
use quorumfence_drivers::order::{DeviceAccess, FenceDevice};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{Doubt, Outcome, Refusal};

use crate::bench::{Maker, ProxiedBench};
use crate::proxy::{OPEN_SESSION_REQUEST, RAKP_1, RAKP_3, SEALED};

const PATIENCE: Duration = Duration::from_secs(5);

/// Logs in once, and returns the outcome with how often each message was sent.
async fn log_in(bench: &ProxiedBench, access: DeviceAccess) -> (Outcome<()>, [usize; 4]) {
    let counts = || [OPEN_SESSION_REQUEST, RAKP_1, RAKP_3, SEALED].map(|payload| bench.proxy().count(payload));
    let before = counts();
    let outcome = Bmc::new(access).expect("usable").open(PATIENCE).await.map(drop);
    let mut sent = counts();
    sent.iter_mut().zip(before).for_each(|(sent, before)| *sent -= before);
    (outcome, sent)
}

#[tokio::test]
async fn a_wrong_password_is_sent_nowhere_and_tried_exactly_once() {
    for maker in [Maker::Openipmi, Maker::Pyghmi { suite: 3, kg: None }, Maker::Pyghmi { suite: 17, kg: None }] {
        let bench = ProxiedBench::start(maker).await;
        let access = DeviceAccess { password: Secret::new("guessed"), ..bench.access() };
        let (outcome, sent) = log_in(&bench, access).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::Credentials), "{maker:?}");
        // The RAKP 3 only gives the slot back; the BMC shows itself first, so no proof of ours was sent.
        assert_eq!((sent[0], sent[1], sent[3]), (1, 1, 0), "{maker:?}: {sent:?}");
        assert!(sent[2] <= 1, "{maker:?}: {sent:?}");
    }
}

#[tokio::test]
async fn a_wrong_bmc_key_is_refused_and_tried_once() {
    for suite in [3, 17] {
        let bench = ProxiedBench::start(Maker::Pyghmi { suite, kg: Some("a key of the BMC") }).await;
        for kg in [Some(Secret::new("another key")), None] {
            let (outcome, sent) = log_in(&bench, DeviceAccess { kg, ..bench.access() }).await;
            assert_eq!((outcome, sent), (Outcome::Refused(Refusal::Credentials), [1, 1, 1, 0]));
        }
        assert_eq!(log_in(&bench, bench.access()).await.0, Outcome::Observed(()));
    }
}

#[tokio::test]
async fn an_account_without_operator_privilege_is_refused() {
    let bench = ProxiedBench::start(Maker::Pyghmi { suite: 3, kg: None }).await;
    let access = DeviceAccess { user: "reader".into(), password: Secret::new("r3ader"), ..bench.access() };
    assert_eq!(log_in(&bench, access).await.0, Outcome::Refused(Refusal::Privilege));
}

#[tokio::test]
async fn an_administrators_account_is_used_as_operator() {
    let bench = ProxiedBench::start(Maker::Openipmi).await;
    let access = DeviceAccess { user: "admin".into(), password: Secret::new("s3cret"), ..bench.access() };
    let (outcome, sent) = log_in(&bench, access).await;
    assert_eq!(outcome, Outcome::Observed(()));
    assert_eq!((sent[0], sent[1], sent[2]), (1, 1, 1));
}

#[tokio::test]
async fn an_unknown_user_is_refused() {
    let bench = ProxiedBench::start(Maker::Openipmi).await;
    let (outcome, sent) = log_in(&bench, DeviceAccess { user: "nobody".into(), ..bench.access() }).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Credentials));
    assert_eq!(sent, [1, 1, 0, 0]);
}

#[tokio::test]
async fn an_unknown_user_whom_the_bmc_ignores_is_a_timeout() {
    let bench = ProxiedBench::start(Maker::Pyghmi { suite: 3, kg: None }).await;
    let (outcome, _) = log_in(&bench, DeviceAccess { user: "nobody".into(), ..bench.access() }).await;
    assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
    assert!(bench.logins() > 0, "{} orders", bench.orders().len());
}
