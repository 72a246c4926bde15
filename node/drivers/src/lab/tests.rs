use std::time::Duration;

use quorumfence_machine::{
    BootId, Doubt, HostId, InstanceId, InstanceState, LogIndex, Millis, Outcome, Power, Refusal, SystemUuid, Token,
};
use tokio::time::{Instant, sleep, timeout};

use super::{BmcMode, Cause, Fact, Happening, HypervisorMode, Laboratory, LaboratoryBmc, Pace};
use crate::order::{FenceDevice, FenceSession, Hypervisor, StartOrder};

const DEADLINE: Duration = Duration::from_secs(2);
const VM: InstanceId = InstanceId([5; 16]);
const TOKEN: Token = Token(LogIndex(9));

fn host() -> HostId {
    "host1".parse().unwrap()
}

fn laboratory() -> Laboratory {
    let laboratory = Laboratory::open(Pace::default());
    laboratory.add_host(host(), SystemUuid([1; 16]), BootId([1; 16]));
    laboratory
}

async fn session(laboratory: &Laboratory) -> LaboratoryBmc {
    let Outcome::Observed(session) = laboratory.bmc(&host()).open(DEADLINE).await else { panic!("it opens") };
    session
}

fn powered_off(at: u64) -> Fact {
    Fact { at: Millis(at), what: Happening::PowerOff { host: host(), cause: Cause::Bmc } }
}

fn ordered_off(at: u64) -> Fact {
    Fact { at: Millis(at), what: Happening::OffOrdered { host: host() } }
}

fn started(at: u64) -> Fact {
    Fact { at: Millis(at), what: Happening::Started { instance: VM, host: host(), token: Some(TOKEN) } }
}

fn start_order() -> StartOrder {
    let definition =
        format!("<domain type='qemu'><name>vm5</name><uuid>{VM}</uuid><memory unit='MiB'>64</memory></domain>");
    StartOrder { instance: VM, definition, token: TOKEN }
}

#[tokio::test(start_paused = true)]
async fn an_off_order_takes_effect_even_when_nobody_waits_for_it() {
    let laboratory = laboratory();
    assert_eq!(
        laboratory.hypervisor(&host()).start(start_order(), DEADLINE).await,
        Outcome::Observed(InstanceState::Running)
    );
    let mut session = session(&laboratory).await;
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::On), "accepted is not off");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::Off));
    assert_eq!(laboratory.runs_on(VM), Vec::<HostId>::new());
    let what: Vec<Happening> = laboratory.facts().into_iter().map(|fact| fact.what).collect();
    let expected = [
        Happening::Started { instance: VM, host: host(), token: Some(TOKEN) },
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
    let mut session = session(&laboratory).await;
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    sleep(Duration::from_secs(1)).await;
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

#[tokio::test(start_paused = true)]
async fn a_late_bmc_obeys_every_order_that_it_took_even_when_the_host_booted_anew_meanwhile() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::Late(Duration::from_secs(20)));
    let mut session = session(&laboratory).await;
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    drop(session);
    laboratory.set_bmc(&host(), BmcMode::Works);
    laboratory.cut_power(&host());
    laboratory.restore_power(&host(), BootId([2; 16]));
    sleep(Duration::from_secs(19)).await;
    assert_eq!(laboratory.boot(&host()), Some(BootId([2; 16])));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(laboratory.boot(&host()), None);
    assert_eq!(laboratory.facts().last(), Some(&powered_off(20_006)), "at its moment, though nobody looked then");
}

#[tokio::test(start_paused = true)]
async fn a_stale_bmc_tells_the_power_of_when_it_became_so() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::Stale);
    let mut session = session(&laboratory).await;
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
    sleep(Duration::from_secs(1)).await;
    assert!(!laboratory.is_on(&host()), "it obeys");
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::On));
    laboratory.set_bmc(&host(), BmcMode::Stale);
    laboratory.restore_power(&host(), BootId([2; 16]));
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::Off));
}

