use super::rig::{Rig, boot, host, instance};
use crate::{
    AgentReport, Change, Destination, Event, InstanceReport, InstanceState, LogIndex, Millis, Move, Outcome, Parking,
    Reason, RecoveryStage, Refusal, Rejected, Token, Verdict, Work, WorkId,
};

pub(super) fn to(number: u8, boot_number: u8) -> Destination {
    Destination::Host { host: host(number), boot: boot(boot_number) }
}

pub(super) fn plan(token: Token, instance_number: u8, to: Destination) -> Change {
    Change::RecoveryPlan { token, moves: vec![Move { instance: instance(instance_number), to }] }
}

pub(super) fn result(number: u8, token: Token, outcome: Outcome<InstanceState>) -> Change {
    Change::RecoveryResult { instance: instance(number), token, outcome }
}

pub(super) const RUNS: Outcome<InstanceState> = Outcome::Observed(InstanceState::Running);

#[test]
fn nothing_moves_before_the_proof() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    assert_eq!(rig.refused(plan(token, 2, to(3, 3))), Rejected::NoParent(token.0));
}

#[test]
fn a_move_goes_to_an_admitted_boot_only() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    assert_eq!(rig.refused(plan(token, 2, to(3, 13))), Rejected::WrongBoot(host(3)));
    assert_eq!(rig.refused(plan(token, 2, to(2, 2))), Rejected::WrongBoot(host(2)), "the fenced host is no target");
    assert_eq!(rig.refused(plan(token, 1, to(3, 3))), Rejected::NoAssignment(instance(1)), "host1 is not fenced");
    rig.ok(Change::HostMaintenance { host: host(3), reason: Some("disk".into()) });
    assert_eq!(rig.refused(plan(token, 2, to(3, 3))), Rejected::WrongBoot(host(3)));
}

#[test]
fn an_instance_has_one_assignment_at_a_time_and_one_start() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let token = Token(LogIndex(rig.index));
    assert_eq!(rig.refused(plan(fence, 2, to(1, 1))), Rejected::NoAssignment(instance(2)));
    let ids: Vec<WorkId> = rig.state.work().iter().map(Work::id).collect();
    assert_eq!(ids, [WorkId::Start { instance: instance(2), token }]);
    assert_eq!(rig.refused(result(2, fence, RUNS)), Rejected::NoAssignment(instance(2)), "an older token");
    rig.ok(result(2, token, RUNS));
    let row = rig.state.instance(&instance(2)).unwrap();
    assert_eq!((row.owner.clone(), row.token, row.recovery.clone()), (host(3), token, None));
    assert_eq!(rig.last_event(), Event::RecoveryFinished { host: host(2), token: fence, started: 1, parked: 0 });
    assert_eq!(rig.state.work(), Vec::new());
}

#[test]
fn an_unknown_start_stays_assigned_and_a_refused_one_may_go_elsewhere() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let first = Token(LogIndex(rig.index));
    rig.ok(result(2, first, Outcome::Unknown(crate::Doubt::Timeout)));
    assert_eq!(rig.state.work().len(), 1, "nobody knows, so the same order is sent again");
    rig.ok(result(2, first, Outcome::Refused(Refusal::Hypervisor)));
    assert_eq!(rig.state.work(), Vec::new());
    rig.ok(plan(fence, 2, to(1, 1)));
    let row = rig.state.instance(&instance(2)).unwrap();
    assert_eq!(row.holder(), Some((&host(1), Token(LogIndex(rig.index)), Some(boot(1)))));
}

#[test]
fn fencing_the_target_ends_its_assignments() {
    let mut rig = Rig::green();
    let first = rig.fence(2);
    rig.ok(plan(first, 2, to(3, 3)));
    let assignment = Token(LogIndex(rig.index));
    let second = rig.fence(3);
    assert_eq!(rig.refused(result(2, assignment, RUNS)), Rejected::NoAssignment(instance(2)));
    rig.ok(plan(second, 2, to(1, 1)));
    rig.ok(plan(second, 3, to(1, 1)));
}

#[test]
fn the_agents_list_settles_a_start_whose_answer_was_lost() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().owner, host(3));
    assert_eq!(rig.state.work(), Vec::new());
}

#[test]
fn parked_instances_are_planned_again() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, Destination::Parked(Parking::NoRoom)));
    assert_eq!(rig.last_event(), Event::RecoveryFinished { host: host(2), token: fence, started: 0, parked: 1 });
    rig.ok(plan(fence, 2, to(1, 1)));
    assert_eq!(rig.state.work().len(), 1);
}

