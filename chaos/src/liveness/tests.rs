use quorumfence_machine::{ControllerId, Driver, LogIndex, Outcome, Segment, Settings, Verdict};

use super::*;
use crate::invariants::sample::{
    EntryCopy, Story, acquits, admitted, armed, convicts, decided, fenced, granted, host, instance, lost, needs_human,
    off_proof, parked, planned, rebooted, registered, runs, token,
};

/// Hosts a, b and c are up and armed, and instance 1 runs on a.
fn before() -> Story {
    let hosts = vec![admitted("a", 1), admitted("b", 1), admitted("c", 1), armed()];
    Story::new().entry(1, hosts).entry(2, vec![registered(1, "a")]).started(1, "a", None)
}

fn the_end(story: Story) -> Story {
    story.at(20_000).seen(Seen::Healed).at(60_000).seen(Seen::Closed)
}

/// Host a is fenced under token 10.
fn fenced_a() -> Story {
    before()
        .entry(9, vec![lost("a")])
        .entry(10, vec![decided("a", 10)])
        .power_off("a", Cause::Bmc)
        .entry(11, vec![fenced("a", 10, off_proof())])
}

fn enrolled(name: &str, levels: Vec<Vec<Driver>>) -> Event {
    Event::HostEnrolled { host: host(name), levels }
}

#[test]
fn a_lost_host_that_nobody_fences_is_a_breach() {
    let story = before().entry(9, vec![lost("a")]);
    convicts::<Fenced>(&the_end(story.clone()), "a is lost, and its fence was never decided");
    convicts::<Fenced>(&the_end(before().entry(9, vec![rebooted("a", 2)])), "its fence was never decided");
    let unproven = story.clone().entry(10, vec![decided("a", 10)]);
    convicts::<Fenced>(&the_end(unproven.clone()), "a is neither fenced under token #10 nor is a person asked");
    let asked = unproven.entry(11, vec![needs_human("a", 10)]);
    let enrolled_again = asked.clone().entry(12, vec![enrolled("a", vec![vec![Driver::Ipmi]])]);
    convicts::<Fenced>(&the_end(enrolled_again), "nor is a person asked");

    acquits::<Fenced>(&the_end(asked));
    acquits::<Fenced>(&the_end(fenced_a()));
    acquits::<Fenced>(&the_end(fenced_a().entry(12, vec![admitted("a", 2)])));
    acquits::<Fenced>(&the_end(story.entry(10, vec![Event::HostRegained { host: host("a") }])));
}

#[test]
fn a_host_that_loses_its_power_is_noticed() {
    let long_ago = |story: Story| story.at(150_000).seen(Seen::Closed);
    let off = before().at(20_000).seen(Seen::Healed).at(30_000).power_off("a", Cause::Outside);
    convicts::<Fenced>(&long_ago(off.clone()), "a is off for long, and nobody has noticed");
    acquits::<Fenced>(&off.clone().at(149_999).seen(Seen::Closed));
    acquits::<Fenced>(&long_ago(off.clone().at(60_000).power_on("a", 2)));
    let by_a_person = off.clone().entry(9, vec![Event::Disarmed { reason: "drill".into() }]);
    acquits::<Fenced>(&long_ago(by_a_person));
    let running = |story: Story| story.seen(Seen::Running { controller: ControllerId(1), applied: LogIndex(2) });
    let never_seen = running(before().at(20_000).seen(Seen::Healed).at(21_000)).at(30_000);
    acquits::<Fenced>(&long_ago(never_seen.power_off("a", Cause::Outside)));
}

#[test]
fn a_host_that_comes_back_is_admitted() {
    let back = fenced_a().power_on("a", 2).at(20_000).seen(Seen::Healed);
    let end = |story: Story| story.at(140_000).seen(Seen::Closed);
    convicts::<Fenced>(&end(back.clone()), "a is back for long, and was not admitted");
    acquits::<Fenced>(&back.clone().at(139_999).seen(Seen::Closed));
    acquits::<Fenced>(&end(back.clone().entry(12, vec![admitted("a", 2)])));
    acquits::<Fenced>(&end(back.power_off("a", Cause::Outside)));
    acquits::<Fenced>(&end(fenced_a().at(20_000).seen(Seen::Healed)));
}