#[tokio::test(start_paused = true)]
async fn a_busy_bmc_opens_no_session_and_keeps_the_open_ones() {
    let laboratory = laboratory();
    let mut session = session(&laboratory).await;
    laboratory.set_bmc(&host(), BmcMode::Busy);
    assert!(matches!(laboratory.bmc(&host()).open(DEADLINE).await, Outcome::Unknown(Doubt::Busy)));
    assert_eq!(session.power(DEADLINE).await, Outcome::Observed(Power::On));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_leaves_the_order_obeyed() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::LosesAnswer);
    let mut session = session(&laboratory).await;
    assert_eq!(session.power_off(DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(laboratory.facts(), [ordered_off(6), powered_off(56)]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_powers_back_on_is_in_a_new_boot_each_time_and_whoever_waits_hears_of_it() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::PowersBackOn(Duration::from_secs(3)));
    let mut news = laboratory.news();
    let mut seen = 0;
    let mut boots = vec![BootId([1; 16])];
    let watching = async {
        while boots.len() < 3 {
            let mut session = session(&laboratory).await;
            assert_eq!(session.power_off(DEADLINE).await, Outcome::Observed(()));
            loop {
                let facts = laboratory.facts_from(seen);
                seen += facts.len();
                if let Some(Fact { at, what: Happening::PowerOn { boot, .. } }) = facts.last() {
                    assert_eq!(*at, laboratory.now(), "in time, because the laboratory runs");
                    boots.push(*boot);
                    break;
                }
                news.changed().await.unwrap();
            }
        }
    };
    tokio::select! {
        biased;
        () = laboratory.run() => {}
        () = watching => {}
    }
    assert_eq!(laboratory.boot(&host()), Some(boots[2]));
    boots.sort();
    boots.dedup();
    assert_eq!(boots.len(), 3);
    laboratory.cut_power(&host());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(laboratory.boot(&host()), None, "a pulled plug stays pulled");
}

#[tokio::test(start_paused = true)]
async fn a_plug_that_is_pulled_while_the_host_is_off_keeps_it_off() {
    let laboratory = laboratory();
    laboratory.set_bmc(&host(), BmcMode::PowersBackOn(Duration::from_secs(3)));
    assert_eq!(session(&laboratory).await.power_off(DEADLINE).await, Outcome::Observed(()));
    sleep(Duration::from_secs(1)).await;
    laboratory.cut_power(&host());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(laboratory.boot(&host()), None);
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_fails_starts_nothing() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::Fails);
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Refused(Refusal::Hypervisor));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(laboratory.facts(), []);
    assert_eq!(hypervisor.inventory(DEADLINE).await, Outcome::Observed(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_fails_refuses_nothing_about_what_runs() {
    let laboratory = laboratory();
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    laboratory.set_hypervisor(&host(), HypervisorMode::Fails);
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Unknown(Doubt::Internal));
    assert_eq!(laboratory.runs_on(VM), [host()]);
    laboratory.set_hypervisor(&host(), HypervisorMode::Works);
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Observed(InstanceState::Stopped));
    laboratory.set_hypervisor(&host(), HypervisorMode::Fails);
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Observed(InstanceState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_late_start_that_is_ordered_twice_happens_once() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_secs(9)));
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(laboratory.runs_on(VM), [host()]);
    laboratory.end_instance(VM);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(laboratory.runs_on(VM), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_started_is_not_refused() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_secs(9)));
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    laboratory.set_hypervisor(&host(), HypervisorMode::Fails);
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Ambiguous));
    laboratory.cut_power(&host());
    laboratory.restore_power(&host(), BootId([2; 16]));
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Refused(Refusal::Hypervisor));
}

