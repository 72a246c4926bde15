//! Lists that are older than what the log says, and what nobody can tell.

use super::recovery::{plan, to};
use super::rig::{OFF, Rig, boot, host, instance};
use crate::state::waits_for_lists;
use crate::{AgentReport, Change, HostId, HostState, InstanceState, LogIndex, Rejected, Token, Verdict};

fn as_of(at: LogIndex, boot_number: u8, running: &[u8]) -> AgentReport {
    AgentReport { as_of: Some(at), ..Rig::list(boot_number, running) }
}

fn owner(rig: &Rig, number: u8) -> (HostId, InstanceState) {
    let row = rig.state.instance(&instance(number)).unwrap();
    (row.owner.clone(), row.state)
}

fn report(rig: &mut Rig, number: u8, report: AgentReport) {
    rig.ok(Change::AgentReport { host: host(number), report });
}

/// Lets a host list what is there, as of the last entry.
fn list_now(rig: &mut Rig, number: u8, boot_number: u8, running: &[u8]) {
    let list = as_of(LogIndex(rig.index), boot_number, running);
    report(rig, number, list);
}

/// Instance 2 went from host 2 by host 3, whose list shows it still, to host 1. Returns the entry that gave it to host 1, and
/// one from before.
fn moved_on() -> (Rig, LogIndex, LogIndex) {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    list_now(&mut rig, 1, 1, &[1, 2]);
    report(&mut rig, 2, as_of(before, 2, &[]));
    let given = LogIndex(rig.index);
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
    (rig, given, before)
}

#[test]
fn what_ends_on_its_host_is_not_given_to_one_that_listed_it_before() {
    let (mut rig, given, before) = moved_on();
    assert_eq!(rig.state.unlisted(), [(host(3), given)].into(), "it is asked what is there now");
    let list = |at| as_of(at, 3, &[2, 3]);
    assert!(!rig.state.is_told_anew(&host(3), &list(before)));
    assert!(rig.state.is_told_anew(&host(3), &list(given)));
    report(&mut rig, 1, as_of(given, 1, &[1]));
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Stopped));
    report(&mut rig, 3, list(before));
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Stopped));
    report(&mut rig, 3, list(given));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running), "it has come back there");
    assert_eq!(rig.state.unlisted(), [].into());
}

#[test]
fn what_has_listed_it_since_gets_what_its_owner_lets_go() {
    let (mut rig, given, _) = moved_on();
    report(&mut rig, 3, as_of(given, 3, &[2, 3]));
    assert!(!rig.state.is_told_anew(&host(3), &as_of(LogIndex(rig.index), 3, &[2, 3])), "it is known");
    report(&mut rig, 1, as_of(given, 1, &[1]));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn what_is_heard_again_is_not_given_what_it_listed_before() {
    let (mut rig, given, _) = moved_on();
    rig.lose(3);
    report(&mut rig, 1, as_of(given, 1, &[1]));
    rig.vote_all(3, Verdict::Alive { boot: boot(3) });
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Stopped));
}

#[test]
fn what_the_log_had_given_away_since_a_host_listed_it_did_not_die_there() {
    for reboots in [false, true] {
        let (mut rig, given, _) = moved_on();
        if reboots {
            list_now(&mut rig, 3, 13, &[]);
            let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
            rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
            let token = Token(LogIndex(rig.index));
            rig.ok(Change::FenceNewBoot { token, boot: boot(13) });
        } else {
            report(&mut rig, 1, as_of(given, 1, &[1]));
            rig.fence(3);
        }
        assert_eq!(rig.state.unlisted().get(&host(1)), None, "it is not asked whether it died there");
        list_now(&mut rig, 1, 1, &[1]);
        assert_eq!(owner(&rig, 2), (host(1), InstanceState::Stopped), "reboots: {reboots}");
    }
}

