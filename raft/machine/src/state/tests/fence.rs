use super::rig::{OFF, Rig, boot, host, instance, operator};
use crate::{
    Actor, Change, ControllerId, Doubt, Event, HostState, LogIndex, Millis, OffSeen, Outcome, Proof, Reason, Refusal,
    Rejected, Reply, Settings, Stage, SystemUuid, Token, Verdict, Work,
};

#[test]
fn a_decision_rests_on_the_entry_that_made_the_host_lost() {
    let mut rig = Rig::green();
    let lost_at = rig.lose(2);
    let wrong = LogIndex(lost_at.0 - 1);
    assert_eq!(rig.refused(Change::FenceDecide { host: host(2), lost_at: wrong }), Rejected::NoParent(wrong));
    assert_eq!(rig.refused(Change::FenceDecide { host: host(1), lost_at }), Rejected::NoParent(lost_at));
    let token = Token(LogIndex(rig.index + 1));
    assert_eq!(rig.ok(Change::FenceDecide { host: host(2), lost_at }), Reply::Fence(token));
}

#[test]
fn brakes_hold_a_decision_back() {
    type Prepare = fn(&mut Rig);
    let table: [(Prepare, Reason); 4] = [
        (
            |rig| {
                rig.ok(Change::Disarm { reason: "work".into() });
            },
            Reason::Disarmed,
        ),
        (
            |rig| {
                rig.ok(Change::HostMaintenance { host: host(2), reason: Some("disk".into()) });
            },
            Reason::Maintenance,
        ),
        (
            |rig| {
                let change = rig.enrolment(2, 0);
                rig.ok(change);
            },
            Reason::NoFencingLevel,
        ),
        (
            |rig| {
                let settings = Settings { fences_in_flight_max: 1, ..Settings::default() };
                rig.ok(Change::SettingsSet { settings });
                rig.decide(1);
            },
            Reason::FencesInFlight { in_flight: 1, max: 1 },
        ),
    ];
    for (prepare, reason) in table {
        let mut rig = Rig::green();
        prepare(&mut rig);
        let lost_at = rig.lose(2);
        assert_eq!(rig.refused(Change::FenceDecide { host: host(2), lost_at }), Rejected::Held(reason));
    }
}

#[test]
fn the_healthy_share_of_a_segment_is_never_crossed() {
    let mut rig = Rig::green();
    rig.decide(1);
    rig.decide(2);
    let lost_at = rig.lose(3);
    let settings = Settings { fences_in_flight_max: 9, ..Settings::default() };
    rig.ok(Change::SettingsSet { settings });
    let reason = Reason::MinimumHealthy { healthy: 0, hosts: 3, percent: 30 };
    assert_eq!(rig.refused(Change::FenceDecide { host: host(3), lost_at }), Rejected::Held(reason));
}

#[test]
fn the_storm_brake_closes_in_the_log_and_only_arm_opens_it() {
    let mut rig = Rig::green();
    rig.ok(Change::SettingsSet { settings: Settings { storm_fences_max: 1, ..Settings::default() } });
    rig.fence(1);
    let lost_at = rig.lose(2);
    let decide = Change::FenceDecide { host: host(2), lost_at };
    assert_eq!(rig.apply(decide.clone()).events, vec![Event::StormBrakeClosed { host: host(2) }]);
    rig.clock += Settings::default().storm_window.0;
    assert_eq!(rig.refused(decide.clone()), Rejected::Held(Reason::StormBrake), "the window is over, the brake holds");
    rig.ok(Change::Arm { reason: "looked into it".into() });
    rig.ok(decide);
}

#[test]
fn only_off_read_twice_in_two_sessions_is_a_proof() {
    let seen = |reads, sessions| Outcome::Observed(OffSeen { reads, sessions, ordered: false });
    let table = [
        (vec![seen(2, 2)], true),
        (vec![seen(2, 1)], false),
        (vec![seen(1, 2)], false),
        (vec![Outcome::Unknown(Doubt::Timeout)], false),
        (vec![Outcome::Refused(Refusal::WrongMachine)], false),
        (vec![], false),
        (vec![OFF, OFF], false),
    ];
    for (outcomes, proven) in table {
        let mut rig = Rig::green();
        let token = rig.decide(2);
        let permit = rig.permit(token);
        rig.ok(Change::FenceResult { token, permit, outcomes: outcomes.clone() });
        let is_proven = matches!(rig.state.fence(&token).unwrap().stage, Stage::Proven { .. });
        assert_eq!(is_proven, proven, "{outcomes:?}");
    }
}

