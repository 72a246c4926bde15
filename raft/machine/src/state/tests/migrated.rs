//! What a live migration took away, and nobody listed as running since.

use super::recovery::{plan, to};
use super::rig::{Rig, boot, host, instance};
use crate::state::waits_for_lists;
use crate::{
    AgentReport, Change, Event, HostId, HostState, InstanceId, InstanceState, LogIndex, Outcome, Rejected, Token,
    Verdict,
};

pub(super) fn owner(rig: &Rig, number: u8) -> (HostId, InstanceState) {
    let row = rig.state.instance(&instance(number)).unwrap();
    (row.owner.clone(), row.state)
}

/// Returns a list with instance 2 in this state, besides what runs.
pub(super) fn list(boot_number: u8, state: InstanceState, running: &[u8]) -> AgentReport {
    let mut report = Rig::list(boot_number, &[&[2], running].concat());
    report.instances[0].state = state;
    report
}

pub(super) fn report(rig: &mut Rig, number: u8, report: AgentReport) {
    rig.ok(Change::AgentReport { host: host(number), report });
}

impl Rig {
    /// Has a host start an instance that died with another one.
    fn recover(&mut self, fence: Token, number: u8, target: u8) {
        self.ok(plan(fence, number, to(target, target)));
        let (instance, token) = (instance(number), Token(LogIndex(self.index)));
        self.ok(Change::RecoveryResult { instance, token, outcome: Outcome::Observed(InstanceState::Running) });
    }
}

/// Lets every host that is asked for a list say what it said last, until nobody is asked.
pub(super) fn answer(rig: &mut Rig) {
    for _ in 0..10 {
        let asked: Vec<(HostId, LogIndex)> = rig.state.unlisted().into_iter().collect();
        let is_heard = |host: &HostId| rig.state.host(host).is_some_and(|row| rig.state.lost_at(row).is_none());
        let asked = asked.into_iter().filter(|(host, _)| is_heard(host));
        let asked = asked.filter_map(|(host, since)| Some((rig.state.host(&host)?.agent.clone()?, host, since)));
        let told: Vec<(HostId, AgentReport)> = asked
            .map(|(facts, host, since)| {
                let row = |id: &InstanceId| {
                    let mut rows = Rig::list(1, &[id.0[0]]).instances;
                    rows[0].state =
                        if facts.moving.contains(id) { InstanceState::Moving } else { InstanceState::Running };
                    rows.remove(0)
                };
                let instances = facts.running.iter().map(row).collect();
                (host, AgentReport { boot: facts.boot, instances, as_of: Some(since), ..Rig::list(1, &[]) })
            })
            .collect();
        if told.is_empty() {
            return;
        }
        let mut is_news = false;
        for (host, report) in told {
            if rig.state.is_told_anew(&host, &report) || rig.state.tells_of_a_death(&host, &report) {
                is_news = true;
                rig.ok(Change::AgentReport { host, report });
            }
        }
        assert!(is_news, "whoever is asked is heard");
    }
    panic!("somebody is asked again and again");
}

/// Host 3 has listed that instance 2 is coming, and host 2 says what became of it.
pub(super) fn left_as(state: InstanceState) -> Rig {
    let mut rig = Rig::green();
    report(&mut rig, 3, list(3, InstanceState::Moving, &[3]));
    report(&mut rig, 2, list(2, state, &[]));
    rig
}

/// Admits a fenced host again in its second boot. Returns the entry that reported it.
fn readmit(rig: &mut Rig, number: u8) -> LogIndex {
    let second = 10 + number;
    report(rig, number, Rig::list(second, &[]));
    let reported = LogIndex(rig.index);
    rig.vote_all(number, Verdict::Alive { boot: boot(second) });
    rig.clock += 60_000;
    rig.ok(Change::HostAdmit { host: host(number), boot: boot(second) });
    reported
}