#[tokio::test(start_paused = true)]
async fn a_late_stop_takes_effect_though_nobody_waits() {
    let laboratory = laboratory();
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_secs(9)));
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(laboratory.runs_on(VM), [host()]);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(laboratory.runs_on(VM), []);
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    sleep(Duration::from_secs(9)).await;
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_millis(300)));
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Observed(InstanceState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_moved_is_listed_at_its_target_before_it_runs_there() {
    let (laboratory, other) = (laboratory(), "kvm2".parse().unwrap());
    laboratory.add_host(HostId::clone(&other), SystemUuid([2; 16]), BootId([2; 16]));
    let list = async |host: &HostId| match laboratory.hypervisor(host).inventory(DEADLINE).await {
        Outcome::Observed(domains) => domains.into_iter().map(|domain| domain.state).collect::<Vec<_>>(),
        Outcome::Refused(_) | Outcome::Unknown(_) => unreachable!("the hypervisor works"),
    };
    let lists = async || list(&other).await.len();
    let started = laboratory.hypervisor(&host()).start(start_order(), DEADLINE).await;
    assert_eq!(started, Outcome::Observed(InstanceState::Running));

    laboratory.begin_move(VM, &other);
    assert_eq!((lists().await, laboratory.runs_on(VM)), (1, vec![host()]));
    let start = laboratory.hypervisor(&other).start(start_order(), DEADLINE).await;
    assert_eq!(start, Outcome::Unknown(Doubt::Ambiguous));
    laboratory.abandon_move(VM);
    assert_eq!((lists().await, laboratory.runs_on(VM)), (0, vec![host()]));

    laboratory.begin_move(VM, &other);
    laboratory.finish_move(VM);
    assert_eq!((lists().await, laboratory.runs_on(VM)), (1, vec![other.clone()]));
    assert_eq!(list(&host()).await, [InstanceState::Migrated]);

    laboratory.begin_move(VM, &host());
    assert_eq!(list(&host()).await, [InstanceState::Moving]);
    laboratory.abandon_move(VM);
    laboratory.begin_move(VM, &host());
    laboratory.finish_move(VM);
    let lists_of_both = (list(&host()).await, list(&other).await);
    assert_eq!(lists_of_both, (vec![InstanceState::Running], vec![InstanceState::Migrated]));
    laboratory.end_instance(VM);
    assert_eq!(list(&host()).await, [], "it has ended");
    let started = laboratory.hypervisor(&other).start(start_order(), DEADLINE).await;
    assert_eq!(
        (started, list(&other).await),
        (Outcome::Observed(InstanceState::Running), vec![InstanceState::Running])
    );

    laboratory.begin_move(VM, &host());
    laboratory.cut_power(&other);
    assert_eq!((laboratory.moves_to(VM), laboratory.runs_on(VM)), (None, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_hangs_answers_no_call_and_does_nothing() {
    let laboratory = laboratory();
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    laboratory.set_hypervisor(&host(), HypervisorMode::Hangs);
    let begun = Instant::now();
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(hypervisor.inventory(DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    let other = StartOrder { instance: InstanceId([6; 16]), ..start_order() };
    let other =
        StartOrder { definition: other.definition.replace(&VM.to_string(), &other.instance.to_string()), ..other };
    assert_eq!(hypervisor.start(other, DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(begun.elapsed(), 3 * DEADLINE);
    assert_eq!(laboratory.facts(), [started(40)]);
}

#[tokio::test(start_paused = true)]
async fn a_hypervisor_that_loses_its_answers_has_done_what_it_was_told() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::LosesAnswer);
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(laboratory.runs_on(VM), [host()]);
    assert_eq!(hypervisor.stop(VM, DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    let ended = Fact { at: Millis(2000), what: Happening::Ended { instance: VM, host: host() } };
    assert_eq!(laboratory.facts(), [started(40), ended]);
}

#[tokio::test(start_paused = true)]
async fn a_late_start_takes_effect_though_nobody_waits() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_secs(9)));
    let hypervisor = laboratory.hypervisor(&host());
    assert!(timeout(Duration::from_millis(1), hypervisor.start(start_order(), DEADLINE)).await.is_err());
    sleep(Duration::from_secs(8)).await;
    assert_eq!(laboratory.runs_on(VM), Vec::<HostId>::new());
    sleep(Duration::from_secs(8)).await;
    assert_eq!(laboratory.facts(), [started(9000)]);
}

#[tokio::test(start_paused = true)]
async fn a_late_start_is_gone_with_the_boot_that_it_was_ordered_in() {
    let laboratory = laboratory();
    laboratory.set_hypervisor(&host(), HypervisorMode::Late(Duration::from_secs(9)));
    let hypervisor = laboratory.hypervisor(&host());
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
    laboratory.cut_power(&host());
    laboratory.restore_power(&host(), BootId([2; 16]));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(laboratory.runs_on(VM), Vec::<HostId>::new());
}
