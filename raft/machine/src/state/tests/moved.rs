//! What other hands moved between hosts, while one of them was away.

use super::recovery::{plan, to};
use super::rig::{OFF, Rig, boot, host, instance, operator};
use crate::{
    AgentReport, Change, Event, HostState, InstanceState, LogIndex, Millis, Rejected, Settings, Stray, Token, Verdict,
    Work,
};

fn owner(rig: &Rig, number: u8) -> (crate::HostId, InstanceState) {
    let row = rig.state.instance(&instance(number)).unwrap();
    (row.owner.clone(), row.state)
}

/// Returns what host 3 says while instance 2 is moved there.
fn coming(boot_number: u8) -> AgentReport {
    let mut report = Rig::list(boot_number, &[2, 3]);
    report.instances[0].state = InstanceState::Moving;
    report
}

/// Instance 2 was moved from host 2 to host 3, which listed it and died; its owner's list comes this much later.
fn listed_late(pause: u64) -> (Rig, Token) {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    let token = rig.fence(3);
    rig.clock += pause;
    rig.report(2, 2, &[]);
    (rig, token)
}

#[test]
fn what_died_with_its_new_host_is_recovered_however_late_its_old_one_lists() {
    for pause in [0, 60_001] {
        let (mut rig, token) = listed_late(pause);
        rig.ok(plan(token, 2, to(1, 1)));
    }
}

#[test]
fn what_its_owner_has_still_did_not_die_with_the_other_host() {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    rig.fence(3);
    let proven = LogIndex(rig.index);
    assert_eq!(rig.state.unlisted(), [(host(2), proven)].into(), "its owner is asked");
    let list = |as_of| AgentReport { as_of: Some(LogIndex(as_of)), ..Rig::list(2, &[2]) };
    assert!(!rig.state.tells_of_a_death(&host(2), &list(proven.0 - 1)), "it may have gone since");
    assert!(rig.state.tells_of_a_death(&host(2), &list(proven.0)));
    rig.ok(Change::AgentReport { host: host(2), report: list(proven.0) });
    assert_eq!(rig.state.unlisted(), [].into());
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it ended");
}

#[test]
fn what_was_only_on_its_way_did_not_die_with_the_host_that_it_was_moved_to() {
    let mut rig = Rig::green();
    rig.ok(Change::AgentReport { host: host(3), report: coming(3) });
    rig.fence(3);
    let proven = LogIndex(rig.index);
    assert_eq!(rig.state.unlisted(), [(host(2), proven)].into(), "its owner may say that it went there");
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
    assert_eq!(rig.state.unlisted(), [].into());
}

#[test]
fn what_ended_on_its_way_is_not_given_to_the_host_that_it_never_ran_on() {
    let mut rig = Rig::green();
    rig.ok(Change::AgentReport { host: host(3), report: coming(3) });
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running), "it has arrived");
}

#[test]
fn what_died_with_a_boot_that_another_one_followed_at_once_is_recovered() {
    for owner_lists_before_the_proof in [true, false] {
        let mut rig = Rig::green();
        rig.report(3, 3, &[2, 3]);
        rig.report(3, 13, &[]);
        let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
        rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
        let token = Token(LogIndex(rig.index));
        if owner_lists_before_the_proof {
            rig.report(2, 2, &[]);
        }
        rig.ok(Change::FenceNewBoot { token, boot: boot(13) });
        rig.report(2, 2, &[]);
        rig.ok(plan(token, 2, to(1, 1)));
    }
}

#[test]
fn what_lives_is_forgotten_alone_of_what_an_earlier_boot_ran() {
    let mut rig = Rig::green();
    rig.report(3, 3, &[1, 2, 3]);
    rig.report(3, 13, &[]);
    let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
    rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
    let token = Token(LogIndex(rig.index));
    rig.ok(Change::FenceNewBoot { token, boot: boot(13) });
    rig.report(2, 2, &[2]);
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it lived, and has ended");
    rig.report(1, 1, &[]);
    rig.ok(plan(token, 1, to(2, 2)));
}

