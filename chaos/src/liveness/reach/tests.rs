use quorumfence_machine::{Doubt, Driver, LogIndex, Outcome, Refusal};

use super::*;
use crate::invariants::Promise;
use crate::invariants::sample::{
    Story, acquits, admitted, armed, convicts, decided, fenced, host, lost, off_proof, token,
};
use crate::liveness::Fenced;
use crate::observation::{Cause, Stop};

const WHY: &str = "could reach a quorum and its BMC for more than";

/// Every quick attempt of three voters, at the default settings.
const QUICK: u64 = 10_000 + 3 * 12_000 + 4000;

fn fault(story: Story, what: &str) -> Story {
    story.seen(Seen::Fault { what: what.into() })
}

fn running(story: Story, id: u64) -> Story {
    story.seen(Seen::Running { controller: ControllerId(id), applied: LogIndex(2) })
}

/// Three voters run, and host a is up.
fn before() -> Story {
    let voters = Event::VotersChanged { voters: (1..=3).map(ControllerId).collect() };
    let enrolled = Event::HostEnrolled { host: host("a"), levels: vec![vec![Driver::Laboratory]] };
    let story = (1..=3).fold(Story::new(), running);
    story.entry(1, vec![voters]).entry(2, vec![enrolled, admitted("a", 1), admitted("b", 1), armed()])
}

/// At 10 s the fence of host a is decided, after these faults.
fn decided_after(faults: &[&str]) -> Story {
    let story = faults.iter().fold(before(), |story, what| fault(story, what));
    story.at(10_000).entry(3, vec![lost("a")]).entry(4, vec![decided("a", 4)])
}

/// Something is seen at this time.
fn seen_at(story: Story, millis: u64) -> Story {
    story.at(millis).power_off("b", Cause::Outside)
}

fn is_late(story: &Story, bound: u64) {
    convicts::<Fenced>(&seen_at(story.clone(), bound + 1), WHY);
    is_excused(story, bound);
}

/// Nothing is owed until this time. A proof in the end gives the judge something to judge.
fn is_excused(story: &Story, until: u64) {
    let proven = seen_at(story.clone(), until).entry(90, vec![fenced("a", 4, off_proof())]);
    let again = proven.entry(91, vec![admitted("a", 2)]).seen(Seen::Healed).seen(Seen::Closed);
    acquits::<Fenced>(&again);
}

const EVER: u64 = 10_000_000;

#[test]
fn a_line_that_the_leader_lacks_is_no_excuse_while_another_voter_has_it() {
    for cut in [
        vec![],
        vec!["cut controller 1 -> bmc a"],
        vec!["cut bmc a -> controller 1", "cut controller 3 -> bmc a"],
        vec!["isolate host a"],
        vec!["isolate controller 1"],
    ] {
        is_late(&decided_after(&cut), 10_000 + QUICK);
    }
    convicts::<Fenced>(
        &seen_at(decided_after(&["cut controller 1 -> bmc a"]), EVER),
        "a is not fenced under token #4, although controller-2 and controller-3 could reach",
    );
}

#[test]
fn who_reaches_no_quorum_or_no_bmc_owes_nothing() {
    for cut in [
        vec!["isolate bmc a"],
        vec!["cut controller 1 -> bmc a", "cut bmc a -> controller 2", "cut controller 3 -> bmc a"],
        vec!["isolate controller 1", "isolate controller 2"],
        vec!["isolate controller 1", "cut controller 2 -> bmc a", "cut controller 3 -> bmc a"],
        vec!["cut controller 1 -> controller 2"],
    ] {
        is_excused(&decided_after(&cut), EVER);
    }
}

#[test]
fn what_else_may_keep_somebody_from_acting_is_an_excuse() {
    for what in [
        "bmc a silent",
        "weather loss 5% duplicate 0% delay 0s",
        "disk 2 slow 1s",
        "controller 1 stall fence-before-permit 2s",
        "controller 1 wipe",
        "member add",
        "something that nobody can read",
    ] {
        is_excused(&decided_after(&[what]), EVER);
    }
    let stopped = |story: Story, id| story.seen(Seen::Stopped { controller: ControllerId(id), why: Stop::Killed });
    is_excused(&stopped(stopped(decided_after(&[]), 1), 2), EVER);
}