#[test]
fn a_lost_host_that_a_brake_holds_waits_for_a_person() {
    let reason = || "drill".to_string();
    let brakes = [
        Event::Disarmed { reason: reason() },
        Event::MaintenanceStarted { host: host("a"), reason: reason() },
        enrolled("a", Vec::new()),
    ];
    for brake in brakes {
        acquits::<Fenced>(&the_end(before().entry(9, vec![lost("a"), brake])));
    }
    acquits::<Fenced>(&the_end(before().entry(9, vec![lost("a"), lost("b")])));
    let maintenance_of_another = Event::MaintenanceStarted { host: host("b"), reason: reason() };
    let story = before().entry(3, vec![admitted("d", 1), admitted("e", 1)]);
    let story = story.entry(9, vec![lost("a"), maintenance_of_another]);
    convicts::<Fenced>(&the_end(story), "its fence was never decided");
}

#[test]
fn the_storm_brake_holds_a_fence_only_when_it_had_to_close() {
    let settings = Settings { storm_fences_max: 1, storm_window: Millis(100_000), ..Settings::default() };
    let up = ["a", "b", "c", "d", "e"].map(|name| admitted(name, 1)).into_iter().chain([armed()]).collect();
    let story = Story::opened(settings, Segment::default()).entry(1, up).at(1000).entry(2, vec![lost("b")]);
    let one = story.entry(3, vec![decided("b", 3), fenced("b", 3, off_proof())]);
    let closed = |story: Story, at| story.at(at).entry(4, vec![lost("a"), Event::StormBrakeClosed { host: host("a") }]);
    acquits::<Fenced>(&the_end(closed(one.clone(), 110_900)));
    convicts::<Fenced>(&closed(one.clone(), 111_000), "the storm brake closes at a, and only 0 of 1 fences");
    let opened = one.at(2000).entry(4, vec![armed()]).entry(5, vec![lost("a")]);
    let closed_again = opened.entry(6, vec![Event::StormBrakeClosed { host: host("a") }]);
    convicts::<Fenced>(&closed_again, "the storm brake closes at a");
}

#[test]
fn an_instance_that_runs_nowhere_is_a_breach() {
    let why = "runs nowhere in the end and is not parked";
    convicts::<Recovered>(&the_end(fenced_a()), why);
    let ordered = fenced_a().entry(12, vec![planned(1, "a", "b", 12)]);
    convicts::<Recovered>(&the_end(ordered.clone()), "the log gives it to b");
    let stopped = ordered.clone().started(1, "b", Some(12)).entry(13, vec![runs(1, "b", 12)]).ended(1, "b");
    convicts::<Recovered>(&the_end(stopped), why);
    convicts::<Recovered>(&the_end(fenced_a().entry(12, vec![parked(1, "a", 12), planned(1, "a", "b", 12)])), why);

    acquits::<Recovered>(&the_end(before()));
    acquits::<Recovered>(&the_end(before().entry(3, vec![registered(2, "b")])));
    acquits::<Recovered>(&the_end(ordered.started(1, "b", Some(12))));
    acquits::<Recovered>(&the_end(fenced_a().entry(12, vec![parked(1, "a", 12)])));
}

#[test]
fn what_other_hands_ended_need_not_return() {
    let named = |name: &str| {
        let row = Event::InstanceRegistered { instance: instance(1), name: name.into(), host: host("a") };
        Story::new().entry(1, vec![admitted("a", 1), armed()]).entry(2, vec![row]).started(1, "a", None)
    };
    let end = |story: Story| story.at(9000).seen(Seen::Fault { what: "instance vm1 end".into() });
    acquits::<Recovered>(&the_end(end(named("vm1")).ended(1, "a")));
    let why = "runs nowhere in the end";
    convicts::<Recovered>(&the_end(end(named("vm2")).ended(1, "a")), why);
    convicts::<Recovered>(&the_end(end(named("vm1")).at(9001).ended(1, "a")), why);
    let again = end(named("vm1")).ended(1, "a").started(1, "a", None);
    convicts::<Recovered>(&the_end(again.at(10_000).ended(1, "a")), why);
}

