//! Agents' lists of what runs: their order, and what they say about starts.

use std::collections::BTreeMap;

use super::recovery::{RUNS, plan, result, to};
use super::rig::{Rig, boot, host, instance};
use crate::{AgentReport, Change, Event, InstanceState, LogIndex, Millis, Rejected, Token, Work, WorkId};

#[test]
fn what_was_started_and_is_not_listed_behind_its_start_has_ended() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    let token = Token(LogIndex(rig.index));
    rig.ok(result(2, token, RUNS));
    let started = LogIndex(rig.index);
    let listed = |rig: &mut Rig, as_of| {
        let report = AgentReport { as_of, ..Rig::list(3, &[]) };
        rig.ok(Change::AgentReport { host: host(3), report });
        (rig.state.instance(&instance(2)).unwrap().state, rig.state.unlisted())
    };
    let asked = BTreeMap::from([(host(3), started)]);
    assert_eq!(rig.state.unlisted(), asked);
    for before in [None, Some(token.0), Some(LogIndex(started.0 - 1))] {
        assert_eq!(listed(&mut rig, before), (InstanceState::Running, asked.clone()), "{before:?}");
    }
    assert_eq!(listed(&mut rig, Some(started)), (InstanceState::Stopped, BTreeMap::new()));
    rig.fence(3);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None, "what had ended is not started again");
}

#[test]
fn nobody_is_asked_for_what_is_listed_or_may_not_be_there() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    assert_eq!(rig.state.unlisted(), BTreeMap::new(), "it is not started yet");
    let token = Token(LogIndex(rig.index));
    rig.ok(result(2, token, RUNS));
    let mut dead = rig.state.clone();
    std::mem::swap(&mut rig.state, &mut dead);
    rig.lose(3);
    assert_eq!(rig.state.unlisted(), BTreeMap::new(), "its host is lost");
    rig.state = dead;
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.unlisted(), BTreeMap::new(), "it is listed");
}

/// Reports what runs on a host, as it was listed at this moment of the boot.
fn listed(rig: &mut Rig, number: u8, boot_number: u8, at: u64, running: &[u8]) {
    let report = AgentReport { listed: Millis(at), ..Rig::list(boot_number, running) };
    rig.apply(Change::AgentReport { host: host(number), report });
}

#[test]
fn of_two_lists_of_a_boot_the_later_one_counts() {
    let mut rig = Rig::green();
    listed(&mut rig, 3, 3, 5000, &[2, 3]);
    listed(&mut rig, 2, 2, 9000, &[]);
    let moved = Event::InstanceMoved { instance: instance(2), from: host(2), to: host(3) };
    assert_eq!(rig.last_event(), moved);
    listed(&mut rig, 2, 2, 9500, &[2]);
    listed(&mut rig, 3, 3, 9600, &[3]);
    let back = rig.state.clone();
    assert_eq!(back.instance(&instance(2)).unwrap().owner, host(2), "it was moved back");
    listed(&mut rig, 3, 3, 9599, &[2, 3]);
    listed(&mut rig, 2, 2, 9000, &[]);
    assert_eq!(rig.state.instance(&instance(2)), back.instance(&instance(2)), "late lists change nothing");
    assert_eq!(rig.state.host(&host(3)), back.host(&host(3)));
}

#[test]
fn a_report_of_a_boot_that_another_one_followed_is_refused() {
    let mut rig = Rig::green();
    rig.report(2, 12, &[]);
    rig.report(2, 22, &[]);
    let before = rig.state.host(&host(2)).unwrap().clone();
    assert_eq!(before.agent.as_ref().unwrap().earlier, [boot(2), boot(12)]);
    listed(&mut rig, 2, 12, 99_000, &[2]);
    assert_eq!(rig.state.host(&host(2)), Some(&before));
}

#[test]
fn what_a_returned_host_brought_up_by_itself_is_started_nowhere_else_until_it_is_stopped() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    listed(&mut rig, 2, 12, 1000, &[2]);
    let refused = rig.apply(plan(token, 2, to(3, 3)));
    assert_eq!(refused.reply, Err(Rejected::NoAssignment(instance(2))));
    let stop = WorkId::Stop { instance: instance(2), host: host(2), boot: boot(12) };
    assert_eq!(rig.state.work().iter().map(Work::id).collect::<Vec<_>>(), [stop]);
    listed(&mut rig, 2, 12, 4000, &[]);
    rig.ok(plan(token, 2, to(3, 3)));
    let token = Token(LogIndex(rig.index));
    let start = WorkId::Start { instance: instance(2), token };
    assert_eq!(rig.state.work().iter().map(Work::id).collect::<Vec<_>>(), [start]);
    assert_eq!(rig.state.holder(&instance(2)), Some((&host(3), token, Some(boot(3)))));
    listed(&mut rig, 2, 12, 5000, &[2]);
    assert_eq!(rig.state.holder(&instance(2)), None, "an agent that asks now is told that nobody may start it");
    assert!(!rig.state.work().iter().any(|work| matches!(work, Work::Start(_))));
}

#[test]
fn an_instance_that_was_moved_before_its_start_was_answered_is_where_it_was_moved_to() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    let ordered = Token(LogIndex(rig.index));
    listed(&mut rig, 3, 3, 9000, &[2, 3]);
    let row = rig.state.instance(&instance(2)).unwrap().clone();
    assert_eq!((&row.owner, row.state, &row.recovery), (&host(3), InstanceState::Running, &None));
    let finished = Event::RecoveryFinished { host: host(2), token, started: 1, parked: 0 };
    assert_eq!(rig.last_event(), finished);
    assert_eq!(rig.state.work(), [], "nobody is ordered to start it again");
    let late = rig.apply(result(2, ordered, RUNS));
    assert_eq!(late.reply, Err(Rejected::NoAssignment(instance(2))));
    assert_eq!(rig.state.instance(&instance(2)), Some(&row));
}

#[test]
fn what_is_missing_behind_its_start_and_runs_elsewhere_was_moved() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    let token = Token(LogIndex(rig.index));
    rig.ok(result(2, token, RUNS));
    let started = LogIndex(rig.index);
    // The target's list counts as a stray's while the first host has not listed it and may still run it.
    listed(&mut rig, 3, 3, 9000, &[2, 3]);
    let report = AgentReport { listed: Millis(9100), as_of: Some(started), ..Rig::list(1, &[]) };
    rig.ok(Change::AgentReport { host: host(1), report });
    let row = rig.state.instance(&instance(2)).unwrap();
    assert_eq!((&row.owner, row.state), (&host(3), InstanceState::Running));
}