#[test]
fn a_stray_copy_on_a_returned_host_is_stopped_before_the_host_is_admitted() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let token = Token(LogIndex(rig.index));
    rig.ok(result(2, token, RUNS));
    rig.report(2, 12, &[2]);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 30_000;
    let ids: Vec<WorkId> = rig.state.work().iter().map(Work::id).collect();
    assert_eq!(ids, [WorkId::Stop { instance: instance(2), host: host(2), boot: boot(12) }]);
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForInstances { left: 1 }));
    rig.report(2, 12, &[]);
    rig.ok(admit);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().owner, host(3), "its owner stays who started it");
}

#[test]
fn what_a_dead_boot_ran_is_not_left_on_its_host() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let token = Token(LogIndex(rig.index));
    rig.ok(result(2, token, RUNS));
    rig.clock += 30_000;
    let row = rig.state.host(&host(2)).unwrap();
    let reasons = crate::state::admission_waits_for(&rig.state, row, crate::ClusterTime(rig.clock));
    assert_eq!(reasons, [Reason::WaitsForNewBoot, Reason::WaitsForHeartbeats { heard: 1, needed: 2 }]);
}

#[test]
fn when_every_host_is_lost_the_first_to_return_takes_its_own_instances() {
    let mut rig = Rig::green();
    let settings = crate::Settings { fences_in_flight_max: 9, ..crate::Settings::default() };
    rig.ok(Change::SettingsSet { settings });
    for number in 1..=3 {
        rig.report(number, 10 + number, &[]);
        rig.vote_all(number, Verdict::Alive { boot: boot(10 + number) });
        let lost_at = match rig.state.host(&host(number)).unwrap().state {
            crate::HostState::Lost { at, .. } => at,
            other => panic!("a rebooted host is lost, not {other:?}"),
        };
        rig.ok(Change::FenceDecide { host: host(number), lost_at });
        rig.ok(Change::FenceNewBoot { token: Token(LogIndex(rig.index)), boot: boot(10 + number) });
    }
    rig.ok(Change::HostAdmit { host: host(1), boot: boot(11) });
    let fence = rig.state.instance(&instance(1)).unwrap().recovery.clone().unwrap().fence;
    rig.ok(plan(fence, 1, to(1, 11)));
    assert_eq!(rig.state.work().len(), 1);
}

#[test]
fn a_live_migration_moves_the_owner_when_the_source_lets_go() {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    assert_eq!(
        rig.last_event(),
        Event::InstanceStray { instance: instance(2), host: host(3), owner: host(2) },
        "both have it"
    );
    rig.report(2, 2, &[]);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().owner, host(3));
}

#[test]
fn a_migration_that_finishes_while_its_source_is_fenced_keeps_its_only_copy() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    rig.report(3, 3, &[2, 3]);
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![super::rig::OFF] });
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)), "it runs on host3");
    rig.ok(plan(token, 2, to(3, 3)));
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().owner, host(3));
}

#[test]
fn what_was_moved_to_a_host_that_is_lost_meanwhile_is_recovered_with_it() {
    let moved = |source_lists: &[u8]| {
        let mut rig = Rig::green();
        rig.report(3, 3, &[2, 3]);
        let token = rig.decide(3);
        rig.report(2, 2, source_lists);
        let permit = rig.permit(token);
        rig.ok(Change::FenceResult { token, permit, outcomes: vec![super::rig::OFF] });
        (rig, token)
    };
    let (mut rig, token) = moved(&[]);
    assert_eq!(
        rig.refused(plan(token, 2, to(1, 1))),
        Rejected::NoAssignment(instance(2)),
        "its owner may have it back"
    );
    rig.report(2, 2, &[]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, InstanceState::Running);
    rig.ok(plan(token, 2, to(1, 1)));

    let (mut rig, token) = moved(&[2]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None, "its owner lists it");
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)));
}

#[test]
fn nobody_may_run_an_instance_between_its_old_host_and_its_new_one() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().holder(), None);
    rig.report(2, 12, &[2]);
    let ids: Vec<WorkId> = rig.state.work().iter().map(Work::id).collect();
    assert_eq!(ids, [WorkId::Stop { instance: instance(2), host: host(2), boot: boot(12) }], "started by itself");
    rig.ok(plan(token, 2, Destination::Parked(Parking::NoRoom)));
    assert_eq!(rig.state.work().len(), 1, "parked or not, the copy has to go");
}