#[test]
fn what_died_with_a_boot_is_recovered_whatever_boots_followed_it() {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    rig.report(3, 13, &[]);
    let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
    rig.report(3, 14, &[]);
    rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
    let token = Token(LogIndex(rig.index));
    rig.report(3, 15, &[]);
    rig.ok(Change::FenceNewBoot { token, boot: boot(15) });
    rig.report(3, 16, &[]);
    rig.report(2, 2, &[]);
    rig.ok(plan(token, 2, to(1, 1)));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

/// Instance 2 was moved to host 3, which listed it, and came back without it and died again before instance 2's owner said
/// anything.
fn dead_twice() -> Rig {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    let first = rig.fence(3);
    rig.ok(plan(first, 3, to(1, 1)));
    rig.report(1, 1, &[1, 3]);
    rig.report(3, 13, &[]);
    rig.by = operator();
    rig.clock += 60_000;
    rig.ok(Change::HostConfirmDead { host: host(3), reason: "its board smokes".into(), boot: None });
    rig
}

#[test]
fn what_died_with_a_host_is_recovered_though_a_second_fence_followed() {
    let mut rig = dead_twice();
    let second = Token(LogIndex(rig.index));
    rig.report(2, 2, &[]);
    rig.ok(plan(second, 2, to(1, 1)));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn what_the_first_fence_has_settled_did_not_die_under_the_second() {
    let mut rig = dead_twice();
    rig.report(1, 1, &[1]);
    assert_eq!(owner(&rig, 3), (host(1), InstanceState::Stopped), "its user has ended it");
}

#[test]
fn what_is_heard_again_gets_what_it_runs_and_its_dead_owner_has_let_go() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.lose(3);
    rig.report(3, 3, &[2, 3]);
    rig.fence(2);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
    rig.vote_all(3, Verdict::Alive { boot: boot(3) });
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it may have gone since host 3 was lost");
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn what_was_moved_to_a_host_that_was_being_fenced_died_with_it() {
    let mut rig = Rig::green();
    let gone = rig.fence(2);
    let token = rig.decide(3);
    rig.ok(plan(gone, 2, to(1, 1)));
    rig.report(1, 1, &[1, 2]);
    rig.report(3, 3, &[2, 3]);
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    rig.report(1, 1, &[1]);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn what_ends_on_its_host_soon_after_it_was_recovered_did_not_die_with_the_other() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    rig.report(3, 3, &[2, 3]);
    rig.report(3, 3, &[3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Stopped));
}

#[test]
fn the_only_copy_on_a_returned_host_is_let_be_and_belongs_there_once_it_is_admitted() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    rig.report(1, 1, &[1, 2]);
    let mut moving = Rig::list(12, &[1]);
    moving.instances[0].state = InstanceState::Moving;
    rig.ok(Change::AgentReport { host: host(2), report: moving });
    rig.report(2, 12, &[1]);
    assert_eq!(rig.state.work(), Vec::<Work>::new(), "its owner's list is late");
    rig.report(1, 1, &[2]);
    assert_eq!(rig.state.work(), Vec::<Work>::new(), "its owner has let it go");
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 60_000;
    let events = rig.apply(Change::HostAdmit { host: host(2), boot: boot(12) }).events;
    let moved = Event::InstanceMoved { instance: instance(1), from: host(1), to: host(2) };
    assert_eq!(events, [Event::HostAdmitted { host: host(2), boot: boot(12) }, moved]);
}

#[test]
fn what_a_returned_host_starts_by_itself_is_stopped_also_where_its_owner_has_ended_it() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    rig.report(1, 1, &[1, 2]);
    rig.report(1, 1, &[1]);
    rig.report(2, 12, &[2]);
    let stray = Stray { host: host(2), boot: boot(12) };
    assert_eq!(rig.state.strays(&instance(2)), [stray]);
    assert_eq!(rig.state.strays(&instance(1)), []);
    assert!(matches!(rig.state.work()[..], [Work::Stop(_)]));
}