#[test]
fn what_the_log_gave_away_after_a_boot_was_over_did_not_die_with_it_whatever_the_next_one_lists() {
    for running in [&[][..], &[2]] {
        let mut rig = Rig::green();
        list_now(&mut rig, 3, 3, &[2, 3]);
        list_now(&mut rig, 3, 13, &[]);
        list_now(&mut rig, 1, 1, &[1, 2]);
        list_now(&mut rig, 2, 2, &[]);
        assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
        let list = as_of(LogIndex(rig.index), 13, running);
        report(&mut rig, 3, AgentReport { memory_mib: 2048, ..list });
        let HostState::Lost { at, .. } = rig.state.host(&host(3)).unwrap().state else { panic!("it is lost") };
        rig.ok(Change::FenceDecide { host: host(3), lost_at: at });
        let token = Token(LogIndex(rig.index));
        rig.ok(Change::FenceNewBoot { token, boot: boot(13) });
        assert_eq!(waits_for_lists(&rig.state).count(), 0, "{running:?}");
    }
}

#[test]
fn what_a_list_showed_that_was_on_its_way_meanwhile_may_have_died_there() {
    let (mut rig, given, before) = moved_on();
    let mut late = as_of(before, 3, &[2, 3]);
    late.memory_mib += 1;
    report(&mut rig, 3, late);
    let token = rig.fence(3);
    let proven = LogIndex(rig.index);
    report(&mut rig, 1, as_of(given, 1, &[1]));
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Stopped), "the list is from before the proof");
    assert_eq!(rig.state.unlisted().get(&host(1)), Some(&proven), "it is asked for another");
    assert!(!rig.state.tells_of_a_death(&host(1), &as_of(given, 1, &[1])));
    assert!(rig.state.tells_of_a_death(&host(1), &as_of(proven, 1, &[1])));
    report(&mut rig, 1, as_of(proven, 1, &[1]));
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn a_host_that_is_heard_again_lists_anew_before_anything_is_settled_with_it() {
    let mut rig = Rig::green();
    rig.lose(2);
    let before = LogIndex(rig.index);
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    let heard = rig.state.host(&host(2)).unwrap().agent.as_ref().unwrap().heard_again_at;
    assert!(heard > before);
    assert_eq!(rig.state.unlisted(), [(host(2), heard)].into());
    assert!(!rig.state.is_told_anew(&host(2), &as_of(before, 2, &[])));
    assert!(rig.state.is_told_anew(&host(2), &as_of(heard, 2, &[])));
    let old = AgentReport { memory_mib: 2048, ..as_of(before, 2, &[]) };
    report(&mut rig, 2, old);
    assert_eq!(owner(&rig, 2).0, host(2), "its list is from before it was heard again");
    report(&mut rig, 2, as_of(heard, 2, &[]));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
    assert_eq!(rig.state.unlisted(), [].into());
}

#[test]
fn of_several_hosts_that_listed_it_the_last_one_has_it() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 1, as_of(before, 1, &[1, 2]));
    let first = LogIndex(rig.index);
    report(&mut rig, 3, as_of(first, 3, &[2, 3]));
    report(&mut rig, 2, as_of(before, 2, &[]));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn where_nobody_knows_who_listed_it_last_each_is_asked() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 1, as_of(before, 1, &[1, 2]));
    let first = LogIndex(rig.index);
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    let second = LogIndex(rig.index);
    report(&mut rig, 2, as_of(before, 2, &[]));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped));
    assert_eq!(rig.state.unlisted(), [(host(1), second), (host(3), first)].into());
    rig.lose(1);
    assert_eq!(rig.state.unlisted(), [(host(3), first)].into(), "who is lost is not asked");
    assert!(rig.state.is_told_anew(&host(3), &as_of(first, 3, &[2, 3])));
    report(&mut rig, 3, as_of(first, 3, &[2, 3]));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
    assert_eq!(rig.state.unlisted().get(&host(3)), None);
}