#[test]
fn a_result_without_its_permit_is_refused() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let stranger = LogIndex(3);
    let result = |permit| Change::FenceResult { token, permit, outcomes: vec![OFF] };
    assert_eq!(rig.refused(result(stranger)), Rejected::NoParent(stranger));
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![Outcome::Unknown(Doubt::Timeout)] });
    assert_eq!(rig.refused(result(permit)), Rejected::NoParent(permit), "one result ends a permit");
}

#[test]
fn a_permit_asks_for_no_more_than_the_settings_allow() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let long = Change::PermitGrant { token, executor: ControllerId(1), level: 0, life: Millis(20_001) };
    assert!(matches!(rig.refused(long), Rejected::Invalid(_)));
    let stranger = Change::PermitGrant { token, executor: ControllerId(4), level: 0, life: Millis(1) };
    assert_eq!(rig.refused(stranger), Rejected::NotAVoter(ControllerId(4)));
    let elsewhere = Change::PermitGrant { token, executor: ControllerId(1), level: 1, life: Millis(1) };
    assert_eq!(rig.refused(elsewhere), Rejected::NoParent(token.0));
}

fn attempts(rig: &mut Rig, token: Token, outcome: &Outcome<OffSeen>, count: usize) -> Vec<(u8, u64)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let Some(Work::Fence(work)) = rig.state.work().into_iter().next() else { break };
        seen.push((work.level, work.not_before.0 - rig.clock));
        rig.clock = work.not_before.0;
        let permit = rig.permit(token);
        rig.ok(Change::FenceResult { token, permit, outcomes: vec![outcome.clone()] });
    }
    seen
}

#[test]
fn doubts_are_retried_with_longer_pauses_then_the_next_level_is_tried_then_a_person_is_needed() {
    let mut rig = Rig::green();
    let change = rig.enrolment(2, 2);
    rig.ok(change);
    let token = rig.decide(2);
    let seen = attempts(&mut rig, token, &Outcome::Unknown(Doubt::Timeout), 8);
    assert_eq!(seen, [(0, 0), (0, 1000), (0, 2000), (1, 0), (1, 1000), (1, 2000), (0, 30_000), (1, 0)]);
    assert_eq!(rig.state.fence(&token).unwrap().stage, Stage::NeedsHuman);
    let calls = rig.state.events_from(0).filter(|row| matches!(row.event, Event::FenceNeedsHuman { .. })).count();
    assert_eq!(calls, 1, "a person is called once");
}

#[test]
fn a_refused_password_is_never_tried_again() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let seen = attempts(&mut rig, token, &Outcome::Refused(Refusal::Credentials), 5);
    assert_eq!(seen, [(0, 0)]);
    assert_eq!(rig.state.work(), Vec::new());
    let change = rig.enrolment(2, 1);
    rig.ok(change);
    assert_eq!(rig.state.work().len(), 1, "a new enrolment is a new chance");
}

#[test]
fn a_permit_that_ran_out_is_no_refusal_of_the_device() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let seen = attempts(&mut rig, token, &Outcome::Refused(Refusal::PermitEnded), 2);
    assert_eq!(seen, [(0, 0), (0, 1000)]);
}

#[test]
fn a_new_boot_proves_the_old_one_dead() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let same = Change::FenceNewBoot { token, boot: boot(2) };
    assert_eq!(rig.refused(same), Rejected::WrongBoot(host(2)));
    rig.report(2, 12, &[]);
    rig.ok(Change::FenceNewBoot { token, boot: boot(12) });
    let stage = rig.state.fence(&token).unwrap().stage.clone();
    assert_eq!(stage, Stage::Proven { at: LogIndex(rig.index), proof: Proof::NewBootId { boot: boot(12) } });
}

#[test]
fn a_person_confirms_only_hosts_that_are_lost_and_that_nobody_sees_alive() {
    let confirm = Change::HostConfirmDead { host: host(2), reason: "plug is out".into(), boot: None };
    let mut rig = Rig::green();
    assert_eq!(rig.refused(confirm.clone()), Rejected::HostLives(host(2)));
    rig.lose(2);
    let refused = rig.refused(confirm.clone());
    assert!(matches!(refused, Rejected::Invalid(_)), "the third voter may hear it: {refused}");
    rig.vote(3, 2, Verdict::Unreachable);
    rig.by = Actor::Controller(ControllerId(1));
    assert!(matches!(rig.refused(confirm.clone()), Rejected::Invalid(_)), "a controller is no person");
    rig.by = operator();
    rig.ok(confirm);
    let token = Token(LogIndex(rig.index));
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Fenced { token });
}