#[test]
fn what_a_migration_took_away_died_with_the_host_that_it_was_coming_to() {
    for says_so_before in [true, false] {
        let mut rig = left_as(if says_so_before { InstanceState::Migrated } else { InstanceState::Running });
        assert_eq!(owner(&rig, 2).0, host(2));
        let token = rig.fence(3);
        assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)), "it may have gone back");
        report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
        assert_eq!(owner(&rig, 2).0, host(2), "the others may have it");
        answer(&mut rig);
        assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
        rig.ok(plan(token, 2, to(1, 1)));
    }
}

#[test]
fn what_left_for_another_host_than_the_one_that_died_is_not_recovered() {
    for late in [false, true] {
        let mut rig = left_as(InstanceState::Running);
        let token = rig.fence(3);
        report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
        if late {
            rig.lose(1);
            answer(&mut rig);
            assert_eq!(owner(&rig, 2), (host(2), InstanceState::Migrated), "host 1 may have it");
            rig.vote_all(1, Verdict::Alive { boot: boot(1) });
        }
        rig.report(1, 1, &[1, 2]);
        answer(&mut rig);
        assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
        assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)));
    }
}

#[test]
fn what_left_is_not_taken_for_ended_by_what_its_owner_lists_later() {
    for later in [Rig::list(2, &[]), list(2, InstanceState::Stopped, &[])] {
        let mut rig = left_as(InstanceState::Migrated);
        report(&mut rig, 2, later.clone());
        assert_eq!(owner(&rig, 2), (host(2), InstanceState::Migrated));
        let token = rig.fence(3);
        report(&mut rig, 2, later);
        answer(&mut rig);
        rig.ok(plan(token, 2, to(1, 1)));
    }
    let mut rig = left_as(InstanceState::Migrated);
    report(&mut rig, 2, Rig::list(2, &[2]));
    report(&mut rig, 2, Rig::list(2, &[]));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it was back, and ended");
}

#[test]
fn what_left_is_not_recovered_with_its_owner_but_belongs_to_the_host_that_lists_it() {
    let mut rig = left_as(InstanceState::Migrated);
    let token = rig.fence(2);
    assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)));
    rig.report(3, 3, &[2, 3]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn what_left_an_owner_that_died_is_recovered_when_its_target_is_proven_dead_too() {
    for owner_first in [true, false] {
        let mut rig = left_as(InstanceState::Migrated);
        let (first, second) = if owner_first { (2, 3) } else { (3, 2) };
        rig.fence(first);
        let token = rig.fence(second);
        answer(&mut rig);
        let fence =
            if owner_first { token } else { rig.state.instance(&instance(2)).unwrap().recovery.clone().unwrap().fence };
        rig.ok(plan(fence, 2, to(1, 1)));
        assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
    }
}

#[test]
fn what_ended_on_its_way_stays_so_when_its_owner_and_its_target_die() {
    for (first, second) in [(2, 3), (3, 2)] {
        let mut rig = left_as(InstanceState::Stopped);
        rig.fence(first);
        let token = rig.fence(second);
        assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)));
        assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
        if second == 2 {
            assert_eq!(waits_for_lists(&rig.state).count(), 0, "nothing is left to tell");
        }
    }
}

#[test]
fn what_may_have_gone_with_a_host_is_told_after_that_host_is_back() {
    for (told, is_recovered) in [(InstanceState::Migrated, true), (InstanceState::Stopped, false)] {
        let mut rig = left_as(InstanceState::Running);
        let token = rig.fence(3);
        rig.ok(plan(token, 3, to(1, 1)));
        rig.report(1, 1, &[1, 3]);
        readmit(&mut rig, 3);
        assert_eq!(rig.state.host(&host(3)).unwrap().state, HostState::Up { boot: boot(13) });
        let death = rig.state.instance(&instance(2)).unwrap().may_have_died.clone().unwrap();
        assert!(death.on_its_way);
        report(&mut rig, 2, list(2, told, &[]));
        answer(&mut rig);
        assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery.is_some(), is_recovered);
        assert_eq!(rig.state.instance(&instance(2)).unwrap().may_have_died, None);
        if is_recovered {
            rig.ok(plan(token, 2, to(1, 1)));
        }
    }
}

