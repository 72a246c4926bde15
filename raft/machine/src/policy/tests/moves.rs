//! Where instances go: order of priority, room, and who may start how many.

use super::{NOW, alive, view};
use crate::state::tests_rig::{OFF, Rig, boot, host, instance};
use crate::{
    AgentReport, Change, ClusterTime, Destination, InstanceId, InstanceReport, InstanceState, LogIndex, Millis, Move,
    Outcome, Parking, Reason, Refusal, Segment, SegmentId, Settings, Token, View, decide,
};

struct Vm {
    number: u8,
    memory_mib: u64,
    priority: u16,
    state: InstanceState,
}

const fn vm(number: u8, memory_mib: u64) -> Vm {
    Vm { number, memory_mib, priority: 500, state: InstanceState::Running }
}

/// The agent of host `number` reports so much memory and these instances.
fn report(rig: &mut Rig, number: u8, memory_mib: u64, vms: &[Vm]) {
    let row = |vm: &Vm| InstanceReport {
        id: instance(vm.number),
        name: format!("vm{}", vm.number),
        state: vm.state,
        ha_enabled: true,
        priority: vm.priority,
        memory_mib: vm.memory_mib,
        definition: "<domain/>".into(),
    };
    let instances = vms.iter().map(row).collect();
    let report = AgentReport {
        boot: boot(number),
        system_uuid: None,
        memory_mib,
        instances,
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(number), report });
}

/// Hosts 1 and 3 with so much memory and nothing on them; host 2 is fenced and ran these.
fn fenced(memory_mib: (u64, u64), vms: &[Vm]) -> Rig {
    let mut rig = Rig::green();
    report(&mut rig, 1, memory_mib.0, &[]);
    report(&mut rig, 3, memory_mib.1, &[]);
    report(&mut rig, 2, 4096, vms);
    rig.fence(2);
    rig
}

/// Hears everybody but host 2.
fn seen() -> View {
    view([0, 9000, 0])
}

/// Where each instance goes that is moved now, in the order of the plan: the number of the host, 0 for parked.
fn plan(rig: &Rig) -> Vec<(InstanceId, u8)> {
    let changes = decide(&rig.state, &seen(), NOW).changes;
    let moves = changes.iter().flat_map(|change| {
        let Change::RecoveryPlan { moves, .. } = change else { panic!("{change:?}") };
        moves.clone()
    });
    moves
        .map(|step| {
            let target = match step.to {
                Destination::Host { host, .. } => host.as_str()[4..].parse().unwrap(),
                Destination::Parked(_) => 0,
            };
            (step.instance, target)
        })
        .collect()
}

#[test]
fn an_instance_goes_to_the_host_with_most_memory_left_and_the_first_by_name_among_equals() {
    let rig = fenced((300, 200), &[vm(1, 100), vm(2, 100), vm(4, 100), vm(5, 100)]);
    assert_eq!(plan(&rig), [(instance(1), 1), (instance(2), 1), (instance(4), 3), (instance(5), 1)]);
}

#[test]
fn an_instance_needs_all_of_its_memory_and_no_more() {
    assert_eq!(plan(&fenced((100, 50), &[vm(2, 100)])), [(instance(2), 1)]);
    let rig = fenced((100, 50), &[vm(2, 101)]);
    assert_eq!(plan(&rig), [(instance(2), 0)]);
    let parked = Reason::Parked { instances: 1, why: Parking::NoRoom };
    assert!(decide(&rig.state, &seen(), NOW).report.hosts[&host(2)].contains(&parked));
}

#[test]
fn what_runs_on_a_target_takes_its_room_and_what_is_shut_off_takes_none() {
    let stopped = Vm { state: InstanceState::Stopped, ..vm(1, 80) };
    let crashed = Vm { state: InstanceState::Crashed, ..vm(1, 80) };
    for (on_target, takes_room) in [(vm(1, 80), true), (crashed, true), (stopped, false)] {
        let mut rig = Rig::green();
        report(&mut rig, 1, 100, &[on_target]);
        report(&mut rig, 3, 10, &[]);
        report(&mut rig, 2, 4096, &[vm(2, 50)]);
        rig.fence(2);
        let target = if takes_room { 0 } else { 1 };
        assert_eq!(plan(&rig), [(instance(2), target)]);
    }
}

#[test]
fn a_target_that_is_promised_more_than_it_has_is_full() {
    let mut rig = Rig::green();
    report(&mut rig, 1, 50, &[vm(1, 80)]);
    report(&mut rig, 3, 40, &[]);
    report(&mut rig, 2, 4096, &[vm(2, 30), vm(4, 1)]);
    rig.fence(2);
    assert_eq!(plan(&rig), [(instance(2), 3), (instance(4), 3)]);
}