#[test]
fn a_fenced_host_returns_in_another_boot_after_every_late_order_is_over() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    assert_eq!(rig.refused(admit.clone()), Rejected::WrongBoot(host(2)));
    rig.report(2, 12, &[]);
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForPermits));
    rig.clock += 30_000;
    rig.ok(admit);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(12) });
}

#[test]
fn a_host_returns_only_when_a_majority_hears_its_present_boot() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(2, 12, &[]);
    rig.clock += 30_000;
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    rig.vote(1, 2, Verdict::Alive { boot: boot(12) });
    let waits = Rejected::Held(Reason::WaitsForHeartbeats { heard: 1, needed: 2 });
    assert_eq!(rig.refused(admit.clone()), waits);
    rig.vote(2, 2, Verdict::Alive { boot: boot(12) });
    rig.ok(admit);
}

#[test]
fn a_late_report_of_a_dead_boot_is_no_news() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    rig.report(2, 12, &[]);
    rig.ok(Change::FenceNewBoot { token, boot: boot(12) });
    let late = crate::AgentReport {
        boot: boot(2),
        system_uuid: None,
        memory_mib: 1024,
        instances: Vec::new(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    let late = Change::AgentReport { host: host(2), report: late };
    assert_eq!(rig.refused(late.clone()), Rejected::WrongBoot(host(2)));
    rig.ok(Change::RecoveryPlan {
        token,
        moves: vec![crate::Move { instance: instance(2), to: crate::Destination::Parked(crate::Parking::NoRoom) }],
    });
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    assert_eq!(rig.refused(late), Rejected::WrongBoot(host(2)));
    assert_eq!(rig.state.host(&host(2)).unwrap().up_boot(), Some(boot(12)));
}

#[test]
fn what_the_old_devices_said_proves_nothing_after_a_new_enrolment() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let permit = rig.permit(token);
    let before: Vec<_> = rig.state.work().iter().map(Work::id).collect();
    let change = rig.enrolment(2, 1);
    rig.ok(change);
    assert_eq!(rig.refused(Change::FenceResult { token, permit, outcomes: vec![OFF] }), Rejected::NoParent(permit));
    let after: Vec<_> = rig.state.work().iter().map(Work::id).collect();
    assert_ne!(before, after, "the running attempt is another one's");
}

#[test]
fn a_rebooted_host_is_not_powered_off() {
    let mut rig = Rig::green();
    rig.report(2, 12, &[]);
    let HostState::Lost { at, .. } = rig.state.host(&host(2)).unwrap().state else { panic!("it is lost") };
    rig.ok(Change::FenceDecide { host: host(2), lost_at: at });
    let token = Token(LogIndex(rig.index));
    assert_eq!(rig.state.work(), Vec::new());
    let grant = Change::PermitGrant { token, executor: ControllerId(1), level: 0, life: Millis(1000) };
    assert_eq!(rig.refused(grant), Rejected::NoParent(token.0));
}

#[test]
fn every_brake_holds_for_a_reboot_that_is_no_proof() {
    let mut rig = Rig::green();
    let proofs = [crate::ProofClass::PowerOffVerified].into();
    rig.ok(Change::SettingsSet { settings: Settings { proofs, ..Settings::default() } });
    rig.ok(Change::HostMaintenance { host: host(2), reason: Some("firmware".into()) });
    rig.report(2, 12, &[]);
    let HostState::Lost { at, .. } = rig.state.host(&host(2)).unwrap().state else { panic!("it is lost") };
    let decide = Change::FenceDecide { host: host(2), lost_at: at };
    assert_eq!(rig.refused(decide), Rejected::Held(Reason::Maintenance));
}

#[test]
fn a_host_that_is_only_heard_in_another_boot_is_lost_and_gets_time_to_report_it() {
    let mut rig = Rig::green();
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    let HostState::Lost { at, .. } = rig.state.host(&host(2)).unwrap().state else { panic!("it is lost") };
    rig.ok(Change::FenceDecide { host: host(2), lost_at: at });
    let Work::Fence(work) = &rig.state.work()[0] else { panic!("a fence is due") };
    assert_eq!(work.not_before, crate::ClusterTime(rig.clock + 5000));
}

