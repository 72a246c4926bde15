use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumfence_drivers::lab::{Cause, Happening, Laboratory, Pace};
use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{
    BootId, ControllerId, Doubt, HostId, HostState, InstanceId, Outcome, Settings, State, SystemUuid,
};
use tokio::time::{Instant, sleep, timeout};

use super::super::{Sim, host, instance, run};
use super::{Arrives, Errand, Ether, NetworkEvent, Place, SimBmc, Weather};

const DEADLINE: Duration = Duration::from_secs(2);

fn places() -> (Place, Place) {
    (Place::Host(host(1)), Place::Host(host(2)))
}

fn ether(seed: u64) -> Arc<Ether> {
    let laboratory = Laboratory::open(Pace::default());
    for number in 1..=2 {
        laboratory.add_host(host(number), SystemUuid([number; 16]), BootId([number; 16]));
    }
    Ether::new(laboratory, seed)
}

fn errand(arrives: Arrives) -> Errand {
    let (from, to) = places();
    Errand { from, to, what: "question".into(), arrives }
}

/// Asks once; returns whether an answer came, and how often the question arrived in the end.
async fn ask(ether: &Arc<Ether>, arrives: Arrives) -> (bool, u64) {
    let count = Arc::<AtomicU64>::default();
    let serve = || {
        let count = Arc::clone(&count);
        async move { Some(count.fetch_add(1, Ordering::SeqCst)) }
    };
    let answer = ether.ask(errand(arrives), DEADLINE, serve).await;
    sleep(DEADLINE).await;
    (answer.is_some(), count.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_cut_line_loses_questions_one_way_and_answers_the_other_way() {
    let ether = ether(1);
    let (here, there) = places();
    assert_eq!(ask(&ether, Arrives::Once).await, (true, 1));
    ether.cut(here.clone(), there.clone());
    assert_eq!(ask(&ether, Arrives::Once).await, (false, 0));
    ether.heal(&here, &there);
    ether.cut(there.clone(), here.clone());
    assert_eq!(ask(&ether, Arrives::Once).await, (false, 1));
    ether.heal_all();
    assert_eq!(ask(&ether, Arrives::Once).await, (true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_cut_off_and_a_line_that_is_cut_are_mended_each_by_itself() {
    let ether = ether(1);
    let (here, there) = places();
    ether.cut_all(there.clone());
    ether.cut(here.clone(), there.clone());
    ether.heal_place(&there);
    assert_eq!(ask(&ether, Arrives::Once).await, (false, 0));
    ether.cut_all(there.clone());
    ether.heal(&here, &there);
    assert_eq!(ask(&ether, Arrives::Once).await, (false, 0));
    ether.heal_place(&there);
    assert_eq!(ask(&ether, Arrives::Once).await, (true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_outlives_its_sender_and_is_lost_with_its_line() {
    let dies: fn(&Ether) = |ether| ether.laboratory.cut_power(&host(1));
    let is_cut: fn(&Ether) = |ether| ether.cut(places().0, places().1);
    for (fault, arrives) in [(dies, true), (is_cut, false)] {
        let ether = ether(1);
        let (here, there) = places();
        let (arrived, ()) = tokio::join!(ether.carry(&here, &there, "message"), async { fault(&ether) });
        assert_eq!(arrived, arrives);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_takes_effect_though_its_asker_gave_up() {
    let ether = ether(1);
    assert!(timeout(Duration::ZERO, ether.ask(errand(Arrives::Once), DEADLINE, || async { Some(()) })).await.is_err());
    sleep(DEADLINE).await;
    let question = |line: &String| line.ends_with("question arrived");
    assert_eq!(ether.trace().iter().filter(|line| question(line)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn weather_loses_and_doubles_and_delays_as_much_as_it_says() {
    let ether = ether(1);
    ether.set_weather(Weather { duplicate_percent: 100, ..Weather::FAIR });
    assert_eq!(ask(&ether, Arrives::PerhapsTwice).await, (true, 2));
    assert_eq!(ask(&ether, Arrives::Once).await, (true, 1));
    ether.set_weather(Weather { loss_percent: 100, ..Weather::FAIR });
    assert_eq!(ask(&ether, Arrives::Once).await, (false, 0));
    ether.set_weather(Weather { loss_percent: 30, delay_max: Duration::from_millis(80), ..Weather::FAIR });
    let (here, there) = places();
    let (mut arrived, mut longest) = (0, Duration::ZERO);
    for _ in 0..1000 {
        let begun = Instant::now();
        arrived += u32::from(ether.carry(&here, &there, "message").await);
        longest = longest.max(begun.elapsed());
    }
    assert!((650..750).contains(&arrived), "{arrived}");
    assert_eq!(longest, Duration::from_millis(80));
}

#[tokio::test(start_paused = true)]
async fn loss_and_duplication_change_nobody_elses_delay() {
    let delays = async |weather: Weather| {
        let ether = ether(3);
        ether.set_weather(weather);
        let (here, there) = places();
        let mut delays = Vec::new();
        for _ in 0..100 {
            let begun = Instant::now();
            ether.carry(&here, &there, "message").await;
            delays.push(begun.elapsed());
        }
        delays
    };
    let lossy = Weather { loss_percent: 50, duplicate_percent: 50, ..Weather::FAIR };
    assert_eq!(delays(Weather::FAIR).await, delays(lossy).await);
}

fn settled_elsewhere(state: &State, id: InstanceId) -> bool {
    let fenced = state.host(&host(2)).is_some_and(|row| matches!(row.state, HostState::Fenced { .. }));
    fenced && state.instance(&id).is_some_and(|row| row.owner != host(2) && row.recovery.is_none())
}

fn offs(sim: &Sim) -> Vec<HostId> {
    let facts = sim.laboratory().facts().into_iter();
    facts
        .filter_map(|fact| match fact.what {
            Happening::PowerOff { host, cause: Cause::Bmc } => Some(host),
            Happening::PowerOff { .. }
            | Happening::PowerOn { .. }
            | Happening::OffOrdered { .. }
            | Happening::Started { .. }
            | Happening::Ended { .. } => None,
        })
        .collect()
}

/// Hears of every off order, from here on.
fn listen(sim: &Sim) -> Arc<Mutex<Vec<NetworkEvent>>> {
    let heard = Arc::<Mutex<Vec<NetworkEvent>>>::default();
    let hearing = Arc::clone(&heard);
    sim.ether.set_witness(Arc::new(move |event| hearing.lock().unwrap().push(event)));
    heard
}

#[test]
fn an_off_order_that_was_sent_takes_effect_unless_its_line_is_cut() {
    run(31, |mut sim| async move {
        sim.bootstrap(4, Settings::fast()).await?;
        let (controller, heard) = (ControllerId(1), listen(&sim));
        let (there, bmc) = (Place::Controller(controller), |number| Place::Bmc(host(number)));
        let mut sessions = Vec::new();
        for number in 1..=3 {
            let device = SimBmc::new(Arc::clone(&sim.ether), controller, host(number));
            let Outcome::Observed(session) = device.open(DEADLINE).await else { panic!("it works") };
            sessions.push(session);
        }
        sim.ether.cut(there.clone(), bmc(1));
        assert_eq!(sessions[0].power_off(DEADLINE).await, Outcome::Unknown(Doubt::Timeout));
        assert_eq!(offs(&sim), []);
        sim.ether.cut(bmc(2), there);
        assert_eq!(sessions[1].power_off(DEADLINE).await, Outcome::Unknown(Doubt::Timeout), "only the answer is lost");
        assert_eq!(offs(&sim), [host(2)]);
        assert!(timeout(Duration::ZERO, sessions[2].power_off(DEADLINE)).await.is_err(), "nobody waits");
        sim.crash(controller, 0);
        sim.pass(DEADLINE).await;
        assert_eq!(offs(&sim), [host(2), host(3)]);
        let sent = (1..=3).map(|number| NetworkEvent::OffSent { controller, host: host(number) });
        assert_eq!(*heard.lock().unwrap(), sent.collect::<Vec<_>>());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_host_that_is_heard_by_nobody_is_fenced_though_it_hears_everybody() {
    run(32, |mut sim| async move {
        sim.bootstrap(4, Settings::fast()).await?;
        sim.pass(DEADLINE).await;
        let heard = listen(&sim);
        for id in sim.ids() {
            sim.ether.cut(Place::Host(host(2)), Place::Controller(id));
        }
        sim.wait_for("the recovery of vm2", |state| settled_elsewhere(state, instance(2))).await?;
        assert_eq!(offs(&sim), [host(2)]);
        let hosts: Vec<HostId> =
            heard.lock().unwrap().iter().map(|NetworkEvent::OffSent { host, .. }| host.clone()).collect();
        assert_eq!(hosts, [host(2)]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_host_is_fenced_once_in_bad_weather_and_one_seed_is_one_run_there_too() {
    let once = |seed| {
        run(seed, |mut sim| async move {
            sim.bootstrap(4, Settings::fast()).await?;
            sim.ether.set_weather(Weather {
                loss_percent: 2,
                duplicate_percent: 30,
                delay_max: Duration::from_millis(30),
            });
            sim.pass(Duration::from_secs(10)).await;
            assert_eq!(offs(&sim), [], "weather alone condemns nobody");
            sim.isolate(&host(2));
            sim.wait_for("the recovery of vm2", |state| settled_elsewhere(state, instance(2))).await?;
            sim.ether.heal_all();
            sim.pass(Duration::from_secs(10)).await;
            assert_eq!(offs(&sim), [host(2)]);
            assert_eq!(sim.laboratory().runs_on(instance(2)).len(), 1);
            Ok(sim.testimony())
        })
        .unwrap()
    };
    for seed in 40..44 {
        let (first, second) = (once(seed), once(seed));
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&first[at], &second[at])), None);
        assert_eq!(first.len(), second.len());
    }
}
