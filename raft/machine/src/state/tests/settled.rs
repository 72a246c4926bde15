//! When it is settled what became of an instance that was on its way to a host that died.

use super::migrated::{answer, left_as, list, owner, report};
use super::rig::{Rig, host, instance};
use crate::state::waits_for_lists;
use crate::{InstanceState, LogIndex, Token};

fn is_recovered(rig: &Rig, number: u8) -> bool {
    rig.state.instance(&instance(number)).unwrap().recovery.is_some()
}

/// Has an agent join whose host nobody enrols.
fn join(rig: &mut Rig, number: u8, running: &[u8]) {
    rig.join(number);
    rig.report(number, number, running);
}

#[test]
fn what_a_host_runs_that_is_not_admitted_is_alive() {
    let mut rig = left_as(InstanceState::Migrated);
    join(&mut rig, 4, &[]);
    rig.fence(3);
    rig.report(2, 2, &[]);
    rig.report(1, 1, &[1]);
    rig.report(4, 4, &[2]);
    answer(&mut rig);
    assert_eq!((owner(&rig, 2).0, is_recovered(&rig, 2)), (host(2), false));
    rig.report(4, 4, &[]);
    assert_eq!((owner(&rig, 2).0, is_recovered(&rig, 2)), (host(3), true), "no host has it any more");
}

#[test]
fn the_last_host_that_was_waited_for_is_proven_off() {
    let mut rig = left_as(InstanceState::Migrated);
    rig.fence(3);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    assert!(!is_recovered(&rig, 2), "host 1 has not listed");
    let fence = rig.fence(1);
    assert!(is_recovered(&rig, 2));
    assert_ne!(
        rig.state.instance(&instance(2)).unwrap().recovery.as_ref().unwrap().fence,
        fence,
        "it died with host 3"
    );
}

#[test]
fn what_its_fenced_host_ran_is_recovered_under_its_own_fence() {
    let mut rig = left_as(InstanceState::Running);
    rig.fence(3);
    let fence = rig.fence(2);
    let row = rig.state.instance(&instance(2)).unwrap();
    assert_eq!((&row.owner, row.recovery.as_ref().unwrap().fence), (&host(2), fence));
}

#[test]
fn what_others_list_ends_nothing_before_the_owner_has_told() {
    let mut rig = left_as(InstanceState::Running);
    rig.fence(3);
    rig.report(1, 1, &[1]);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    answer(&mut rig);
    assert!(is_recovered(&rig, 2));
}

#[test]
fn an_owner_that_is_lost_tells_nothing() {
    let mut rig = left_as(InstanceState::Running);
    rig.fence(3);
    rig.lose(2);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    rig.report(1, 1, &[1]);
    assert!(!is_recovered(&rig, 2), "it may be dead, and another one have its guests");
}

#[test]
fn an_owner_that_is_not_enrolled_is_heard() {
    let says = [InstanceState::Migrated, InstanceState::Stopped, InstanceState::Running];
    for (listed, before) in says.into_iter().flat_map(|listed| [(listed, true), (listed, false)]) {
        let mut rig = Rig::green();
        join(&mut rig, 4, &[5]);
        let row = |state| {
            let mut list = Rig::list(4, &[5]);
            list.instances[0].state = state;
            list
        };
        let mut coming = Rig::list(3, &[3, 5]);
        coming.instances[1].state = InstanceState::Moving;
        report(&mut rig, 3, coming);
        if before {
            report(&mut rig, 4, row(InstanceState::Migrated));
        }
        rig.fence(3);
        rig.report(1, 1, &[1]);
        assert!(!is_recovered(&rig, 5), "it may be elsewhere");
        report(&mut rig, 4, row(listed));
        answer(&mut rig);
        let has_left = listed == InstanceState::Migrated || (before && listed == InstanceState::Stopped);
        assert_eq!(is_recovered(&rig, 5), has_left, "{listed:?} {before}");
    }
}

#[test]
fn what_lives_has_died_with_none_of_two_hosts() {
    let mut rig = left_as(InstanceState::Running);
    join(&mut rig, 4, &[]);
    rig.fence(3);
    report(&mut rig, 1, list(1, InstanceState::Moving, &[1]));
    rig.fence(1);
    let token = |rig: &Rig| rig.state.instance(&instance(2)).unwrap().token;
    let before = token(&rig);
    rig.report(2, 2, &[2]);
    assert_eq!(waits_for_lists(&rig.state).next(), None);
    rig.report(4, 4, &[]);
    assert_eq!((owner(&rig, 2), token(&rig)), ((host(2), InstanceState::Running), before), "nobody gives it to itself");
    assert!(before < Token(LogIndex(rig.index)));
}
