//! The production loops under the seeded scheduler: a host is fenced, and two runs of one seed are the same run.

use std::time::Duration;

use quorumfence_chaos::world::sim::{Sim, host, instance, run};
use quorumfence_drivers::lab::{Cause, Happening};
use quorumfence_machine::{ControllerId, Event, HostState, InstanceId, Millis, Segment, Settings, State};

fn settled_elsewhere(state: &State, id: InstanceId) -> bool {
    let fenced = state.host(&host(2)).is_some_and(|row| matches!(row.state, HostState::Fenced { .. }));
    fenced && state.instance(&id).is_some_and(|row| row.owner != host(2) && row.recovery.is_none())
}

async fn play(mut sim: Sim, fault: fn(&mut Sim)) -> anyhow::Result<Vec<String>> {
    sim.bootstrap(4, Settings::fast()).await?;
    sim.pass(Duration::from_secs(2)).await;
    fault(&mut sim);
    sim.wait_for("the recovery of vm2", |state| settled_elsewhere(state, instance(2))).await?;
    sim.pass(Duration::from_secs(5)).await;
    judge(&sim);
    Ok(sim.testimony())
}

/// S1, S2 and S9 from the laboratory's facts alone.
fn judge(sim: &Sim) {
    let facts: Vec<Happening> = sim.laboratory().facts().into_iter().map(|fact| fact.what).collect();
    assert_eq!(sim.laboratory().runs_on(instance(2)).len(), 1, "it runs on one host");
    let starts: Vec<usize> = (0..facts.len())
        .filter(|at| matches!(&facts[*at], Happening::Started { instance: id, .. } if *id == instance(2)))
        .collect();
    let off = facts.iter().position(|what| matches!(what, Happening::PowerOff { host: name, .. } if *name == host(2)));
    assert_eq!(starts.len(), 2, "once at first and once again: {facts:?}");
    assert!(off.is_some_and(|off| starts[1] > off), "the host was off before: {facts:?}");
    for number in [1, 3, 4] {
        assert!(sim.laboratory().is_on(&host(number)), "nobody else was fenced");
    }
}

#[test]
fn a_host_that_loses_its_power_is_fenced_without_an_order_and_its_instance_runs_elsewhere() {
    run(7, |sim| async { play(sim, |sim| sim.cut_power(&host(2))).await.map(drop) }).unwrap();
}

#[test]
fn a_host_that_is_cut_off_is_powered_off_before_its_instance_runs_elsewhere() {
    run(8, |sim| async { play(sim, |sim| sim.isolate(&host(2))).await.map(drop) }).unwrap();
}

#[test]
fn a_leader_that_dies_after_the_decision_leaves_one_fence_and_one_start() {
    run(9, |mut sim| async move {
        sim.bootstrap(4, Settings::fast()).await?;
        sim.isolate(&host(2));
        sim.wait_for("the decision", |state| {
            state.host(&host(2)).is_some_and(|row| matches!(row.state, HostState::Fencing { .. }))
        })
        .await?;
        let leader = sim.leader().unwrap();
        sim.crash(leader, 0);
        sim.wait_for("the recovery of vm2", |state| settled_elsewhere(state, instance(2))).await?;
        sim.restart(leader).await?;
        sim.pass(Duration::from_secs(10)).await;
        judge(&sim);
        let fences = sim.read(leader, |state| state.fences().count()).unwrap();
        assert_eq!(fences, 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn one_seed_is_one_run() {
    let once = || run(7, |sim| play(sim, |sim| sim.isolate(&host(2)))).unwrap();
    let (first, second) = (once(), once());
    let differs = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!(differs.map(|at| (&first[at], &second[at])), None);
    assert_eq!(first.len(), second.len());
    let by_bmc = format!("{} off, by its BMC", host(2));
    assert!(first.iter().any(|line| line.contains(&by_bmc)), "{:?}", Cause::Bmc);
    let other = run(8, |sim| play(sim, |sim| sim.isolate(&host(2)))).unwrap();
    assert_ne!(first, other, "another seed is another run");
}

#[test]
fn controllers_that_were_paused_condemn_nobody_for_what_they_did_not_hear() {
    for seed in 20..25 {
        run(seed, |mut sim| async move {
            let fast = Segment { check_interval: Millis(250), ..Segment::default() };
            sim.bootstrap_with(4, Settings::fast(), fast).await?;
            sim.pass(Duration::from_secs(2)).await;
            let leader = sim.leader().unwrap();
            let others: Vec<ControllerId> = sim.ids().into_iter().filter(|id| *id != leader).collect();
            for _ in 0..5 {
                sim.pause(&others, Duration::from_millis(900)).await;
                sim.pass(Duration::from_secs(2)).await;
            }
            let condemned = |event: &Event| matches!(event, Event::VoteCast { verdict, .. } if verdict.condemns());
            let votes: Vec<Event> = sim
                .read(leader, |state| state.events_from(0).map(|row| row.event.clone()).filter(condemned).collect())
                .unwrap();
            assert_eq!(votes, []);
            Ok(())
        })
        .unwrap();
    }
}