#[test]
fn the_most_important_start_first_and_equals_in_the_order_of_their_ids() {
    let urgent = |number, priority| Vm { priority, ..vm(number, 10) };
    let rig = fenced((500, 10), &[urgent(2, 1), urgent(5, 9), urgent(4, 9), urgent(1, 1)]);
    let order: Vec<InstanceId> = plan(&rig).into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, [4, 5, 1, 2].map(instance));
}

#[test]
fn a_target_starts_so_many_at_once_and_the_rest_waits_without_being_parked() {
    let mut rig = fenced((500, 10), &[vm(1, 20), vm(2, 20), vm(4, 20)]);
    rig.ok(Change::SettingsSet { settings: Settings { starts_per_host_max: 2, ..Settings::default() } });
    assert_eq!(plan(&rig), [(instance(1), 1), (instance(2), 1)]);
    let decision = decide(&rig.state, &seen(), NOW);
    assert!(!decision.report.hosts[&host(2)].iter().any(|reason| matches!(reason, Reason::Parked { .. })));
    rig.ok(decision.changes[0].clone());
    let token = Token(LogIndex(rig.index));
    assert_eq!(plan(&rig), [], "both starts are still in flight");
    let outcome = Outcome::Observed(InstanceState::Running);
    rig.ok(Change::RecoveryResult { instance: instance(1), token, outcome });
    assert_eq!(plan(&rig), [(instance(4), 1)]);
}

#[test]
fn a_host_that_refused_is_asked_again_only_when_there_is_no_other() {
    let refuse = |rig: &mut Rig| {
        let token = rig.state.instance(&instance(2)).unwrap().assignment().unwrap().token;
        rig.ok(Change::RecoveryResult { instance: instance(2), token, outcome: Outcome::Refused(Refusal::Hypervisor) });
        rig.clock += 1000;
        rig.vote(1, 1, alive(1));
    };
    let mut rig = fenced((500, 100), &[vm(2, 50)]);
    rig.ok(decide(&rig.state, &seen(), NOW).changes.remove(0));
    refuse(&mut rig);
    assert_eq!(plan(&rig), [(instance(2), 3)], "the other one, although it has less room");
    rig.ok(Change::HostMaintenance { host: host(3), reason: Some("disk".into()) });
    assert_eq!(plan(&rig), [(instance(2), 1)], "nobody else is left");
    rig.ok(Change::HostMaintenance { host: host(3), reason: None });
    report(&mut rig, 3, 10, &[]);
    assert_eq!(plan(&rig), [(instance(2), 0)], "there is another, and it is full");
}

#[test]
fn hosts_in_maintenance_of_other_segments_or_only_heard_in_another_boot_are_no_targets() {
    let prepare = || fenced((500, 100), &[vm(2, 50)]);
    let mut maintained = prepare();
    maintained.ok(Change::HostMaintenance { host: host(1), reason: Some("disk".into()) });
    assert_eq!(plan(&maintained), [(instance(2), 3)]);

    let mut elsewhere = prepare();
    let id: SegmentId = "other".parse().unwrap();
    elsewhere.ok(Change::SegmentCreate { segment: Segment { id: id.clone(), ..Segment::default() } });
    let Change::HostEnrol { host: name, mut enrolment } = elsewhere.enrolment(1, 1) else { unreachable!() };
    enrolment.segment = id;
    elsewhere.ok(Change::HostEnrol { host: name, enrolment });
    assert_eq!(plan(&elsewhere), [(instance(2), 3)]);

    let rig = prepare();
    let mut view = seen();
    view.heard(&host(1), boot(11), NOW, Millis(2500));
    let changes = decide(&rig.state, &view, NOW).changes;
    let Change::RecoveryPlan { moves, .. } = &changes[0] else { panic!("{changes:?}") };
    let target = Destination::Host { host: host(3), boot: boot(3) };
    assert_eq!(moves, &[Move { instance: instance(2), to: target }]);
}

#[test]
fn a_host_whose_heartbeats_may_be_further_apart_for_now_is_a_target() {
    let rig = fenced((500, 100), &[vm(2, 50)]);
    let settings = Settings::default();
    let target = |allowance: Millis| {
        let mut view = view([settings.suspect_after.0 + 500, 9000, 0]);
        view.next_within(&host(1), settings.heartbeat_interval + allowance);
        let changes = decide(&rig.state, &view, NOW).changes;
        let Change::RecoveryPlan { moves, .. } = &changes[0] else { panic!("{changes:?}") };
        let Destination::Host { host, .. } = &moves[0].to else { panic!("{moves:?}") };
        host.clone()
    };
    assert_eq!(target(Millis(499)), host(3));
    assert_eq!(target(Millis(500)), host(1));
}