#[test]
fn what_went_with_a_boot_that_another_one_followed_is_recovered() {
    for boots in [&[13][..], &[13, 14]] {
        let mut rig = left_as(InstanceState::Migrated);
        for number in boots {
            report(&mut rig, 3, Rig::list(*number, &[]));
        }
        let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
        rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
        let token = Token(LogIndex(rig.index));
        rig.ok(Change::FenceNewBoot { token, boot: boot(*boots.last().unwrap()) });
        rig.report(2, 2, &[]);
        answer(&mut rig);
        rig.ok(plan(token, 2, to(1, 1)));
    }
}

#[test]
fn what_a_late_list_gave_to_a_third_host_went_with_the_earlier_boot_that_it_was_coming_to() {
    let mut rig = left_as(InstanceState::Running);
    report(&mut rig, 3, Rig::list(13, &[]));
    rig.report(1, 1, &[1, 2]);
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
    report(&mut rig, 3, Rig::list(14, &[]));
    let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
    rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
    let token = Token(LogIndex(rig.index));
    rig.ok(Change::FenceNewBoot { token, boot: boot(14) });
    report(&mut rig, 1, list(1, InstanceState::Migrated, &[1]));
    answer(&mut rig);
    rig.ok(plan(token, 2, to(2, 2)));
}

#[test]
fn what_was_to_come_back_and_did_not_has_not_ended() {
    let mut rig = left_as(InstanceState::Migrated);
    report(&mut rig, 2, list(2, InstanceState::Moving, &[]));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Migrated), "it is not back yet");
    let token = rig.fence(3);
    rig.report(2, 2, &[]);
    answer(&mut rig);
    rig.ok(plan(token, 2, to(1, 1)));
}

/// Instance 2 left its owner for a host that nobody knows of, and is on its way from there to host 3.
fn on_its_way_from_elsewhere() -> Rig {
    let mut rig = Rig::green();
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    assert_eq!(rig.state.instance(&instance(2)).unwrap().left_at, Some(LogIndex(rig.index)));
    report(&mut rig, 3, list(3, InstanceState::Moving, &[3]));
    rig
}

#[test]
fn what_comes_from_elsewhere_did_not_die_with_the_host_that_it_was_coming_to() {
    for reboots in [false, true] {
        let mut rig = on_its_way_from_elsewhere();
        let token = if reboots {
            report(&mut rig, 3, Rig::list(13, &[]));
            let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
            rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
            let token = Token(LogIndex(rig.index));
            rig.ok(Change::FenceNewBoot { token, boot: boot(13) });
            token
        } else {
            rig.fence(3)
        };
        report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
        assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)), "reboots: {reboots}");
        rig.fence(2);
        assert!(matches!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(_)), "reboots: {reboots}");
        rig.report(1, 1, &[1, 2]);
        assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running), "it was there");
    }
}

#[test]
fn what_comes_back_and_leaves_again_left_then() {
    let mut rig = on_its_way_from_elsewhere();
    report(&mut rig, 2, Rig::list(2, &[2]));
    assert_eq!(rig.state.instance(&instance(2)).unwrap().left_at, None);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    let left_at = LogIndex(rig.index);
    report(&mut rig, 2, Rig::list(2, &[]));
    assert_eq!(rig.state.instance(&instance(2)).unwrap().left_at, Some(left_at), "it left once");
    let token = rig.fence(3);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    answer(&mut rig);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn an_earlier_death_is_remembered_although_it_was_seen_on_its_way_to_another_that_died() {
    let mut rig = Rig::green();
    rig.report(3, 3, &[2, 3]);
    report(&mut rig, 1, list(1, InstanceState::Moving, &[1]));
    let first = rig.fence(3);
    rig.recover(first, 3, 2);
    rig.fence(1);
    let proven = LogIndex(rig.index);
    readmit(&mut rig, 3);
    let death = rig.state.instance(&instance(2)).unwrap().may_have_died.clone().unwrap();
    assert_eq!((death.host, death.on_its_way), (host(3), false));
    let too_early = AgentReport { as_of: Some(LogIndex(proven.0 - 1)), ..Rig::list(2, &[3]) };
    report(&mut rig, 2, too_early);
    assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None, "the other host was not proven dead then");
    rig.report(2, 2, &[3]);
    assert!(rig.state.instance(&instance(2)).unwrap().recovery.is_some());
}

