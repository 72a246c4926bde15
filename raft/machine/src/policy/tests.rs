//! What one controller concludes from its evidence, and what the leader proposes.

mod brakes;
mod evidence;
mod moves;

use crate::state::tests_rig::{Rig, boot, host, instance};
use crate::{
    Change, ControllerId, Destination, HostId, Millis, Move, Outage, Parking, Power, PowerReading, Reason, Segment,
    SegmentId, Settings, Uncertainty, Verdict, View, Vote, changed_votes, decide, judge, suspects,
};

/// A view in which every host of the rig was heard at `ages[n]` before `NOW`.
const NOW: Millis = Millis(1_000_000);

fn view(ages: [u64; 3]) -> View {
    let mut view = View { since: Millis(0), ..View::default() };
    for (number, age) in (1..).zip(ages) {
        view.heard(&host(number), boot(number), NOW - Millis(age), Millis(2500));
    }
    view
}

fn verdicts(rig: &Rig, view: &View) -> Vec<Verdict> {
    judge(&rig.state, view, NOW).into_iter().map(|vote| vote.verdict).collect()
}

const fn alive(number: u8) -> Verdict {
    Verdict::Alive { boot: crate::BootId([number; 16]) }
}

#[test]
fn silence_condemns_after_the_threshold_and_not_before() {
    let rig = Rig::green();
    assert_eq!(verdicts(&rig, &view([0, 2500, 0])), [alive(1), alive(2), alive(3)]);
    assert_eq!(verdicts(&rig, &view([0, 3000, 0])), [alive(1), alive(3)], "patience: no verdict, the vote stays");
    assert_eq!(verdicts(&rig, &view([0, 3001, 0])), [alive(1), Verdict::Unreachable, alive(3)]);
}

#[test]
fn a_controller_that_most_hosts_are_silent_to_is_cut_off_itself() {
    let rig = Rig::green();
    let cut_off = Verdict::CannotTell(Uncertainty::CutOff);
    assert_eq!(verdicts(&rig, &view([9000, 9000, 0])), [cut_off, cut_off, alive(3)]);
}

#[test]
fn a_network_that_fails_between_heartbeats_condemns_nobody() {
    let rig = Rig::green();
    let cut_off = Verdict::CannotTell(Uncertainty::CutOff);
    assert_eq!(verdicts(&rig, &view([3001, 2400, 2010])), [cut_off, alive(2), alive(3)], "late, and not yet silent");
    assert_eq!(verdicts(&rig, &view([3001, 1501, 1500])), [cut_off, alive(2), alive(3)], "two are late, one is heard");
    assert_eq!(verdicts(&rig, &view([3001, 1500, 1500])), [Verdict::Unreachable, alive(2), alive(3)]);
}

#[test]
fn most_hosts_that_fall_silent_at_once_are_an_outage_before_any_of_them_is_condemned() {
    let rig = Rig::green();
    let outage = |ages| crate::outage(&rig.state, &view(ages), NOW);
    let since = |ago| Some(Outage { since: NOW - Millis(ago), seen: NOW });
    assert_eq!(outage([1501, 2000, 0]), since(1501), "two are late, one is heard");
    assert_eq!(outage([1501, 1500, 0]), None);
    assert_eq!(outage([9000, 0, 0]), None);
    assert_eq!(outage([6000, 9000, 0]), since(6000));
    assert_eq!(outage([5999, 9000, 0]), None, "one was dead when the other fell silent");
    let slow = |slack: u64| {
        let mut view = view([5000, 9000, 0]);
        view.next_within(&host(2), Millis(1000 + slack));
        crate::outage(&rig.state, &view, NOW)
    };
    assert_eq!((slow(999), slow(1000)), (None, since(5000)), "its last heartbeat may have been that much older");
    assert_eq!(crate::late_after(Millis(1000)), Millis(1500));
}