#[test]
fn instances_that_may_have_died_elsewhere_are_counted_with_the_host_whose_list_is_waited_for() {
    let mut rig = Rig::green();
    report(&mut rig, 2, 4096, &[vm(2, 50), vm(4, 50)]);
    report(&mut rig, 3, 4096, &[vm(2, 50), vm(4, 50)]);
    rig.fence(3);
    let decision = decide(&rig.state, &view([0, 0, 9000]), NOW);
    let waits = Reason::WaitsForCopies { instances: 2, host: host(2) };
    assert!(decision.report.hosts[&host(3)].contains(&waits), "{:?}", decision.report);
}

#[test]
fn instances_that_are_parked_for_one_reason_are_counted_together() {
    let rig = fenced((10, 10), &[vm(1, 50), vm(2, 50), vm(4, 50)]);
    let decision = decide(&rig.state, &seen(), NOW);
    let Change::RecoveryPlan { moves, .. } = &decision.changes[0] else { panic!("{:?}", decision.changes) };
    let parked = |number| Move { instance: instance(number), to: Destination::Parked(Parking::NoRoom) };
    assert_eq!(moves, &[1, 2, 4].map(parked));
    let reasons = &decision.report.hosts[&host(2)];
    assert_eq!(reasons.last(), Some(&Reason::Parked { instances: 3, why: Parking::NoRoom }));
}

#[test]
fn one_entry_carries_so_many_moves_and_the_next_the_rest() {
    let numbered = |number: u16| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        InstanceId(bytes)
    };
    let mut rig = Rig::green();
    let row = |number| InstanceReport {
        id: numbered(number),
        name: format!("vm{number}"),
        state: InstanceState::Running,
        ha_enabled: true,
        priority: 500,
        memory_mib: 10_000,
        definition: String::new(),
    };
    let instances = (1000..1257).map(row).collect();
    let report = AgentReport {
        boot: boot(2),
        system_uuid: None,
        memory_mib: 1024,
        instances,
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(2), report });
    rig.fence(2);
    for expect in [(1000..1256).map(numbered).collect::<Vec<_>>(), vec![numbered(1256)]] {
        let decision = decide(&rig.state, &seen(), NOW);
        let Change::RecoveryPlan { moves, .. } = &decision.changes[0] else { panic!("{:?}", decision.changes) };
        assert_eq!(moves.iter().map(|step| step.instance).collect::<Vec<_>>(), expect);
        rig.ok(decision.changes[0].clone());
    }
}

#[test]
fn a_refused_start_waits_for_its_pause_and_a_round_of_them_for_a_longer_one() {
    let mut rig = fenced((500, 100), &[vm(2, 50)]);
    rig.ok(Change::SettingsSet { settings: Settings { max_restart_attempts: 2, ..Settings::default() } });
    let at = |clock: u64| View { leading: Some((NOW, ClusterTime(clock))), ..seen() };
    let began = rig.clock;
    for (pause, refusals) in [(1000, 1), (0, 2)] {
        rig.ok(decide(&rig.state, &at(rig.clock), NOW).changes.remove(0));
        let token = rig.state.instance(&instance(2)).unwrap().assignment().unwrap().token;
        rig.ok(Change::RecoveryResult { instance: instance(2), token, outcome: Outcome::Refused(Refusal::Hypervisor) });
        let recovery = rig.state.instance(&instance(2)).unwrap().recovery.clone().unwrap();
        assert_eq!(recovery.refusals, refusals);
        rig.clock += pause;
    }
    let park = decide(&rig.state, &at(rig.clock), NOW).changes.remove(0);
    let to = Destination::Parked(Parking::Refused(Refusal::Hypervisor));
    let Change::RecoveryPlan { moves, .. } = &park else { panic!("{park:?}") };
    assert_eq!(moves, &[Move { instance: instance(2), to }], "the second of two starts was refused");
    rig.ok(park);
    assert_eq!(rig.clock, began + 1000);
    assert_eq!(decide(&rig.state, &at(rig.clock + 29_999), NOW).changes, []);
    let again = decide(&rig.state, &at(rig.clock + 30_000), NOW).changes.remove(0);
    let Change::RecoveryPlan { moves, .. } = &again else { panic!("{again:?}") };
    let target = Destination::Host { host: host(1), boot: boot(1) };
    assert_eq!(moves, &[Move { instance: instance(2), to: target }], "another round begins");
}

#[test]
fn the_proof_of_a_fence_is_what_moves_rest_on() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    assert_eq!(plan(&rig), []);
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    assert_eq!(plan(&rig), [(instance(2), 1)]);
}

#[test]
fn nothing_goes_to_a_host_whose_disk_keeps_no_refusals() {
    let mut rig = fenced((4096, 1024), &[vm(1, 100)]);
    assert_eq!(plan(&rig), [(instance(1), 1)]);
    let full = AgentReport {
        boot: boot(1),
        system_uuid: None,
        memory_mib: 4096,
        instances: Vec::new(),
        cannot_refuse: true,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(1), report: full });
    assert_eq!(plan(&rig), [(instance(1), 3)], "it could not say no");
}
