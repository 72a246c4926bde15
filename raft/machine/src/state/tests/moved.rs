//! What other hands moved between hosts, while one of them was away.

use super::recovery::{plan, to};
use super::rig::{OFF, Rig, boot, host, instance, operator};
use crate::{Change, Event, InstanceState, Millis, Rejected, Settings, Token, Verdict, Work};

fn owner(rig: &Rig, number: u8) -> (crate::HostId, InstanceState) {
    let row = rig.state.instance(&instance(number)).unwrap();
    (row.owner.clone(), row.state)
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
fn what_died_with_its_new_host_is_recovered_though_its_old_one_lists_late() {
    let (mut rig, token) = listed_late(60_000);
    rig.ok(plan(token, 2, to(1, 1)));
    let (mut rig, token) = listed_late(60_001);
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)), "it ended since");
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
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
    rig.report(2, 12, &[]);
    rig.report(1, 1, &[2]);
    rig.report(2, 12, &[1]);
    assert_eq!(rig.state.work(), Vec::<Work>::new(), "its owner has let it go");
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 60_000;
    let events = rig.apply(Change::HostAdmit { host: host(2), boot: boot(12) }).events;
    let moved = Event::InstanceMoved { instance: instance(1), from: host(1), to: host(2) };
    assert_eq!(events, [Event::HostAdmitted { host: host(2), boot: boot(12) }, moved]);
}

#[test]
fn what_was_started_elsewhere_while_its_owner_was_away_belongs_there_when_the_owner_returns() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "its owner is away");
    rig.report(2, 12, &[]);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.clock += 60_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
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
fn a_dead_controllers_word_does_not_keep_a_person_from_speaking_for_ever() {
    let mut rig = Rig::green();
    rig.by = operator();
    let word = Change::HostConfirmDead { host: host(2), reason: "the feed failed".into() };
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
    let mut coming = Rig::list(3, &[2, 3]);
    coming.instances[0].state = InstanceState::Moving;
    rig.ok(Change::AgentReport { host: host(3), report: coming.clone() });
    let token = rig.fence(2);
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)), "it may go on there");
    rig.ok(plan(token, 2, to(3, 3)));
    rig.ok(Change::AgentReport { host: host(3), report: coming });
    assert!(rig.state.instance(&instance(2)).unwrap().assignment().is_some(), "it does not run yet");
    rig.report(3, 3, &[3]);
    assert!(
        rig.state.instance(&instance(2)).unwrap().assignment().is_some(),
        "it went with its source; the order stands"
    );
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}