#[test]
fn what_ran_there_died_there_although_it_was_seen_on_its_way_elsewhere_later() {
    for back in [&[][..], &[3], &[3, 1], &[1, 3]] {
        let mut rig = Rig::green();
        rig.report(3, 3, &[2, 3]);
        report(&mut rig, 1, list(1, InstanceState::Moving, &[1]));
        let first = rig.fence(3);
        rig.recover(first, 3, 2);
        let last = rig.fence(1);
        let proven = LogIndex(rig.index);
        rig.recover(last, 1, 2);
        let over_at = back.iter().map(|number| readmit(&mut rig, *number)).last().unwrap_or(proven);
        let too_early = AgentReport { as_of: Some(LogIndex(over_at.0 - 1)), ..Rig::list(2, &[1, 3]) };
        report(&mut rig, 2, too_early);
        assert_eq!(rig.state.instance(&instance(2)).unwrap().recovery, None, "admitted: {back:?}");
        rig.report(2, 2, &[1, 3]);
        let fence = rig.state.instance(&instance(2)).unwrap().recovery.clone().unwrap().fence;
        assert_eq!((fence, first < last), (first, true));
        assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
    }
}

/// Instance 2 was on host 3, which says so still, and its owner says what it has since.
fn gone_back_as(state: InstanceState) -> Rig {
    let mut rig = Rig::green();
    report(&mut rig, 2, list(2, InstanceState::Moving, &[]));
    rig.report(3, 3, &[2, 3]);
    report(&mut rig, 2, list(2, state, &[]));
    rig
}

#[test]
fn what_its_owner_had_again_ended_there_unless_it_left_once_more() {
    for (gone_as, is_recovered) in [(InstanceState::Stopped, false), (InstanceState::Migrated, true)] {
        for owner_dies in [true, false] {
            let mut rig = gone_back_as(InstanceState::Running);
            report(&mut rig, 2, list(2, gone_as, &[]));
            rig.fence(3);
            if owner_dies {
                rig.fence(2);
            } else {
                report(&mut rig, 2, list(2, gone_as, &[]));
            }
            answer(&mut rig);
            let row = rig.state.instance(&instance(2)).unwrap();
            assert_eq!(row.recovery.is_some(), is_recovered, "{gone_as:?}, its owner dies: {owner_dies}");
        }
    }
}

#[test]
fn what_its_owner_had_again_and_ended_is_not_given_to_the_host_that_listed_it_before() {
    let mut rig = gone_back_as(InstanceState::Running);
    let seen = rig.state.instance(&instance(2)).unwrap().seen_as_of.unwrap();
    assert_eq!(rig.state.unlisted(), [(host(3), seen)].into(), "it is asked what is there now");
    assert!(rig.state.is_told_anew(&host(3), &AgentReport { as_of: Some(seen), ..Rig::list(3, &[2, 3]) }));
    let mut is_there = rig.state.clone();
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));

    std::mem::swap(&mut rig.state, &mut is_there);
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.unlisted(), [].into());
    rig.report(2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running), "it went there once more");
}

#[test]
fn what_its_owner_had_again_did_not_die_with_a_boot_that_ran_it_before() {
    for (gone_as, is_recovered) in [(InstanceState::Stopped, false), (InstanceState::Migrated, true)] {
        for boots in [&[13][..], &[13, 14]] {
            let mut rig = gone_back_as(InstanceState::Running);
            report(&mut rig, 2, list(2, gone_as, &[]));
            for number in boots {
                report(&mut rig, 3, Rig::list(*number, &[]));
            }
            let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
            rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
            let token = Token(LogIndex(rig.index));
            rig.ok(Change::FenceNewBoot { token, boot: boot(*boots.last().unwrap()) });
            rig.report(2, 2, &[]);
            answer(&mut rig);
            let row = rig.state.instance(&instance(2)).unwrap();
            assert_eq!(row.recovery.is_some(), is_recovered, "{gone_as:?}, {boots:?}");
        }
    }
}