#[test]
fn parked_instances_do_not_keep_their_host_away() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, Destination::Parked(Parking::NoRoom)));
    rig.report(2, 12, &[]);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    rig.ok(plan(token, 2, to(2, 12)));
}

#[test]
fn a_list_from_before_a_start_does_not_stop_the_instance() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let planned = LogIndex(rig.index);
    rig.ok(result(2, Token(planned), RUNS));
    let report = AgentReport { as_of: Some(planned), ..Rig::list(3, &[3]) };
    rig.ok(Change::AgentReport { host: host(3), report });
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, InstanceState::Running);
}

#[test]
fn a_live_migration_moves_the_owner_when_the_targets_report_came_first() {
    let shut_off = Some(InstanceState::Stopped);
    for left_behind in [None, shut_off] {
        let mut rig = Rig::green();
        rig.report(3, 3, &[2, 3]);
        report_state(&mut rig, 2, left_behind);
        let row = rig.state.instance(&instance(2)).unwrap();
        let token = Token(LogIndex(rig.index));
        assert_eq!((&row.owner, row.token, row.state), (&host(3), token, InstanceState::Running));
        let moved = Event::InstanceMoved { instance: instance(2), from: host(2), to: host(3) };
        assert_eq!(rig.last_event(), moved);
    }
}

/// Reports instance `number` from its own host in this state, or not at all.
fn report_state(rig: &mut Rig, number: u8, state: Option<InstanceState>) {
    let row = |state| InstanceReport {
        id: instance(number),
        name: format!("vm{number}"),
        state,
        ha_enabled: true,
        priority: 500,
        memory_mib: 64,
        definition: "<domain/>".into(),
    };
    let report = AgentReport {
        boot: boot(number),
        system_uuid: None,
        memory_mib: 1024,
        instances: state.into_iter().map(row).collect(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(number), report });
}

#[test]
fn an_instance_that_crashed_and_was_undefined_is_not_recovered() {
    let mut rig = Rig::green();
    report_state(&mut rig, 2, Some(InstanceState::Crashed));
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, InstanceState::Crashed);
    report_state(&mut rig, 2, None);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, InstanceState::Stopped);
    rig.fence(2);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None);
}

#[test]
fn a_migration_into_maintenance_keeps_its_only_copy() {
    let mut rig = Rig::green();
    rig.ok(Change::HostMaintenance { host: host(3), reason: Some("disk".into()) });
    rig.report(3, 3, &[2, 3]);
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().owner, host(3));
}

#[test]
fn a_move_that_is_refused_does_not_hold_the_others_back() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[2, 4]);
    let token = rig.fence(2);
    let moves = vec![Move { instance: instance(2), to: to(3, 13) }, Move { instance: instance(4), to: to(3, 3) }];
    rig.ok(Change::RecoveryPlan { token, moves });
    let ids: Vec<WorkId> = rig.state.work().iter().map(Work::id).collect();
    assert_eq!(ids, [WorkId::Start { instance: instance(4), token: Token(LogIndex(rig.index)) }]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery.clone().unwrap().stage, RecoveryStage::Waiting);
}

#[test]
fn a_stray_copy_that_goes_away_leaves_the_instance_with_its_owner() {
    let mut rig = Rig::green();
    let mut row = rig.state.instance(&instance(2)).unwrap().clone();
    rig.report(3, 3, &[2, 3]);
    row.listed_elsewhere_at = Some(LogIndex(rig.index));
    rig.report(3, 3, &[3]);
    assert_eq!(rig.state.instance(&instance(2)), Some(&row));
    assert_eq!(rig.state.unlisted(), [].into(), "its owner has nothing to say");
    let stray = Event::InstanceStray { instance: instance(2), host: host(3), owner: host(2) };
    assert_eq!(rig.last_event(), stray, "nothing was told since");
}

#[test]
fn an_instance_that_nobody_protects_is_still_its_hosts_own_and_does_not_keep_it_away() {
    let mut rig = Rig::green();
    let unprotected = |boot_number| {
        let row = InstanceReport {
            id: instance(2),
            name: "vm2".into(),
            state: InstanceState::Running,
            ha_enabled: false,
            priority: 500,
            memory_mib: 64,
            definition: "<domain/>".into(),
        };
        let report = AgentReport {
            boot: boot(boot_number),
            system_uuid: None,
            memory_mib: 1024,
            instances: vec![row],
            cannot_refuse: false,
            listed: Millis(0),
            as_of: None,
        };
        Change::AgentReport { host: host(2), report }
    };
    rig.ok(unprotected(2));
    rig.fence(2);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None);
    rig.ok(unprotected(12));
    assert_eq!(rig.state.work(), [], "it may run there");
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
}