#[test]
fn a_late_host_with_a_reason_of_its_own_cuts_nobody_off() {
    let mut rig = Rig::green();
    let mut off = view([3001, 2600, 0]);
    off.hosts.get_mut(&host(2)).unwrap().power = Some(PowerReading { at: NOW, power: Power::Off });
    assert_eq!(verdicts(&rig, &off), [Verdict::Unreachable, Verdict::PoweredOff, alive(3)]);
    rig.ok(Change::HostMaintenance { host: host(2), reason: Some("disk".into()) });
    assert_eq!(verdicts(&rig, &view([3001, 2600, 0])), [Verdict::Unreachable, alive(3)]);
}

#[test]
fn an_agent_that_does_not_know_yet_keeps_the_time_that_it_knows() {
    let mut rig = Rig::green();
    let condemned = |rig: &Rig, age, next_within| {
        let mut view = view([0, age, 0]);
        view.next_within(&host(2), Millis(next_within));
        verdicts(rig, &view).contains(&Verdict::Unreachable)
    };
    assert_eq!([12_000, 12_001].map(|age| condemned(&rig, age, 10_000)), [false, true], "nine seconds more");
    assert_eq!([3000, 3001].map(|age| condemned(&rig, age, 200)), [false, true], "more often is no reason for less");
    assert_eq!([3000, 3001].map(|age| condemned(&rig, age, 0)), [false, true], "an agent that does not say it");
    assert_eq!([62_000, 62_001].map(|age| condemned(&rig, age, u64::MAX)), [false, true], "no agent is believed more");
    let slow = Settings { heartbeat_interval: Millis(10_000), suspect_after: Millis(11_000), ..Settings::default() };
    rig.ok(Change::SettingsSet { settings: slow });
    assert_eq!([30_000, 30_001].map(|age| condemned(&rig, age, 1000)), [false, true]);
}

#[test]
fn who_does_not_know_yet_that_it_is_late_shows_nothing_about_the_network() {
    let rig = Rig::green();
    let seen = |ages, unknowing: &[u8]| {
        let mut view = view(ages);
        unknowing.iter().for_each(|number| view.next_within(&host(*number), Millis(10_000)));
        (verdicts(&rig, &view), crate::outage(&rig.state, &view, NOW).map(|outage| outage.since))
    };
    let cut_off = Verdict::CannotTell(Uncertainty::CutOff);
    assert_eq!(seen([3001, 6000, 6000], &[2, 3]), (vec![cut_off, alive(2), alive(3)], Some(NOW - Millis(3001))));
    assert_eq!(seen([3001, 6000, 1500], &[2]).0, [Verdict::Unreachable, alive(2), alive(3)], "one is heard");
    assert_eq!(seen([9000, 10_000, 0], &[1, 2, 3]), (vec![alive(1), alive(2), alive(3)], None), "nobody is late");
    assert_eq!(seen([10_501, 22_501, 4000], &[1, 2, 3]).1, Some(NOW - Millis(10_501)));
    assert_eq!(seen([10_501, 22_502, 0], &[1, 2, 3]).1, None, "one was dead when the other fell silent");
}

#[test]
fn silence_condemns_nobody_before_three_heartbeats_are_missed() {
    let mut rig = Rig::green();
    let id: SegmentId = "eager".parse().unwrap();
    let eager = Segment { id: id.clone(), check_interval: Millis(100), failure_threshold: 1, ..Segment::default() };
    rig.ok(Change::SegmentCreate { segment: eager });
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.segment = id;
    rig.ok(Change::HostEnrol { host: name, enrolment });
    rig.ok(Change::SettingsSet { settings: Settings { suspect_after: Millis(1100), ..Settings::default() } });
    assert_eq!(verdicts(&rig, &view([0, 3000, 0])), [alive(1), alive(3)]);
    assert_eq!(verdicts(&rig, &view([0, 3001, 0])), [alive(1), Verdict::Unreachable, alive(3)]);
}

