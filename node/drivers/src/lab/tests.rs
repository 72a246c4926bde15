use std::time::Duration;

use quorumfence_machine::{
    BootId, Doubt, HostId, InstanceId, InstanceState, Outcome, Power, Refusal, SystemUuid, Token,
};

use super::{BmcMode, Cause, Happening, Laboratory, Pace};
use crate::order::{FenceDevice, FenceSession, Hypervisor, StartOrder};

const DEADLINE: Duration = Duration::from_secs(2);
const VM: InstanceId = InstanceId([5; 16]);

fn host() -> HostId {
    "host1".parse().unwrap()
}

fn laboratory() -> Laboratory {
    let laboratory = Laboratory::open(Pace::default());
    laboratory.add_host(host(), SystemUuid([1; 16]), BootId([1; 16]));
    laboratory
}

fn start_order() -> StartOrder {
    let definition =
        format!("<domain type='qemu'><name>vm5</name><uuid>{VM}</uuid><memory unit='MiB'>64</memory></domain>");
    StartOrder { instance: VM, definition, token: Token::default() }
}

#[tokio::test(start_paused = true)]
async fn an_off_order_takes_effect_even_when_nobody_waits_for_it() {
    let laboratory = laboratory();
    assert_eq!(
        laboratory.hypervisor(&host()).start(start_order(), DEADLINE).await,
        Outcome::Observed(InstanceState::Running)
    );
    let Outcome::Observed(mut session) = laboratory.bmc(&host()).open(DEADLINE).await else { panic!("it works") };
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::On), "accepted is not off");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::Off));
    assert_eq!(laboratory.runs_on(VM), Vec::<HostId>::new());
    let what: Vec<Happening> = laboratory.facts().into_iter().map(|fact| fact.what).collect();
    let expected = [
        Happening::Started { instance: VM, host: host() },
        Happening::OffOrdered { host: host() },
        Happening::PowerOff { host: host(), cause: Cause::Bmc },
        Happening::Ended { instance: VM, host: host() },
    ];
    assert_eq!(what, expected);
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_is_silent_or_refuses_or_ignores_is_never_taken_for_off() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::Silent);
    assert!(matches!(laboratory.bmc(&host()).open(DEADLINE).await, Outcome::Unknown(Doubt::Timeout)));
    laboratory.set_bmc(&host(), BmcMode::RefusesLogin);
    assert!(matches!(laboratory.bmc(&host()).open(DEADLINE).await, Outcome::Refused(Refusal::Credentials)));
    laboratory.set_bmc(&host(), BmcMode::Ignores);
    let Outcome::Observed(mut session) = laboratory.bmc(&host()).open(DEADLINE).await else { panic!("it answers") };
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::On));
}

#[tokio::test(start_paused = true)]
async fn a_host_without_power_starts_nothing() {
    let laboratory = laboratory();
    laboratory.cut_power(&host());
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(laboratory.runs_on(VM), Vec::<HostId>::new());
}