#[test]
fn what_runs_elsewhere_belongs_there_as_soon_as_its_owner_is_proven_off() {
    let proofs = [crate::ProofClass::PowerOffVerified, crate::ProofClass::Human].into();
    let mut rig = Rig::green();
    rig.ok(Change::SettingsSet { settings: Settings { proofs, ..Settings::default() } });
    rig.report(2, 2, &[]);
    let token = rig.decide(2);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "its owner may have it again");
    let permit = rig.permit(token);
    let mut comes_back = rig.state.clone();
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));

    std::mem::swap(&mut rig.state, &mut comes_back);
    rig.report(3, 3, &[3]);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    rig.report(2, 12, &[2]);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "its owner has it again");
    rig.report(2, 12, &[]);
    let mut is_admitted = rig.state.clone();
    rig.report(3, 3, &[3]);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));

    std::mem::swap(&mut rig.state, &mut is_admitted);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 60_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running), "its owner does not have it");
}

#[test]
fn a_boot_that_came_up_during_the_fence_is_over_when_the_power_is_off() {
    let mut rig = Rig::green();
    let proofs = [crate::ProofClass::PowerOffVerified, crate::ProofClass::Human].into();
    rig.ok(Change::SettingsSet { settings: Settings { proofs, ..Settings::default() } });
    let token = rig.decide(2);
    rig.report(2, 12, &[2]);
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn a_boot_that_reported_after_the_permit_may_have_come_up_after_the_power_was_read() {
    let mut rig = Rig::green();
    let proofs = [crate::ProofClass::PowerOffVerified, crate::ProofClass::Human].into();
    rig.ok(Change::SettingsSet { settings: Settings { proofs, ..Settings::default() } });
    let token = rig.decide(2);
    let permit = rig.permit(token);
    rig.report(2, 12, &[2]);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Fenced { token });
    assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)), "it may run there");
    rig.report(2, 12, &[]);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn a_dead_controllers_word_does_not_keep_a_person_from_speaking_for_ever() {
    let mut rig = Rig::green();
    rig.by = operator();
    let word = Change::HostConfirmDead { host: host(2), reason: "the feed failed".into(), boot: None };
    rig.vote(1, 2, Verdict::CannotTell(crate::Uncertainty::CutOff));
    rig.vote(2, 2, Verdict::Unreachable);
    rig.clock += 30_000;
    assert!(matches!(rig.refused(word.clone()), Rejected::Invalid(_)), "controller 3 may hear it");
    rig.clock += 1;
    let mut lives = rig.state.clone();
    std::mem::swap(&mut rig.state, &mut lives);
    rig.vote(3, 2, Verdict::Alive { boot: boot(2) });
    assert!(matches!(rig.refused(word.clone()), Rejected::Invalid(_)), "it has said so again");
    rig.state = lives;
    rig.ok(word);
    assert_eq!(Millis(rig.clock), Millis(30_001));
}

#[test]
fn a_copy_that_a_migration_brings_keeps_others_away_and_settles_nothing() {
    let mut rig = Rig::green();
    rig.ok(Change::AgentReport { host: host(3), report: coming(3) });
    let token = rig.fence(2);
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)), "it may go on there");
    rig.ok(plan(token, 2, to(3, 3)));
    rig.ok(Change::AgentReport { host: host(3), report: coming(3) });
    assert!(rig.state.instance(&instance(2)).unwrap().assignment().is_some(), "it does not run yet");
    rig.report(3, 3, &[3]);
    assert!(
        rig.state.instance(&instance(2)).unwrap().assignment().is_some(),
        "it went with its source; the order stands"
    );
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}
