//! What a controller may conclude from what it heard, and what of it is news.

use super::{NOW, alive, verdicts, view, vote};
use crate::state::tests_rig::{Rig, boot, host};
use crate::{
    Change, ControllerId, Evidence, Heartbeat, HostId, Millis, Power, PowerReading, Sight, Uncertainty, Verdict, View,
    Vote, changed_votes, judge, suspects,
};

const NEVER_SEEN: Verdict = Verdict::CannotTell(Uncertainty::NeverSeen);
const AGENT_SILENT: Verdict = Verdict::CannotTell(Uncertainty::AgentSilent);

/// A rig whose host 2 is also looked at by these channels.
fn probed(ping: bool, health: bool) -> Rig {
    let mut rig = Rig::green();
    let Change::HostEnrol { host, mut enrolment } = rig.enrolment(2, 1) else { unreachable!() };
    enrolment.ping = ping.then(|| "127.0.0.2".into());
    enrolment.health = health.then(|| "tcp://127.0.0.2:80".into());
    rig.ok(Change::HostEnrol { host, enrolment });
    rig
}

#[test]
fn only_a_channel_that_is_part_of_the_evidence_keeps_a_silent_host_from_being_condemned() {
    let (fresh, old) = (Some(NOW - Millis(3000)), Some(NOW - Millis(3001)));
    let table = [
        ((true, false), (fresh, None), AGENT_SILENT),
        ((true, false), (old, None), Verdict::Unreachable),
        ((true, false), (None, fresh), Verdict::Unreachable),
        ((true, false), (None, None), Verdict::Unreachable),
        ((false, true), (None, fresh), AGENT_SILENT),
        ((false, true), (None, old), Verdict::Unreachable),
        ((false, true), (fresh, None), Verdict::Unreachable),
        ((true, true), (old, fresh), AGENT_SILENT),
        ((false, false), (fresh, fresh), Verdict::Unreachable),
    ];
    for ((ping, health), (pinged, healthy), verdict) in table {
        let mut view = view([0, 9000, 0]);
        let sight = view.hosts.get_mut(&host(2)).unwrap();
        (sight.ping, sight.health) = (pinged, healthy);
        let expect = [alive(1), verdict, alive(3)];
        assert_eq!(verdicts(&probed(ping, health), &view), expect, "{ping} {health} {pinged:?} {healthy:?}");
    }
}

#[test]
fn a_vote_tells_how_old_everything_is_that_it_rests_on() {
    let mut view = View::default();
    let sight = Sight {
        heartbeat: Some(Heartbeat {
            at: NOW - Millis(100),
            boot: boot(2),
            steady_since: Millis(0),
            next_within: Millis(0),
        }),
        ping: Some(NOW - Millis(200)),
        health: Some(NOW - Millis(300)),
        power: Some(PowerReading { at: NOW, power: Power::On }),
    };
    view.hosts.insert(host(2), sight);
    view.since = NOW;
    let evidence = Evidence {
        heartbeat_age: Some(Millis(100)),
        ping_age: Some(Millis(200)),
        health_age: Some(Millis(300)),
        power: Some(Power::On),
    };
    assert_eq!(judge(&Rig::green().state, &view, NOW), [Vote { host: host(2), verdict: alive(2), evidence }]);
}

#[test]
fn off_read_before_a_controller_watched_says_nothing_of_a_host_that_it_never_saw() {
    let rig = Rig::green();
    let since = NOW - Millis(1000);
    for (read, expect) in [(since, vec![]), (since + Millis(1), vec![Verdict::PoweredOff])] {
        let mut view = View { since, ..View::default() };
        let power = Some(PowerReading { at: read, power: Power::Off });
        view.hosts.insert(host(2), Sight { power, ..Sight::default() });
        assert_eq!(verdicts(&rig, &view), expect);
    }
}

#[test]
fn off_read_at_the_moment_of_the_last_heartbeat_says_nothing() {
    let mut view = view([0, 2600, 0]);
    view.hosts.get_mut(&host(2)).unwrap().power = Some(PowerReading { at: NOW - Millis(2600), power: Power::Off });
    assert_eq!(verdicts(&Rig::green(), &view), [alive(1), alive(3)]);
}

#[test]
fn a_controller_that_hears_as_many_hosts_as_it_misses_is_not_cut_off() {
    let mut view = view([0, 9000, 0]);
    view.hosts.remove(&host(3));
    assert_eq!(verdicts(&Rig::green(), &view), [alive(1), Verdict::Unreachable, NEVER_SEEN]);
}

#[test]
fn a_host_without_an_enrolment_is_nobodys_to_judge() {
    let mut rig = Rig::green();
    rig.join(4);
    let mut view = view([0, 0, 0]);
    view.heard(&host(4), boot(4), NOW, Millis(2500));
    assert_eq!(verdicts(&rig, &view), [alive(1), alive(2), alive(3)]);
}

#[test]
fn a_host_that_is_heard_in_another_boot_than_the_admitted_one_is_alive_in_that_one() {
    let mut view = view([0, 0, 0]);
    view.heard(&host(2), boot(12), NOW, Millis(2500));
    assert_eq!(verdicts(&Rig::green(), &view), [alive(1), alive(12), alive(3)]);
}