#[test]
fn a_fence_that_waits_for_a_person_does_not_hold_others_back() {
    let mut rig = Rig::green();
    rig.ok(Change::SettingsSet { settings: Settings { fences_in_flight_max: 1, ..Settings::default() } });
    let token = rig.decide(1);
    let lost_at = rig.lose(2);
    let decide = Change::FenceDecide { host: host(2), lost_at };
    assert_eq!(rig.refused(decide.clone()), Rejected::Held(Reason::FencesInFlight { in_flight: 1, max: 1 }));
    attempts(&mut rig, token, &Outcome::Unknown(Doubt::Timeout), 3);
    rig.ok(decide);
}

#[test]
fn a_refusal_among_doubts_closes_the_level() {
    let mut rig = Rig::green();
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 2) else { unreachable!() };
    let second = enrolment.levels.remove(1).devices;
    enrolment.levels[0].devices.extend(second);
    rig.ok(Change::HostEnrol { host: name, enrolment });
    let token = rig.decide(2);
    let permit = rig.permit(token);
    let outcomes = vec![Outcome::Unknown(Doubt::Timeout), Outcome::Refused(Refusal::Credentials)];
    rig.ok(Change::FenceResult { token, permit, outcomes });
    assert_eq!(rig.state.work(), Vec::new());
}

#[test]
fn a_person_may_vouch_for_a_host_that_no_controller_has_seen_since_it_started() {
    let confirm = || Change::HostConfirmDead { host: host(2), reason: "hangs in its firmware".into(), boot: None };
    for unclear in [crate::Uncertainty::NeverSeen, crate::Uncertainty::CutOff] {
        let mut rig = Rig::green();
        rig.vote_all(2, Verdict::CannotTell(unclear));
        rig.ok(confirm());
        assert!(matches!(rig.state.host(&host(2)).unwrap().state, HostState::Fenced { .. }));
    }
    let mut rig = Rig::green();
    rig.vote_all(2, Verdict::CannotTell(crate::Uncertainty::AgentSilent));
    assert_eq!(rig.apply(confirm()).reply, Err(Rejected::HostLives(host(2))), "it answers otherwise");
    rig.vote(1, 2, Verdict::CannotTell(crate::Uncertainty::CutOff));
    rig.vote(2, 2, Verdict::CannotTell(crate::Uncertainty::CutOff));
    rig.vote(3, 2, Verdict::Alive { boot: boot(2) });
    assert!(matches!(rig.apply(confirm()).reply, Err(Rejected::Invalid(_))), "somebody hears it");
}

#[test]
fn a_dead_controllers_last_word_does_not_block_a_person_and_a_living_ones_does() {
    type Prepare = fn(&mut Rig);
    let lost: Prepare = |rig| {
        rig.lose(2);
    };
    let fencing: Prepare = |rig| {
        rig.decide(2);
    };
    let alive = Verdict::Alive { boot: boot(2) };
    for prepare in [lost, fencing] {
        let mut rig = Rig::green();
        prepare(&mut rig);
        let confirm = Change::HostConfirmDead { host: host(2), reason: "plug is out".into(), boot: None };
        rig.clock += 4999;
        assert!(matches!(rig.refused(confirm.clone()), Rejected::Invalid(_)), "controller 3 may be about to repeat it");
        rig.clock += 1;
        let mut heard = Rig { state: rig.state.clone(), by: operator(), ..rig };
        rig.ok(confirm.clone());
        heard.vote(3, 2, alive);
        let Rejected::Invalid(words) = heard.refused(confirm) else { panic!("it has words of its own") };
        assert!(words.starts_with("controller-3 heard host host2 alive"), "{words}");
    }
}

#[test]
fn a_host_that_is_enrolled_without_a_level_while_it_is_fenced_needs_a_person() {
    let mut rig = Rig::green();
    rig.ok(Change::SettingsSet { settings: Settings { fences_in_flight_max: 1, ..Settings::default() } });
    let token = rig.decide(2);
    let change = rig.enrolment(2, 0);
    rig.ok(change);
    assert_eq!(rig.last_event(), Event::FenceNeedsHuman { host: host(2), token });
    assert_eq!(rig.state.fence(&token).unwrap().stage, Stage::NeedsHuman);
    rig.decide(1);
    let change = rig.enrolment(2, 1);
    rig.ok(change);
    assert_eq!(rig.state.fence(&token).unwrap().stage, Stage::Working, "a level is a new chance");
}

#[test]
fn maintenance_does_not_start_while_the_host_is_fenced() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let start = Change::HostMaintenance { host: host(2), reason: Some("disk".into()) };
    assert!(matches!(rig.refused(start.clone()), Rejected::Invalid(_)));
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    rig.ok(start);
}