#[test]
fn what_was_moved_to_a_host_that_died_before_the_log_knew_need_not_return() {
    let fence_b = |story: Story| {
        let story = story.at(15_000).power_off("b", Cause::Outside).entry(20, vec![lost("b")]);
        the_end(story.entry(21, vec![decided("b", 21)]).entry(22, vec![fenced("b", 21, off_proof())]))
    };
    let moved = before().at(9000).ended(1, "a").started(1, "b", None);
    acquits::<Recovered>(&fence_b(moved.clone()));
    let known = Event::InstanceMoved { instance: instance(1), from: host("a"), to: host("b") };
    let why = "runs nowhere in the end and is not parked; the log gives it to b";
    convicts::<Recovered>(&fence_b(moved.clone().entry(12, vec![known])), why);
    let stray = || Event::InstanceStray { instance: instance(1), host: host("b"), owner: host("a") };
    let gives_a = "runs nowhere in the end and is not parked; the log gives it to a";
    convicts::<Recovered>(&fence_b(moved.clone().entry(12, vec![stray()])), gives_a);
    let old_is_lost = before().entry(8, vec![lost("a")]).at(9000).ended(1, "a").started(1, "b", None);
    let regained = Event::HostRegained { host: host("a") };
    convicts::<Recovered>(&fence_b(old_is_lost.entry(12, vec![stray()]).entry(13, vec![regained])), gives_a);
    let quarantined = before().power_off("b", Cause::Outside).power_on("b", 2).at(9000);
    let in_quarantine = quarantined.clone().ended(1, "a").started(1, "b", None);
    acquits::<Recovered>(&fence_b(in_quarantine.entry(12, vec![stray()])));
    let asks = |story: Story, how: &str| story.seen(Seen::Fault { what: format!("instance vm-1 {how} b") });
    let arrives = |story: Story| fence_b(story.at(9000).ended(1, "a").started(1, "b", None));
    convicts::<Recovered>(&arrives(asks(before(), "move")), gives_a);
    acquits::<Recovered>(&arrives(asks(before(), "migrate")));
    acquits::<Recovered>(&arrives(asks(asks(before(), "move"), "migrate")));
    acquits::<Recovered>(&arrives(before().seen(Seen::Fault { what: "instance vm-1 move c".into() })));
    acquits::<Recovered>(&arrives(asks(quarantined, "move")));
    let by_c = before().seen(Seen::Fault { what: "instance vm-1 move c".into() }).ended(1, "a").started(1, "c", None);
    let goes_on = |story: Story| fence_b(asks(story, "move").at(9000).ended(1, "c").started(1, "b", None));
    acquits::<Recovered>(&goes_on(by_c.clone()));
    let at_c = Event::InstanceStray { instance: instance(1), host: host("c"), owner: host("a") };
    convicts::<Recovered>(&goes_on(by_c.entry(12, vec![at_c])), gives_a);
    let back = moved.ended(1, "b").started(1, "a", None).at(12_000).ended(1, "a");
    convicts::<Recovered>(&fence_b(back), "runs nowhere in the end and is not parked; the log gives it to a");
}

#[test]
fn an_instance_that_runs_twice_in_the_end_is_a_breach() {
    convicts::<Recovered>(&the_end(before().started(1, "b", None)), "runs on a and b in the end");
    let moved = Event::InstanceMoved { instance: instance(1), from: host("a"), to: host("b") };
    acquits::<Recovered>(&the_end(before().ended(1, "a").started(1, "b", None).entry(3, vec![moved])));
}