#[test]
fn what_was_on_its_way_elsewhere_since_a_host_listed_it_is_asked_for_again() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 2, as_of(before, 2, &[]));
    report(&mut rig, 1, as_of(LogIndex(1), 1, &[1, 2]));
    assert_eq!(owner(&rig, 2).0, host(2), "the list is from before it was given to its owner");
    let mut coming = as_of(LogIndex(rig.index), 3, &[2, 3]);
    coming.instances[0].state = InstanceState::Moving;
    report(&mut rig, 3, coming);
    let listed = LogIndex(rig.index);
    assert_eq!(rig.state.unlisted().get(&host(3)), None, "nobody has listed it since");
    report(&mut rig, 1, as_of(before, 1, &[1, 2]));
    assert_eq!(owner(&rig, 2).0, host(2), "it may have gone from there to host 3");
    assert_eq!(rig.state.unlisted().get(&host(1)), Some(&listed));
    report(&mut rig, 1, as_of(listed, 1, &[1, 2]));
    assert_eq!(owner(&rig, 2).0, host(1));
}

#[test]
fn a_host_that_died_since_it_listed_it_may_have_had_it_last() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 1, as_of(before, 1, &[1, 2]));
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    let token = rig.fence(3);
    let proven = LogIndex(rig.index);
    report(&mut rig, 2, as_of(proven, 2, &[]));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "host 1 listed it earlier");
    assert_eq!(rig.state.unlisted().get(&host(1)), Some(&proven));
    assert!(waits_for_lists(&rig.state).eq([(&host(3), &host(1))]), "host 2 has told");
    report(&mut rig, 1, as_of(proven, 1, &[1]));
    assert!(waits_for_lists(&rig.state).eq([(&host(3), &host(2))]));
    report(&mut rig, 2, as_of(proven, 2, &[]));
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn what_a_migration_brings_or_a_third_host_has_seen_crash_settles_no_death() {
    for state in [InstanceState::Moving, InstanceState::Crashed, InstanceState::Running] {
        let mut rig = Rig::green();
        list_now(&mut rig, 3, 3, &[2, 3]);
        let token = rig.fence(3);
        let mut list = as_of(LogIndex(rig.index), 1, &[1, 2]);
        list.instances[1].state = state;
        let lives = state == InstanceState::Running;
        assert_eq!(rig.state.tells_of_a_death(&host(1), &list), lives, "{state:?}");
        report(&mut rig, 1, list);
        list_now(&mut rig, 1, 1, &[1]);
        list_now(&mut rig, 2, 2, &[]);
        let recovered = rig.apply(plan(token, 2, to(1, 1))).reply.is_ok();
        assert_eq!(recovered, !lives, "{state:?}");
    }
}

#[test]
fn what_its_owner_has_seen_crash_did_not_die_elsewhere_and_a_lost_host_settles_nothing() {
    let mut rig = Rig::green();
    list_now(&mut rig, 3, 3, &[2, 3]);
    let token = rig.fence(3);
    rig.lose(1);
    assert!(!rig.state.tells_of_a_death(&host(1), &as_of(LogIndex(rig.index), 1, &[1, 2])));
    let mut list = as_of(LogIndex(rig.index), 2, &[2]);
    list.instances[0].state = InstanceState::Crashed;
    assert!(rig.state.tells_of_a_death(&host(2), &list));
    report(&mut rig, 2, list);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Crashed));
    assert_eq!(rig.refused(plan(token, 2, to(2, 2))), Rejected::NoAssignment(instance(2)));
}

#[test]
fn what_lives_with_an_owner_that_is_not_enrolled_did_not_die_elsewhere() {
    let mut rig = Rig::green();
    rig.join(4);
    list_now(&mut rig, 4, 4, &[4]);
    list_now(&mut rig, 3, 3, &[3, 4]);
    let token = rig.fence(3);
    assert_eq!(owner(&rig, 4), (host(4), InstanceState::Running));
    assert_eq!(rig.state.unlisted(), [(host(4), LogIndex(rig.index))].into());
    list_now(&mut rig, 4, 4, &[4]);
    assert_eq!(owner(&rig, 4), (host(4), InstanceState::Running));
    assert_eq!(rig.state.unlisted(), [].into());
    assert!(matches!(rig.refused(plan(token, 4, to(1, 1))), Rejected::NoAssignment(_)));
}