#[test]
fn the_silence_of_the_admitted_boot_condemns_although_an_earlier_one_was_fenced() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(2, 12, &[]);
    rig.vote_all(2, alive(12));
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    rig.lose(2);
    rig.clock += 5000;
    let mut view = view([0, 0, 0]);
    view.heard(&host(2), boot(12), NOW - Millis(9000), Millis(2500));
    assert_eq!(verdicts(&rig, &view), [alive(1), Verdict::Unreachable, alive(3)]);
    rig.ok(Change::HostConfirmDead { host: host(2), reason: "seen".into(), boot: None });
    assert_eq!(verdicts(&rig, &view), [alive(1), Verdict::Unreachable, alive(3)], "its own fence tells nothing new");
}

#[test]
fn only_hosts_that_may_run_something_and_have_a_device_are_suspects() {
    let nobody = Vec::<HostId>::new();
    let late = view([0, 2501, 0]);
    let suspected = |prepare: fn(&mut Rig)| {
        let mut rig = Rig::green();
        prepare(&mut rig);
        suspects(&rig.state, &late, NOW)
    };
    assert_eq!(suspected(|_| {}), [host(2)]);
    let lost = |rig: &mut Rig| {
        rig.lose(2);
    };
    assert_eq!(suspected(lost), [host(2)]);
    let decided = |rig: &mut Rig| {
        rig.decide(2);
    };
    assert_eq!(suspected(decided), nobody, "the executor asks its devices");
    let fenced = |rig: &mut Rig| {
        rig.fence(2);
    };
    assert_eq!(suspected(fenced), nobody);
    let without_a_level = |rig: &mut Rig| {
        rig.ok(rig.enrolment(2, 0));
    };
    assert_eq!(suspected(without_a_level), nobody, "there is nothing to ask");
    let fresh = |age| View { since: NOW - Millis(age), ..View::default() };
    assert_eq!(suspects(&Rig::green().state, &fresh(2500), NOW), nobody, "a controller that just started is patient");
    assert_eq!(suspects(&Rig::green().state, &fresh(2501), NOW), [1, 2, 3].map(host));
}

#[test]
fn what_a_controller_has_said_already_is_no_news() {
    let cut_off = Verdict::CannotTell(Uncertainty::CutOff);
    let table = [
        (alive(2), alive(2), false),
        (alive(2), alive(12), true),
        (alive(2), Verdict::Unreachable, true),
        (alive(2), NEVER_SEEN, true),
        (Verdict::Unreachable, Verdict::Unreachable, false),
        (Verdict::Unreachable, Verdict::PoweredOff, true),
        (Verdict::Unreachable, cut_off, true),
        (Verdict::Unreachable, NEVER_SEEN, false),
        (Verdict::PoweredOff, NEVER_SEEN, false),
        (cut_off, NEVER_SEEN, true),
        (NEVER_SEEN, NEVER_SEEN, false),
        (NEVER_SEEN, alive(2), true),
    ];
    for (said, says, is_news) in table {
        let mut rig = Rig::green();
        rig.vote(3, 2, said);
        let news = changed_votes(&rig.state, ControllerId(3), vec![vote(2, says)]);
        assert_eq!(news.len(), usize::from(is_news), "{said} then {says}");
    }
    let stranger = changed_votes(&Rig::green().state, ControllerId(4), vec![vote(2, NEVER_SEEN), vote(7, alive(7))]);
    assert_eq!(stranger, [vote(2, NEVER_SEEN), vote(7, alive(7))], "who said nothing yet says everything");
}

#[test]
fn a_controller_that_hears_a_host_says_so_again_while_most_others_cannot_tell() {
    let mut rig = Rig::green();
    rig.vote(3, 2, alive(2));
    let again = |rig: &Rig, says| changed_votes(&rig.state, ControllerId(3), vec![vote(2, says)]);
    rig.clock += 10_000;
    rig.ok(Change::Arm { reason: "so that the clock goes on".into() });
    assert_eq!(again(&rig, alive(2)), [], "the others hear it too");
    let mut rig = Rig::green();
    rig.vote(3, 2, alive(2));
    rig.vote(1, 2, NEVER_SEEN);
    rig.clock += 9_999;
    rig.vote(2, 2, Verdict::CannotTell(Uncertainty::CutOff));
    assert_eq!(again(&rig, alive(2)), []);
    assert_eq!(again(&rig, alive(12)), [vote(2, alive(12))], "another boot is news at once");
    rig.clock += 1;
    rig.vote(2, 2, NEVER_SEEN);
    assert_eq!(again(&rig, alive(2)), [vote(2, alive(2))]);
}

#[test]
fn heartbeats_are_steady_while_one_boot_sends_them_without_a_gap() {
    let gap = Millis(2500);
    let mut view = View::default();
    let mut steady_since = |boot_number, at| {
        view.heard(&host(1), boot(boot_number), Millis(at), gap);
        view.hosts[&host(1)].heartbeat
    };
    let beat = |boot_number, at, since| {
        Some(Heartbeat { at: Millis(at), boot: boot(boot_number), steady_since: Millis(since), next_within: Millis(0) })
    };
    assert_eq!(steady_since(1, 10_000), beat(1, 10_000, 10_000));
    assert_eq!(steady_since(1, 12_500), beat(1, 12_500, 10_000));
    assert_eq!(steady_since(1, 15_001), beat(1, 15_001, 15_001), "a gap");
    assert_eq!(steady_since(2, 15_002), beat(2, 15_002, 15_002), "another boot");
    assert_eq!(steady_since(2, 16_000), beat(2, 16_000, 15_002));
}
