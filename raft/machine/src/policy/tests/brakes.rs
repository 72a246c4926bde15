//! What holds a fence or an admission back, to the last host, percent and millisecond.

use super::{NOW, alive, view};
use crate::state::tests_rig::{Rig, boot, host};
use crate::{
    Change, ClusterTime, Decision, Doubt, Millis, Outcome, Reason, STORM_WINDOW_MAX, Segment, SegmentId, Settings,
    Token, View, decide,
};

fn set(rig: &mut Rig, settings: Settings) {
    rig.ok(Change::SettingsSet { settings });
}

/// What a leader that hears everybody but host 2 decides, and why it holds host 2 back.
fn decided(rig: &Rig) -> (Vec<Change>, Vec<Reason>) {
    let decision = decide(&rig.state, &view([0, 9000, 0]), NOW);
    (decision.changes, decision.report.hosts.get(&host(2)).cloned().unwrap_or_default())
}

#[test]
fn without_a_cluster_there_is_nothing_to_decide() {
    assert_eq!(decide(&Rig::empty().state, &view([0, 0, 0]), NOW), Decision::default());
}

#[test]
fn the_segments_share_of_healthy_hosts_may_be_reached_and_not_crossed() {
    // Host 2 is lost; of these hosts in its segment so many are healthy beside it.
    let table: [(usize, u32, u8, bool); 6] =
        [(2, 2, 66, false), (2, 2, 67, true), (1, 1, 50, false), (1, 1, 51, true), (2, 1, 33, false), (2, 1, 34, true)];
    for (others, healthy, percent, holds) in table {
        let mut rig = Rig::green();
        set(&mut rig, Settings { fences_in_flight_max: 9, ..Settings::default() });
        let strict: SegmentId = "strict".parse().unwrap();
        let segment = Segment { id: strict.clone(), minimum_healthy_percent: percent, ..Segment::default() };
        rig.ok(Change::SegmentCreate { segment });
        for number in [2, 1, 3].into_iter().take(1 + others) {
            let Change::HostEnrol { host, mut enrolment } = rig.enrolment(number, 1) else { unreachable!() };
            enrolment.segment = strict.clone();
            rig.ok(Change::HostEnrol { host, enrolment });
        }
        let hosts = u32::try_from(1 + others).unwrap();
        if healthy + 1 < hosts {
            rig.ok(Change::HostMaintenance { host: host(3), reason: Some("disk".into()) });
        }
        let lost_at = rig.lose(2);
        let expect = if holds {
            (vec![], vec![Reason::MinimumHealthy { healthy, hosts, percent }])
        } else {
            (vec![Change::FenceDecide { host: host(2), lost_at }], vec![])
        };
        let words = format!("{healthy} of {hosts} at {percent} %");
        assert_eq!(decided(&rig), expect, "{words}");
    }
}

#[test]
fn a_host_that_was_never_admitted_is_no_member_that_a_segment_could_lose() {
    let mut rig = Rig::green();
    for number in [4, 5, 6] {
        rig.join(number);
        rig.ok(rig.enrolment(number, 1));
    }
    set(&mut rig, Settings { fences_in_flight_max: 9, ..Settings::default() });
    rig.decide(1);
    let lost_at = rig.lose(2);
    assert_eq!(decided(&rig), (vec![Change::FenceDecide { host: host(2), lost_at }], vec![]), "1 of 3 is 33 %");
}

#[test]
fn a_fence_leaves_the_storm_window_when_the_window_is_over_and_not_before() {
    let window = Settings::default().storm_window.0;
    for (later, holds) in [(window - 1, true), (window, false)] {
        let mut rig = Rig::green();
        set(&mut rig, Settings { storm_fences_max: 1, ..Settings::default() });
        rig.fence(1);
        rig.clock += later;
        let lost_at = rig.lose(2);
        let (_, reasons) = decided(&rig);
        assert_eq!(reasons, if holds { vec![Reason::StormBrake] } else { vec![] }, "{later}");
        let decide = Change::FenceDecide { host: host(2), lost_at };
        assert_eq!(rig.apply(decide).reply.is_err(), holds, "{later}");
    }
}

#[test]
fn what_left_the_longest_storm_window_that_there_may_be_is_forgotten() {
    for (later, is_kept) in [(STORM_WINDOW_MAX.0 - 1, true), (STORM_WINDOW_MAX.0, false)] {
        let mut rig = Rig::green();
        rig.fence(1);
        rig.clock += later;
        rig.fence(2);
        let decided = &rig.state.cluster().unwrap().decided;
        assert_eq!(decided.contains(&ClusterTime(0)), is_kept, "{decided:?}");
        assert!(decided.contains(&ClusterTime(later)));
    }
}

#[test]
fn the_leader_closes_the_storm_brake_once_and_then_waits_for_a_person() {
    let mut rig = Rig::green();
    set(&mut rig, Settings { storm_fences_max: 1, ..Settings::default() });
    rig.fence(1);
    let lost_at = rig.lose(2);
    let close = Change::FenceDecide { host: host(2), lost_at };
    let plan = |changes: Vec<Change>| changes.into_iter().filter(|change| *change == close).count();
    let (changes, reasons) = decided(&rig);
    assert_eq!((plan(changes), reasons), (1, vec![Reason::StormBrake]), "the brake closes in the log");
    rig.apply(close.clone());
    let (changes, reasons) = decided(&rig);
    assert_eq!((plan(changes), reasons), (0, vec![Reason::StormBrake]));
    rig.ok(Change::Disarm { reason: "work".into() });
    let (changes, reasons) = decided(&rig);
    assert_eq!((plan(changes), reasons), (0, vec![Reason::Disarmed]));
}