#[test]
fn a_list_of_the_targets_next_boot_does_not_settle_a_start_in_this_one() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    let assigned = rig.state.instance(&instance(2)).unwrap().clone();
    rig.report(3, 13, &[2]);
    assert_eq!(rig.state.instance(&instance(2)), Some(&assigned), "its only proof would be a fence of boot 3");
}

#[test]
fn what_a_lost_host_says_of_its_instances_changes_nothing_for_their_recovery() {
    let mut rig = Rig::green();
    let lost_at = rig.lose(2);
    report_state(&mut rig, 2, Some(InstanceState::Stopped));
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, InstanceState::Running);
    rig.ok(Change::FenceDecide { host: host(2), lost_at });
    let token = Token(LogIndex(rig.index));
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![super::rig::OFF] });
    assert!(rig.state.instance(&instance(2)).unwrap().recovery.is_some());
}

/// Hosts 2 and 3 are in a segment without evacuation, fenced, and what they ran is parked.
fn without_evacuation() -> (Rig, Token) {
    let mut rig = Rig::green();
    let id: crate::SegmentId = "quiet".parse().unwrap();
    let segment = crate::Segment {
        id: id.clone(),
        evacuation_enabled: false,
        minimum_healthy_percent: 0,
        ..crate::Segment::default()
    };
    rig.ok(Change::SegmentCreate { segment });
    for number in [2, 3] {
        let Change::HostEnrol { host, mut enrolment } = rig.enrolment(number, 1) else { unreachable!() };
        enrolment.segment = id.clone();
        rig.ok(Change::HostEnrol { host, enrolment });
    }
    let tokens = [2, 3].map(|number| {
        let token = rig.fence(number);
        rig.ok(plan(token, number, Destination::Parked(Parking::EvacuationDisabled)));
        token
    });
    (rig, tokens[0])
}

/// Host 2 returns and is admitted.
fn admitted(mut rig: Rig) -> Rig {
    rig.report(2, 12, &[]);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    rig
}

#[test]
fn where_evacuation_is_off_a_host_gets_its_own_instances_back_and_nobody_elses() {
    let (rig, _) = without_evacuation();
    let others = rig.state.instance(&instance(3)).unwrap().clone();
    let rig = admitted(rig);
    let own = rig.state.instance(&instance(2)).unwrap();
    assert_eq!((&own.recovery, own.state, own.token), (&None, InstanceState::Stopped, Token(LogIndex(rig.index))));
    assert_eq!(rig.state.instance(&instance(3)), Some(&others), "host 3 is still away");
    assert_eq!(rig.state.instance(&instance(1)).unwrap().state, InstanceState::Running);
}

#[test]
fn what_may_run_on_another_host_is_not_given_back() {
    let (mut rig, _) = without_evacuation();
    rig.report(1, 1, &[1, 2]);
    let row = rig.state.instance(&instance(2)).unwrap().clone();
    assert_eq!(admitted(rig).state.instance(&instance(2)), Some(&row), "a live migration brought it to host 1");

    let (mut rig, fence) = without_evacuation();
    rig.ok(plan(fence, 2, to(1, 1)));
    rig.lose(1);
    let row = rig.state.instance(&instance(2)).unwrap().clone();
    assert_eq!(admitted(rig).state.instance(&instance(2)), Some(&row), "host 1 may have started it before it was lost");
}

#[test]
fn a_start_is_due_only_while_its_target_is_up_in_that_boot() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    rig.ok(plan(fence, 2, to(3, 3)));
    assert_eq!(rig.state.work().len(), 1);
    rig.lose(3);
    assert_eq!(rig.state.work(), []);
    rig.vote_all(3, Verdict::Alive { boot: boot(3) });
    assert_eq!(rig.state.work().len(), 1, "it was seen again");
}

#[test]
fn a_move_rests_on_the_fence_that_the_instance_was_recovered_from() {
    let mut rig = Rig::green();
    rig.report(1, 1, &[]);
    let (second, third) = (rig.fence(2), rig.fence(3));
    assert_eq!(rig.refused(plan(third, 2, to(1, 1))), Rejected::NoAssignment(instance(2)));
    rig.ok(plan(second, 2, to(1, 1)));
    rig.ok(plan(third, 3, Destination::Parked(Parking::NoRoom)));
    let finished = Event::RecoveryFinished { host: host(3), token: third, started: 0, parked: 1 };
    assert_eq!(rig.last_event(), finished, "what is under way for another fence does not count");
}