#[test]
fn hosts_that_are_not_heard_yet_after_a_controller_was_cut_off_get_their_whole_patience() {
    let rig = Rig::green();
    let after = |ago| {
        let seen = NOW - Millis(ago);
        View { outage: Some(Outage { since: NOW - Millis(19_000), seen }), ..view([20_000, 0, 0]) }
    };
    assert_eq!(verdicts(&rig, &after(5000)), [alive(2), alive(3)], "no verdict, the vote stays");
    assert_eq!(verdicts(&rig, &after(5001)), [Verdict::Unreachable, alive(2), alive(3)]);
    let mut off = after(10);
    off.hosts.get_mut(&host(1)).unwrap().power = Some(PowerReading { at: NOW, power: Power::Off });
    assert_eq!(verdicts(&rig, &off), [Verdict::PoweredOff, alive(2), alive(3)], "what is seen needs no patience");
}

#[test]
fn an_outage_excuses_nobody_who_was_silent_for_long_when_it_began() {
    let rig = Rig::green();
    let after = |since| {
        let outage = Some(Outage { since: NOW - Millis(since), seen: NOW - Millis(10) });
        View { outage, ..view([20_000, 0, 0]) }
    };
    assert_eq!(verdicts(&rig, &after(5000)), [alive(2), alive(3)]);
    assert_eq!(verdicts(&rig, &after(4999)), [Verdict::Unreachable, alive(2), alive(3)]);
    assert_eq!(verdicts(&rig, &after(21_000)), [alive(2), alive(3)], "it was heard since");
}

#[test]
fn off_read_after_the_last_heartbeat_condemns_at_once() {
    let rig = Rig::green();
    let mut view = view([0, 2600, 0]);
    let mut read = |power, age| {
        let reading = PowerReading { at: NOW - Millis(age), power };
        view.hosts.get_mut(&host(2)).unwrap().power = Some(reading);
        verdicts(&rig, &view)
    };
    assert_eq!(read(Power::Off, 100), [alive(1), Verdict::PoweredOff, alive(3)]);
    assert_eq!(read(Power::Off, 2700), [alive(1), alive(3)], "a reading from before the last heartbeat says nothing");
    assert_eq!(read(Power::On, 100), [alive(1), alive(3)], "on is no verdict");
}

#[test]
fn a_host_that_answers_ping_is_not_condemned_for_a_silent_agent() {
    let mut rig = Rig::green();
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.ping = Some("127.0.0.2".into());
    rig.ok(Change::HostEnrol { host: name, enrolment });
    let mut view = view([0, 9000, 0]);
    view.hosts.get_mut(&host(2)).unwrap().ping = Some(NOW - Millis(500));
    let agent_silent = Verdict::CannotTell(Uncertainty::AgentSilent);
    assert_eq!(verdicts(&rig, &view), [alive(1), agent_silent, alive(3)]);
    view.hosts.get_mut(&host(2)).unwrap().ping = Some(NOW - Millis(9000));
    assert_eq!(verdicts(&rig, &view), [alive(1), Verdict::Unreachable, alive(3)]);
}

#[test]
fn a_controller_that_just_started_is_patient_and_condemns_nobody_it_never_saw() {
    let rig = Rig::green();
    let fresh = View { since: NOW - Millis(2000), ..View::default() };
    assert_eq!(verdicts(&rig, &fresh), []);
    let later = View { since: NOW - Millis(9000), ..View::default() };
    assert_eq!(verdicts(&rig, &later), [Verdict::CannotTell(Uncertainty::NeverSeen); 3]);
}

#[test]
fn only_changed_verdicts_are_votes_and_a_restart_takes_no_vote_back() {
    let mut rig = Rig::green();
    rig.vote(1, 2, Verdict::Unreachable);
    let never_seen = Verdict::CannotTell(Uncertainty::NeverSeen);
    let votes = vec![vote(1, alive(1)), vote(2, never_seen), vote(3, never_seen)];
    assert_eq!(changed_votes(&rig.state, ControllerId(1), votes), [vote(3, never_seen)]);
    let regained = vec![vote(2, alive(2))];
    assert_eq!(changed_votes(&rig.state, ControllerId(1), regained.clone()), regained);
}