#[test]
fn as_many_fences_as_allowed_are_in_flight_and_a_proven_one_is_none() {
    let mut rig = Rig::green();
    set(&mut rig, Settings { fences_in_flight_max: 1, ..Settings::default() });
    let token = rig.decide(1);
    let lost_at = rig.lose(2);
    assert_eq!(decided(&rig), (vec![], vec![Reason::FencesInFlight { in_flight: 1, max: 1 }]));
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![crate::state::tests_rig::OFF] });
    let (changes, reasons) = decided(&rig);
    assert_eq!((&changes[0], reasons), (&Change::FenceDecide { host: host(2), lost_at }, vec![]));
}

#[test]
fn a_reboot_needs_no_power_cut_and_is_held_by_disarm_only() {
    let mut rig = Rig::green();
    set(&mut rig, Settings { storm_fences_max: 1, fences_in_flight_max: 1, ..Settings::default() });
    rig.decide(1);
    rig.ok(Change::HostMaintenance { host: host(2), reason: Some("disk".into()) });
    rig.report(2, 12, &[]);
    let lost_at = crate::LogIndex(rig.index);
    let decide = Change::FenceDecide { host: host(2), lost_at };
    assert_eq!(decided(&rig), (vec![decide.clone()], vec![]));
    rig.ok(decide);
    let token = Token(crate::LogIndex(rig.index));
    assert_eq!(decided(&rig), (vec![Change::FenceNewBoot { token, boot: boot(12) }], vec![]));
    let cluster = rig.state.cluster().unwrap();
    assert_eq!(cluster.decided.len(), 1, "the storm window counts power cuts");
}

#[test]
fn a_fence_that_no_level_proves_waits_for_a_person() {
    let mut rig = Rig::green();
    set(&mut rig, Settings { attempts_per_level: 1, ..Settings::default() });
    let token = rig.decide(2);
    assert_eq!(decided(&rig), (vec![], vec![]), "levels are being tried");
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![Outcome::Unknown(Doubt::Timeout)] });
    assert_eq!(decided(&rig), (vec![], vec![Reason::NeedsHuman { token }]));
}

/// Host 2 was fenced and everything else that its admission in boot 12 waits for has come.
fn returned() -> Rig {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(2, 12, &[]);
    rig.vote_all(2, alive(12));
    rig
}

/// The view of a leader for whom the wait for late orders is over.
fn leading(rig: &Rig) -> View {
    View { leading: Some((NOW, ClusterTime(rig.clock + 30_000))), ..View::default() }
}

#[test]
fn a_host_is_not_admitted_by_a_leader_that_has_just_heard_otherwise() {
    let mut rig = returned();
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    let waits = Reason::WaitsForNewBoot;
    let table = [
        (12, 2500, true),
        (12, 2501, false),
        (12, 10_000, false),
        (12, 10_001, true),
        (2, 0, false),
        (2, 10_000, false),
        (2, 10_001, true),
    ];
    for (boot_number, age, admits) in table {
        let mut view = leading(&rig);
        view.heard(&host(2), boot(boot_number), NOW - Millis(age), Millis(2500));
        let decision = decide(&rig.state, &view, NOW);
        let reasons = decision.report.hosts.get(&host(2)).cloned().unwrap_or_default();
        let expect = if admits { (vec![admit.clone()], vec![]) } else { (vec![], vec![waits.clone()]) };
        assert_eq!((decision.changes, reasons), expect, "boot {boot_number}, {age} ms ago");
    }
    let deaf = decide(&rig.state, &leading(&rig), NOW).changes;
    assert_eq!(deaf, [admit], "its own line may be broken");
    rig.vote(1, 2, crate::Verdict::Unreachable);
    rig.vote(2, 2, crate::Verdict::Unreachable);
    let mut view = leading(&rig);
    view.heard(&host(2), boot(12), NOW, Millis(2500));
    let decision = decide(&rig.state, &view, NOW);
    let reasons = vec![Reason::WaitsForHeartbeats { heard: 1, needed: 2 }];
    assert_eq!((decision.changes, decision.report.hosts[&host(2)].clone()), (vec![], reasons));
}

#[test]
fn the_leader_counts_the_wait_for_late_orders_on_the_clusters_clock() {
    let rig = returned();
    let admits = |passed| {
        let leading = Some((NOW - Millis(passed), ClusterTime(rig.clock)));
        let mut view = View { leading, ..View::default() };
        view.heard(&host(2), boot(12), NOW, Millis(2500));
        !decide(&rig.state, &view, NOW).changes.is_empty()
    };
    assert!(!admits(29_999));
    assert!(admits(30_000));
}

#[test]
fn a_fenced_host_whose_agent_is_silent_waits_for_a_new_boot() {
    let mut rig = Rig::green();
    rig.fence(2);
    let (_, reasons) = decided(&rig);
    assert_eq!(reasons[0], Reason::WaitsForNewBoot);
    rig.join(4);
    let decision = decide(&rig.state, &view([0, 0, 0]), NOW);
    assert_eq!(decision.report.hosts.get(&host(4)), None, "a host that never said anything waits for nobody");
}