#[test]
fn nothing_is_promised_about_instances_of_a_host_that_is_not_proven_dead() {
    let dark = before().power_off("a", Cause::Outside);
    acquits::<Recovered>(&the_end(dark.clone()));
    acquits::<Recovered>(&the_end(dark.clone().power_on("a", 2).entry(9, vec![rebooted("a", 2)])));
    acquits::<Recovered>(&the_end(dark.entry(9, vec![decided("a", 9)]).entry(10, vec![needs_human("a", 9)])));
    let target = fenced_a().entry(12, vec![planned(1, "a", "b", 12)]).power_off("b", Cause::Outside);
    acquits::<Recovered>(&the_end(target));
    let back = before().power_off("a", Cause::Outside).power_on("a", 2);
    convicts::<Recovered>(&the_end(back), "runs nowhere in the end");
}

#[test]
fn noise_in_the_last_seconds_is_a_breach() {
    let healed = before().at(20_000).seen(Seen::Healed);
    let vote = Event::VoteCast { controller: ControllerId(1), host: host("a"), verdict: Verdict::Unreachable };
    let check = |noise: fn(Story) -> Story, why: &str| {
        convicts::<Quiet>(&noise(healed.clone().at(50_001)).at(60_000).seen(Seen::Closed), why);
        acquits::<Quiet>(&noise(healed.clone().at(50_000)).at(60_000).seen(Seen::Closed));
    };
    check(|story| story.sent(1, "a"), "controller-1 sends off to the BMC of a");
    check(|story| story.started(2, "b", None), "runs on b");
    check(|story| story.power_off("a", Cause::Bmc), "a goes off, by its BMC");
    let voted = healed.clone().at(55_000).entry(9, vec![vote]);
    convicts::<Quiet>(&voted.at(60_000).seen(Seen::Closed), "5.000 s before the end it is not quiet: #9 is committed");
}

#[test]
fn silence_and_catching_up_are_no_noise() {
    let late = before().entry(9, vec![lost("a")]).at(20_000).seen(Seen::Healed).at(55_000).entry(10, vec![]);
    let caught_up = late.applied(EntryCopy { by: 2, index: 9, content: 9 }, vec![lost("a")]);
    let outside = caught_up.power_off("b", Cause::Outside).ended(1, "a");
    acquits::<Quiet>(&outside.at(60_000).seen(Seen::Closed));
    let before_healing = before().at(55_000).sent(1, "a").at(56_000).seen(Seen::Healed);
    acquits::<Quiet>(&before_healing.at(60_000).seen(Seen::Closed));
}

#[test]
fn what_is_proposed_again_and_again_is_not_quiet() {
    let healed = before().at(20_000).seen(Seen::Healed);
    let one = healed.clone().at(52_000).entry(20, Vec::new());
    acquits::<Quiet>(&one.clone().at(60_000).seen(Seen::Closed));
    let two = one.at(57_000).entry(21, Vec::new());
    convicts::<Quiet>(
        &two.at(60_000).seen(Seen::Closed),
        "entries that change nothing are committed to the end: #20, #21",
    );
    let before_that = healed.at(42_000).entry(20, Vec::new()).at(47_000).entry(21, Vec::new());
    acquits::<Quiet>(&before_that.at(60_000).seen(Seen::Closed));
}

#[test]
fn a_fence_that_waits_for_a_person_may_try_again() {
    let why = Outcome::Observed(());
    let failed = Event::FenceAttemptFailed { host: host("a"), token: token(10), level: 0, why };
    let retry = |story: Story| {
        let story = story.at(20_000).seen(Seen::Healed).at(55_000).entry(12, vec![granted("a", 10, 1)]);
        story.sent(1, "a").entry(13, vec![failed.clone()]).at(60_000).seen(Seen::Closed)
    };
    let open = before().entry(10, vec![decided("a", 10)]);
    convicts::<Quiet>(&retry(open.clone()), "level 1 did not prove a off");
    acquits::<Quiet>(&retry(open.entry(11, vec![needs_human("a", 10)])));
}