#[test]
fn late_heartbeats_make_a_suspect() {
    let mut rig = Rig::green();
    assert_eq!(suspects(&rig.state, &view([0, 2501, 2500]), NOW), [host(2)]);
    rig.ok(Change::HostMaintenance { host: host(2), reason: Some("disk".into()) });
    assert_eq!(suspects(&rig.state, &view([0, 2501, 2500]), NOW), Vec::<HostId>::new());
}

#[test]
fn the_leader_decides_admits_and_plans_from_state_alone() {
    let mut rig = Rig::green();
    let lost_at = rig.lose(2);
    let decision = decide(&rig.state, &view([0, 9000, 0]), NOW);
    assert_eq!(decision.changes, [Change::FenceDecide { host: host(2), lost_at }]);

    rig.ok(Change::Disarm { reason: "work".into() });
    let held = decide(&rig.state, &view([0, 9000, 0]), NOW);
    assert_eq!((held.changes.len(), &held.report.hosts[&host(2)]), (0, &vec![Reason::Disarmed]));

    rig.ok(Change::Arm { reason: "done".into() });
    let Change::FenceDecide { .. } = decision.changes[0].clone() else { unreachable!() };
    rig.ok(decision.changes[0].clone());
    let token = rig.state.host(&host(2)).unwrap().fence().unwrap();
    assert_eq!(decide(&rig.state, &view([0, 9000, 0]), NOW).changes, [], "the executor works, the policy waits");
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![crate::state::tests_rig::OFF] });
    let target = Destination::Host { host: host(1), boot: boot(1) };
    let plan = Change::RecoveryPlan { token, moves: vec![Move { instance: instance(2), to: target }] };
    assert_eq!(decide(&rig.state, &view([0, 9000, 0]), NOW).changes, [plan]);
}

#[test]
fn instances_without_room_are_parked_and_the_report_says_so() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    let nobody = View { since: Millis(0), ..View::default() };
    let parked = Move { instance: instance(2), to: Destination::Parked(Parking::NoHost) };
    let decision = decide(&rig.state, &nobody, NOW);
    assert_eq!(decision.changes, [Change::RecoveryPlan { token, moves: vec![parked] }]);
    rig.ok(decision.changes[0].clone());
    let again = decide(&rig.state, &nobody, NOW);
    assert_eq!(again.changes, [], "a parked instance is not parked again");
    let reason = Reason::Parked { instances: 1, why: Parking::NoHost };
    assert!(again.report.hosts[&host(2)].contains(&reason), "{:?}", again.report);
}

#[test]
fn an_instance_refused_too_often_is_parked_for_a_person() {
    let mut rig = Rig::green();
    rig.ok(Change::SettingsSet { settings: Settings { max_restart_attempts: 1, ..Settings::default() } });
    rig.fence(2);
    rig.ok(decide(&rig.state, &view([0, 9000, 0]), NOW).changes[0].clone());
    let token = rig.state.instance(&instance(2)).unwrap().assignment().unwrap().token;
    let outcome = crate::Outcome::Refused(crate::Refusal::Hypervisor);
    rig.ok(Change::RecoveryResult { instance: instance(2), token, outcome });
    let decision = decide(&rig.state, &view([0, 9000, 0]), NOW);
    let Change::RecoveryPlan { moves, .. } = &decision.changes[0] else { panic!("{:?}", decision.changes) };
    assert_eq!(moves[0].to, Destination::Parked(Parking::Refused(crate::Refusal::Hypervisor)));
}