#[test]
fn what_runs_on_a_third_host_after_the_proof_did_not_die() {
    let (mut rig, _) = died_while_its_owner_was_away();
    list_now(&mut rig, 1, 1, &[1, 2, 3]);
    list_now(&mut rig, 1, 1, &[1, 3]);
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it has ended there");
}

#[test]
fn what_a_migration_leaves_behind_is_not_the_instance() {
    let (mut rig, token) = died_while_its_owner_was_away();
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    let mut list = as_of(LogIndex(rig.index), 2, &[2]);
    list.instances[0].state = InstanceState::Stopped;
    report(&mut rig, 2, list);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn of_two_deaths_the_last_one_counts() {
    let (mut rig, _) = died_while_its_owner_was_away();
    report(&mut rig, 1, as_of(LogIndex(1), 1, &[1, 2, 3]));
    let token = rig.fence(1);
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
    rig.ok(plan(token, 2, to(3, 13)));
}

#[test]
fn a_list_from_before_the_order_does_not_say_that_it_was_carried_out() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    let ordered = LogIndex(rig.index);
    let is_open = |rig: &Rig| rig.state.instance(&instance(2)).unwrap().assignment().is_some();
    assert_eq!(rig.state.unlisted().get(&host(3)), Some(&ordered), "it is asked");
    report(&mut rig, 3, as_of(before, 3, &[2, 3]));
    assert!(is_open(&rig));
    assert!(rig.state.is_told_anew(&host(3), &as_of(ordered, 3, &[2, 3])));
    report(&mut rig, 3, as_of(ordered, 3, &[2, 3]));
    assert!(!is_open(&rig));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
}

#[test]
fn a_list_from_before_the_order_does_not_say_that_it_was_moved_since() {
    let mut rig = Rig::green();
    let before = LogIndex(rig.index);
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(3, 3)));
    let ordered = LogIndex(rig.index);
    report(&mut rig, 1, as_of(before, 1, &[1, 2]));
    assert!(rig.state.instance(&instance(2)).unwrap().assignment().is_some());
    assert_eq!(rig.state.unlisted().get(&host(1)), Some(&ordered), "it is asked");
    report(&mut rig, 1, as_of(ordered, 1, &[1, 2]));
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
}

/// Instance 2 was moved from host 2, which is not heard, to host 3, which died and is admitted in another boot.
fn died_while_its_owner_was_away() -> (Rig, Token) {
    let mut rig = Rig::green();
    list_now(&mut rig, 3, 3, &[2, 3]);
    rig.lose(2);
    let token = rig.fence(3);
    rig.ok(plan(token, 3, to(1, 1)));
    list_now(&mut rig, 1, 1, &[1, 3]);
    list_now(&mut rig, 3, 13, &[]);
    rig.vote_all(3, Verdict::Alive { boot: boot(13) });
    rig.clock += 3_600_000;
    rig.ok(Change::HostAdmit { host: host(3), boot: boot(13) });
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Running), "nobody can tell yet");
    (rig, token)
}

#[test]
fn what_died_while_its_owner_was_not_heard_is_recovered_when_the_owner_lists() {
    let (mut rig, token) = died_while_its_owner_was_away();
    let admitted = LogIndex(rig.index);
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    let proven = rig.state.instance(&instance(2)).unwrap().may_have_died.as_ref().unwrap().proven_at;
    assert!(proven < admitted);
    assert!(rig.state.unlisted()[&host(2)] > admitted, "it is asked for what is there now");
    let list = |at| as_of(at, 2, &[]);
    report(&mut rig, 2, list(LogIndex(proven.0 - 1)));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it may have been moved back since");
    assert!(rig.state.tells_of_a_death(&host(2), &list(proven)));
    report(&mut rig, 2, list(proven));
    assert_eq!(owner(&rig, 2), (host(3), InstanceState::Running));
    rig.ok(plan(token, 2, to(1, 1)));
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(rig.state.unlisted(), [].into());
}