#[test]
fn a_run_that_never_healed_owes_nothing() {
    let story = before().entry(9, vec![lost("a")]).power_off("a", Cause::Bmc).started(1, "b", None).sent(1, "a");
    let story = story.ended(1, "b").seen(Seen::Closed);
    for mut judge in promises(Fenced::default()) {
        assert_eq!(story.observations.iter().try_for_each(|seen| judge.see(seen)), Ok(()));
        assert_eq!(judge.judged(), 0);
    }
}

#[test]
fn a_person_is_no_excuse_for_a_fence_that_would_work() {
    let asked = before().entry(9, vec![lost("a")]).entry(10, vec![decided("a", 10)]);
    let asked = asked.entry(11, vec![needs_human("a", 10)]);
    let end = |story: Story| story.at(20_000).seen(Seen::Healed).at(140_000).seen(Seen::Closed);
    convicts::<Fenced>(&end(asked.clone()), "a waits for a person under token #10, and its devices work");
    let failed = |why| vec![Event::FenceAttemptFailed { host: host("a"), token: token(10), level: 0, why }];
    let ended = asked.clone().entry(12, failed(Outcome::Refused(Refusal::PermitEnded)));
    convicts::<Fenced>(&end(ended), "and its devices work");
    for refusal in [Refusal::Credentials, Refusal::Privilege] {
        let refused = |story: Story| end(story.entry(12, failed(Outcome::Refused(refusal))));
        convicts::<Fenced>(
            &refused(asked.clone()),
            "a device of a is said to refuse its account, and none was told to",
        );
        for what in ["bmc a refuses-login", "operator enrol a bmc"] {
            acquits::<Fenced>(&refused(asked.clone().seen(Seen::Fault { what: what.into() })));
        }
        let of_another = asked.clone().seen(Seen::Fault { what: "bmc b refuses-login".into() });
        convicts::<Fenced>(&refused(of_another), "is said to refuse its account");
    }
    acquits::<Fenced>(&end(asked.clone().entry(12, failed(Outcome::Refused(Refusal::WrongMachine)))));
    acquits::<Fenced>(&the_end(asked));
}

fn parked_for(why: Parking) -> Event {
    let to = Destination::Parked(why);
    Event::RecoveryPlanned { instance: instance(1), from: host("a"), to, token: token(12) }
}

#[test]
fn want_of_a_host_is_no_excuse_while_there_is_one() {
    let whys = [
        (Parking::NoHost, "is parked for want of a host, and b has been on for long"),
        (Parking::Refused(Refusal::Hypervisor), "is parked after refusals, and b has been on for long"),
    ];
    for (why, words) in whys {
        let dark = fenced_a().power_off("b", Cause::Outside).power_off("c", Cause::Outside);
        let story = dark.entry(12, vec![parked_for(why)]);
        let end = |story: Story| story.seen(Seen::Healed).at(200_000).seen(Seen::Closed);
        acquits::<Recovered>(&end(story.clone()));
        let back = story.entry(13, vec![decided("b", 13), fenced("b", 13, off_proof())]);
        acquits::<Recovered>(&end(back.clone().at(90_000).power_on("b", 2)));
        convicts::<Recovered>(&end(back.at(80_000).power_on("b", 2)), words);
    }
}

#[test]
fn evacuation_is_an_excuse_only_where_it_is_off() {
    let parked = |story: Story| the_end(story.entry(12, vec![parked_for(Parking::EvacuationDisabled)]));
    convicts::<Recovered>(&parked(fenced_a()), "is parked because evacuation is off, and it is not");
    let mut off = fenced_a();
    let segment = Segment { evacuation_enabled: false, ..Segment::default() };
    let opened = Seen::Opened { run: "a story".into(), settings: Settings::default(), segment };
    off.observations[0].seen = opened;
    acquits::<Recovered>(&parked(off));
}