#[test]
fn a_segment_without_evacuation_keeps_its_instances_parked() {
    let mut rig = Rig::green();
    let quiet: SegmentId = "quiet".parse().unwrap();
    let segment =
        Segment { id: quiet.clone(), evacuation_enabled: false, minimum_healthy_percent: 0, ..Segment::default() };
    rig.ok(Change::SegmentCreate { segment });
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.segment = quiet;
    rig.ok(Change::HostEnrol { host: name, enrolment });
    rig.fence(2);
    let decision = decide(&rig.state, &view([0, 9000, 0]), NOW);
    let Change::RecoveryPlan { moves, .. } = &decision.changes[0] else { panic!("{:?}", decision.changes) };
    assert_eq!(moves[0].to, Destination::Parked(Parking::EvacuationDisabled));
    rig.report(3, 3, &[2, 3]);
    let decision = decide(&rig.state, &view([0, 9000, 0]), NOW);
    let Change::RecoveryPlan { moves, .. } = &decision.changes[0] else { panic!("{:?}", decision.changes) };
    let migrated = Destination::Host { host: host(3), boot: boot(3) };
    assert_eq!(moves[0].to, migrated, "a live migration brought it there: that is its home");
}

#[test]
fn the_clusters_clock_goes_on_under_a_leader_and_never_back() {
    let mut view = View::default();
    let applied = crate::ClusterTime(500);
    assert_eq!(view.cluster_time(applied, NOW), applied);
    view.leading = Some((NOW - Millis(100), crate::ClusterTime(450)));
    assert_eq!(view.cluster_time(applied, NOW), crate::ClusterTime(550));
    view.leading = Some((NOW - Millis(10), crate::ClusterTime(450)));
    assert_eq!(view.cluster_time(applied, NOW), applied);
}

fn vote(number: u8, verdict: Verdict) -> Vote {
    Vote { host: host(number), verdict, evidence: crate::Evidence::default() }
}

#[test]
fn the_silence_of_a_fenced_boot_condemns_no_later_one() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(2, 12, &[]);
    rig.vote_all(2, alive(12));
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    let never_seen = Verdict::CannotTell(Uncertainty::NeverSeen);
    assert_eq!(verdicts(&rig, &view([0, 9000, 0])), [alive(1), never_seen, alive(3)]);
    let mut view = view([0, 9000, 0]);
    view.heard(&host(2), boot(12), NOW - Millis(8000), Millis(2500));
    assert_eq!(verdicts(&rig, &view), [alive(1), Verdict::Unreachable, alive(3)]);
    view.heard(&host(2), boot(22), NOW - Millis(7000), Millis(2500));
    assert_eq!(verdicts(&rig, &view), [alive(1), Verdict::Unreachable, alive(3)], "it rebooted and died");
}

#[test]
fn hosts_that_are_silent_for_a_reason_do_not_cut_a_controller_off() {
    let mut rig = Rig::green();
    let silent = Verdict::Unreachable;
    rig.ok(Change::HostMaintenance { host: host(3), reason: Some("disk".into()) });
    assert_eq!(verdicts(&rig, &view([0, 9000, 9000])), [alive(1), silent, silent], "in maintenance");
    rig.ok(Change::HostMaintenance { host: host(3), reason: None });
    rig.decide(3);
    assert_eq!(verdicts(&rig, &view([0, 9000, 9000])), [alive(1), silent, silent], "being fenced");
    rig.ok(Change::HostMaintenance { host: host(1), reason: Some("disk".into()) });
    assert_eq!(verdicts(&rig, &view([0, 9000, 9000])), [alive(1), silent, silent], "who is heard counts all the same");
}

#[test]
fn a_controller_that_hears_a_lost_host_says_so_once_more() {
    let mut rig = Rig::green();
    let hears = vec![vote(2, alive(2))];
    assert_eq!(changed_votes(&rig.state, ControllerId(3), hears.clone()), []);
    rig.lose(2);
    assert_eq!(changed_votes(&rig.state, ControllerId(3), hears.clone()), hears);
    rig.vote(3, 2, alive(2));
    assert_eq!(changed_votes(&rig.state, ControllerId(3), hears), []);
}

#[test]
fn a_host_whose_heartbeats_are_late_is_no_target() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    let target = Destination::Host { host: host(3), boot: boot(3) };
    let plan = Change::RecoveryPlan { token, moves: vec![Move { instance: instance(2), to: target }] };
    assert_eq!(decide(&rig.state, &view([2501, 9000, 2500]), NOW).changes, [plan]);
}