#[test]
fn what_was_only_coming_back_to_its_owner_died_with_the_host_that_it_came_from() {
    let mut rig = gone_back_as(InstanceState::Moving);
    let token = rig.fence(3);
    rig.report(2, 2, &[]);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn two_hosts_that_move_to_each_other_are_not_asked_in_turn() {
    let mut rig = Rig::green();
    let crossing = |boot_number, comes: u8, stays: u8| {
        let mut report = Rig::list(boot_number, &[comes, stays]);
        report.instances[0].state = InstanceState::Moving;
        report
    };
    for _ in 0..2 {
        report(&mut rig, 2, crossing(2, 3, 2));
        report(&mut rig, 3, crossing(3, 2, 3));
        assert_eq!(rig.state.unlisted(), [].into());
    }
}

#[test]
fn what_its_owner_listed_before_another_host_did_says_nothing() {
    let mut rig = Rig::green();
    report(&mut rig, 2, list(2, InstanceState::Moving, &[]));
    let before = LogIndex(rig.index);
    rig.report(3, 3, &[2, 3]);
    report(&mut rig, 2, AgentReport { as_of: Some(before), ..Rig::list(2, &[2]) });
    let token = rig.fence(3);
    rig.report(2, 2, &[]);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn what_left_is_registered_by_the_host_that_has_it() {
    let mut rig = Rig::green();
    let mut gone = list(2, InstanceState::Migrated, &[2]);
    gone.instances[0].id = instance(7);
    report(&mut rig, 2, gone);
    assert_eq!(rig.state.instance(&instance(7)), None);
    rig.report(3, 3, &[3, 7]);
    assert_eq!(owner(&rig, 7), (host(3), InstanceState::Running));
}

#[test]
fn what_left_and_arrived_moves_as_before() {
    let mut rig = left_as(InstanceState::Migrated);
    rig.report(3, 3, &[2, 3]);
    let moved = Event::InstanceMoved { instance: instance(2), from: host(2), to: host(3) };
    assert_eq!(rig.last_event(), moved);
    report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running), "what its old owner says of it means nothing");
}

#[test]
fn an_owner_that_has_an_instance_again_says_so_although_its_list_is_the_same() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[2]);
    rig.report(3, 3, &[2, 3]);
    let listed = LogIndex(rig.index);
    assert_eq!(rig.state.unlisted(), [(host(2), listed)].into(), "it may have come back meanwhile");
    let same = |as_of| AgentReport { as_of, ..Rig::list(2, &[2]) };
    assert!(!rig.state.is_told_anew(&host(2), &same(Some(LogIndex(listed.0 - 1)))), "it was made before");
    assert!(!rig.state.is_told_anew(&host(2), &same(None)), "it may have been");
    assert!(!rig.state.is_told_anew(&host(1), &same(Some(listed))), "it is another host's");
    assert!(rig.state.is_told_anew(&host(2), &same(Some(listed))));
    report(&mut rig, 2, same(Some(listed)));
    assert_eq!(rig.state.unlisted(), [(host(3), listed)].into(), "it is asked in its turn");
    rig.report(3, 3, &[2, 3]);
    assert_eq!(rig.state.unlisted(), [].into(), "if both have it, nobody is asked for ever");
}

#[test]
fn what_came_back_and_left_once_more_is_not_given_to_the_host_that_listed_it_between() {
    for is_said in [true, false] {
        let mut rig = Rig::green();
        rig.report(2, 2, &[2]);
        rig.report(3, 3, &[2, 3]);
        if is_said {
            rig.report(2, 2, &[2]);
        }
        report(&mut rig, 2, list(2, InstanceState::Migrated, &[]));
        assert_eq!(owner(&rig, 2).0, host(if is_said { 2 } else { 3 }), "{is_said}");
        rig.fence(3);
        let waits = |rig: &Rig| rig.state.instance(&instance(2)).unwrap().recovery.is_some();
        assert_eq!(waits(&rig), !is_said, "host 1 has not listed since it left");
        answer(&mut rig);
        assert!(waits(&rig), "no host has it");
    }
}