#[test]
fn devices_that_answer_are_not_behind_a_broken_line() {
    let failed = |why| vec![Event::FenceAttemptFailed { host: host("a"), token: token(4), level: 0, why }];
    for why in [Outcome::Observed(()), Outcome::Refused(Refusal::WrongMachine)] {
        is_excused(&decided_after(&[]).entry(5, failed(why)), EVER);
    }
    let asked_again = |why| fault(decided_after(&[]).entry(5, failed(why)).at(30_000), "bmc a works");
    is_late(&asked_again(Outcome::Observed(())), 30_000 + LATER);
    is_excused(&asked_again(Outcome::Refused(Refusal::WrongMachine)), EVER);
    for why in [Outcome::Unknown(Doubt::Timeout), Outcome::Refused(Refusal::PermitEnded)] {
        is_late(&decided_after(&[]).entry(5, failed(why)), 10_000 + QUICK);
    }
}

/// From then on: what is under way, every quick attempt, and a slow round of each voter.
const LATER: u64 = QUICK + 20_000 + 3 * (30_000 + 12_000);

#[test]
fn the_time_begins_anew_when_something_changes() {
    for (begins, ends) in [
        ("isolate bmc a", "rejoin bmc a"),
        ("bmc a silent", "bmc a works"),
        ("isolate controller 3", "rejoin controller 3"),
        ("weather loss 5% duplicate 0% delay 0s", "weather loss 0% duplicate 0% delay 0s"),
        ("disk 2 slow 1s", "controller 2 start"),
        ("controller 1 stall fence-before-permit 2s", "heal"),
        ("cut controller 1 -> controller 2", "heal"),
    ] {
        let story = decided_after(&[begins]).at(30_000);
        is_late(&fault(story, ends), 30_000 + LATER);
    }
    let paused = fault(decided_after(&[]).at(20_000), "controller 2 pause 10s");
    is_late(&paused, 30_000 + LATER);
    let killed = decided_after(&[]).at(30_000).seen(Seen::Stopped { controller: ControllerId(2), why: Stop::Killed });
    is_late(&killed, 30_000 + LATER);
    is_late(&running(killed.at(40_000), 2), 40_000 + LATER);
}

#[test]
fn five_voters_that_try_three_times_need_two_slow_rounds() {
    let voters = Event::VotersChanged { voters: (1..=5).map(ControllerId).collect() };
    let story = (4..=5).fold(before(), running).entry(3, vec![voters]);
    let story = story.at(10_000).entry(4, vec![lost("a"), decided("a", 4)]);
    is_late(&story, 10_000 + QUICK + 2 * (30_000 + 12_000));
}

#[test]
fn a_new_enrolment_begins_anew_and_the_slowest_settings_count() {
    let levels = vec![vec![Driver::Laboratory], vec![Driver::Laboratory]];
    let enrolled = Event::HostEnrolled { host: host("a"), levels };
    let story = decided_after(&[]).at(30_000).entry(5, vec![enrolled]);
    is_late(&story, 30_000 + 10_000 + 2 * (3 * 12_000 + 4000));
    let taken_away = Event::HostEnrolled { host: host("a"), levels: Vec::new() };
    is_excused(&decided_after(&[]).entry(5, vec![taken_away]), EVER);

    let to = |settings| Event::SettingsChanged { settings: Some(Box::new(settings)) };
    let slow = to(Settings { retry_pause: Millis(2000), ..Settings::default() });
    is_late(&decided_after(&[]).entry(5, vec![to(Settings::fast())]), 10_000 + QUICK);
    is_late(&decided_after(&[]).entry(5, vec![slow, to(Settings::fast())]), 10_000 + QUICK + 4000);
    let no_proof = to(Settings { proofs: BTreeSet::from([ProofClass::Human]), ..Settings::default() });
    is_excused(&decided_after(&[]).entry(5, vec![no_proof, to(Settings::default())]), EVER);
    is_excused(&decided_after(&[]).entry(5, vec![Event::SettingsChanged { settings: None }]), EVER);
}

#[test]
fn a_real_machine_may_be_too_busy() {
    let mut judge = Fenced::on_a_real_machine();
    let story = seen_at(decided_after(&[]), EVER);
    assert_eq!(story.observations.iter().try_for_each(|observation| judge.see(observation)), Ok(()));
}