#[test]
fn refused_starts_are_tried_again_after_a_pause_and_parked_ones_after_a_longer_one() {
    let mut rig = Rig::green();
    let settings = Settings { max_restart_attempts: 2, ..Settings::default() };
    rig.ok(Change::SettingsSet { settings });
    rig.fence(2);
    let after = |millis| View { leading: Some((NOW - Millis(millis), crate::ClusterTime(0))), ..view([0, 9000, 0]) };
    let refuse = |rig: &mut Rig, plan: Change| {
        rig.ok(plan);
        let token = rig.state.instance(&instance(2)).unwrap().assignment().unwrap().token;
        let outcome = crate::Outcome::Refused(crate::Refusal::Hypervisor);
        rig.ok(Change::RecoveryResult { instance: instance(2), token, outcome });
    };
    for first_pause in [0, 30_000] {
        let first = decide(&rig.state, &after(first_pause), NOW).changes.remove(0);
        rig.clock = first_pause;
        refuse(&mut rig, first);
        assert_eq!(decide(&rig.state, &after(first_pause + 999), NOW).changes, []);
        let second = decide(&rig.state, &after(first_pause + 1000), NOW).changes.remove(0);
        refuse(&mut rig, second);
        rig.ok(decide(&rig.state, &after(first_pause), NOW).changes.remove(0));
        let why = Parking::Refused(crate::Refusal::Hypervisor);
        let waits = decide(&rig.state, &after(first_pause + 29_999), NOW);
        assert_eq!(waits.changes, []);
        let reason = Reason::Parked { instances: 1, why };
        assert!(waits.report.hosts[&host(2)].contains(&reason), "{:?}", waits.report);
    }
}

#[test]
fn a_host_of_a_segment_without_evacuation_gets_its_instances_back_when_it_returns() {
    let mut rig = Rig::green();
    let quiet: SegmentId = "quiet".parse().unwrap();
    let segment =
        Segment { id: quiet.clone(), evacuation_enabled: false, minimum_healthy_percent: 0, ..Segment::default() };
    rig.ok(Change::SegmentCreate { segment });
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.segment = quiet;
    rig.ok(Change::HostEnrol { host: name, enrolment });
    rig.fence(2);
    rig.ok(decide(&rig.state, &view([0, 9000, 0]), NOW).changes.remove(0));
    rig.report(2, 12, &[]);
    rig.vote_all(2, alive(12));
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    let admitted = crate::Token(crate::LogIndex(rig.index));
    let row = rig.state.instance(&instance(2)).unwrap();
    assert_eq!((row.holder(), row.state), (Some((&host(2), admitted, None)), crate::InstanceState::Stopped));
    rig.report(2, 12, &[2]);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().state, crate::InstanceState::Running);
}

#[test]
fn a_vote_that_condemns_a_host_alone_is_cast_again_in_time() {
    let mut rig = Rig::green();
    let again = |rig: &Rig, verdict| changed_votes(&rig.state, ControllerId(1), vec![vote(2, verdict)]).len();
    for verdict in [Verdict::Unreachable, Verdict::PoweredOff, alive_in(12)] {
        rig.vote(1, 2, verdict);
        let cast = rig.clock;
        rig.clock = cast + 9_999;
        rig.vote(3, 3, alive_in(3));
        assert_eq!(again(&rig, verdict), 0, "{verdict:?}");
        rig.clock = cast + 10_000;
        rig.vote(3, 1, alive_in(1));
        assert_eq!(again(&rig, verdict), 1, "{verdict:?}");
    }
    rig.vote(1, 2, Verdict::Unreachable);
    rig.vote(3, 2, Verdict::Unreachable);
    rig.clock += 60_000;
    rig.vote(3, 1, alive_in(1));
    assert_eq!(again(&rig, Verdict::Unreachable), 0, "a host that is lost needs no more votes");
}

fn alive_in(number: u8) -> Verdict {
    Verdict::Alive { boot: boot(number) }
}