#[test]
fn what_died_since_another_host_listed_it_is_not_given_to_that_one() {
    let (mut rig, token) = died_while_its_owner_was_away();
    let proven = rig.state.instance(&instance(2)).unwrap().may_have_died.as_ref().unwrap().proven_at;
    report(&mut rig, 1, as_of(LogIndex(proven.0 - 1), 1, &[1, 2, 3]));
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(owner(&rig, 2).0, host(2), "host 1 may have had it before");
    assert_eq!(rig.state.unlisted().get(&host(1)), Some(&proven));
    report(&mut rig, 1, as_of(proven, 1, &[1, 3]));
    list_now(&mut rig, 2, 2, &[]);
    rig.ok(plan(token, 2, to(1, 1)));
}

#[test]
fn what_was_moved_back_to_its_owner_that_was_not_heard_did_not_die() {
    let (mut rig, _) = died_while_its_owner_was_away();
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    list_now(&mut rig, 2, 2, &[2]);
    assert_eq!(rig.state.unlisted(), [].into());
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "it has ended");
}

#[test]
fn what_was_moved_on_while_its_owner_was_not_heard_did_not_die() {
    let (mut rig, token) = died_while_its_owner_was_away();
    list_now(&mut rig, 1, 1, &[1, 2, 3]);
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    list_now(&mut rig, 2, 2, &[]);
    assert_eq!(owner(&rig, 2), (host(1), InstanceState::Running));
    assert_eq!(rig.refused(plan(token, 2, to(3, 13))), Rejected::NoAssignment(instance(2)));
}

#[test]
fn what_a_third_host_may_run_is_not_settled_before_that_one_tells() {
    let (mut rig, token) = died_while_its_owner_was_away();
    report(&mut rig, 1, as_of(LogIndex(1), 1, &[1, 2, 3]));
    rig.lose(1);
    rig.vote_all(2, Verdict::Alive { boot: boot(2) });
    let now = LogIndex(rig.index);
    report(&mut rig, 2, as_of(now, 2, &[]));
    assert_eq!(owner(&rig, 2), (host(2), InstanceState::Stopped), "host 1 may run it");
    assert!(!rig.state.tells_of_a_death(&host(2), &as_of(now, 2, &[])));
    list_now(&mut rig, 1, 1, &[1, 3]);
    assert!(rig.state.tells_of_a_death(&host(2), &as_of(now, 2, &[])), "the same list tells now");
    report(&mut rig, 2, as_of(now, 2, &[]));
    rig.ok(plan(token, 2, to(3, 13)));
}

#[test]
fn what_may_have_died_before_is_recovered_with_its_owner() {
    for owner_lists in [false, true] {
        let (mut rig, died) = died_while_its_owner_was_away();
        if owner_lists {
            rig.vote_all(2, Verdict::Alive { boot: boot(2) });
            report(&mut rig, 2, as_of(LogIndex(1), 2, &[]));
            rig.lose(2);
        }
        let HostState::Lost { at, .. } = rig.state.host(&host(2)).unwrap().state else { panic!("it is lost") };
        rig.ok(Change::FenceDecide { host: host(2), lost_at: at });
        let token = Token(LogIndex(rig.index));
        let permit = rig.permit(token);
        rig.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
        let with = if owner_lists { died } else { token };
        rig.ok(plan(with, 2, to(1, 1)));
    }
}

#[test]
fn what_came_after_the_fence_died_with_the_boot_that_another_one_followed() {
    let mut rig = Rig::green();
    let token = rig.fence(3);
    rig.ok(plan(token, 3, to(1, 1)));
    list_now(&mut rig, 1, 1, &[1, 3]);
    list_now(&mut rig, 3, 13, &[2]);
    list_now(&mut rig, 3, 23, &[]);
    let over = LogIndex(rig.index);
    assert_eq!(rig.state.unlisted(), [(host(2), over)].into());
    report(&mut rig, 2, as_of(LogIndex(over.0 - 1), 2, &[]));
    assert_eq!(rig.refused(plan(token, 2, to(1, 1))), Rejected::NoAssignment(instance(2)), "it may be back since");
    report(&mut rig, 2, as_of(over, 2, &[]));
    rig.ok(plan(token, 2, to(1, 1)));
}