fn report_of(machine: u8, boot_number: u8) -> Change {
    let report = crate::AgentReport {
        boot: boot(boot_number),
        system_uuid: Some(SystemUuid([machine; 16])),
        memory_mib: 1024,
        instances: Vec::new(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    Change::AgentReport { host: host(2), report }
}

#[test]
fn the_boot_of_another_machine_proves_nothing() {
    let mut rig = Rig::green();
    rig.ok(report_of(1, 2));
    let token = rig.decide(2);
    assert!(matches!(rig.refused(report_of(7, 12)), Rejected::Invalid(_)));
    let new_boot = Change::FenceNewBoot { token, boot: boot(12) };
    assert_eq!(rig.refused(new_boot.clone()), Rejected::WrongBoot(host(2)));
    rig.report(2, 12, &[]);
    assert!(matches!(rig.refused(report_of(7, 13)), Rejected::Invalid(_)), "a report without a UUID forgets none");
    rig.ok(report_of(1, 12));
    rig.ok(new_boot);
}

#[test]
fn a_replaced_machine_returns_after_a_new_enrolment() {
    let mut rig = Rig::green();
    rig.ok(report_of(1, 2));
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.levels[0].devices[0].identity = Some(SystemUuid([7; 16]));
    let enrol = Change::HostEnrol { host: name, enrolment };
    assert!(matches!(rig.refused(enrol.clone()), Rejected::WrongMachine { .. }), "the old machine is up");
    rig.fence(2);
    assert!(matches!(rig.refused(report_of(7, 12)), Rejected::Invalid(_)));
    rig.ok(enrol.clone());
    assert!(matches!(rig.refused(report_of(1, 12)), Rejected::Invalid(_)), "the old machine is out");
    rig.ok(report_of(7, 12));
    rig.ok(enrol);
    let Change::HostEnrol { host: name, enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    let mut wrong = enrolment;
    wrong.levels[0].devices[0].identity = Some(SystemUuid([8; 16]));
    let refused = rig.refused(Change::HostEnrol { host: name, enrolment: wrong });
    assert!(matches!(refused, Rejected::WrongMachine { .. }), "the living agent is asked again");
}

#[test]
fn a_new_enrolment_calls_a_person_only_when_it_leaves_a_working_fence_without_a_level() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let enrolled = |rig: &mut Rig, levels| {
        let change = rig.enrolment(2, levels);
        rig.apply(change).events.len()
    };
    assert_eq!(enrolled(&mut rig, 2), 1, "levels are tried as before");
    assert_eq!(enrolled(&mut rig, 0), 2, "nobody else can prove it");
    assert_eq!(enrolled(&mut rig, 0), 1, "the person is called already");
    assert_eq!(rig.state.fence(&token).unwrap().attempt, 4, "each enrolment is another attempt");
}

#[test]
fn the_time_to_repeat_a_word_counts_from_the_loss_and_the_vote_that_lost_the_host_is_no_repetition() {
    let mut rig = Rig::green();
    let confirm = Change::HostConfirmDead { host: host(2), reason: "plug is out".into(), boot: None };
    rig.clock += 60_000;
    rig.vote(1, 2, Verdict::Unreachable);
    rig.vote(2, 2, Verdict::Alive { boot: boot(12) });
    rig.clock += 4999;
    assert!(matches!(rig.refused(confirm.clone()), Rejected::Invalid(_)), "controllers 2 and 3 may still live");
    rig.clock += 1;
    rig.ok(confirm);
}

#[test]
fn a_person_may_say_that_a_host_which_came_back_and_died_again_is_dead() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.report(2, 12, &[2]);
    let elsewhere = super::recovery::plan(token, 2, super::recovery::to(3, 3));
    assert_eq!(rig.refused(elsewhere.clone()), Rejected::NoAssignment(instance(2)), "it may run in the new boot");
    rig.by = operator();
    let word = || Change::HostConfirmDead { host: host(2), reason: "it is on my desk".into(), boot: None };
    rig.vote(3, 2, Verdict::Alive { boot: boot(12) });
    assert!(rig.refused(word()).to_string().starts_with("controller-3 heard host host2 alive"));
    rig.vote(3, 2, Verdict::Unreachable);
    let Reply::Fence(again) = rig.ok(word()) else { panic!("a word that counts is a fence of its own") };
    assert_eq!(rig.state.fence(&again).unwrap().boot, Some(boot(12)));
    rig.ok(elsewhere);
    assert_eq!(rig.ok(word()), Reply::Done, "nothing is left to say");
}
